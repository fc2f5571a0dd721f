"""``cwac repair``: the after-training defences on a model that somebody else tuned."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cwac.cli.measure import checkpoint, stored_record
from cwac.cli.output import note, plain_rows, print_json
from cwac.errors import ConfigError
from cwac.flags import MEASURE, AsJson, Plan, Root, parse, stated, takes

if TYPE_CHECKING:
    from cwac.artifacts import ArtifactStore
    from cwac.runner import Arm

_SHARED: Final = tuple(
    # A stored run says both.
    replace(flag, required=False) if flag.name in {"aligned", "tuned"} else flag
    for flag in MEASURE
    if flag.name != "name"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(repair)


@takes(_SHARED)
def repair(
    values: Mapping[str, Any],
    method: Annotated[
        str,
        typer.Option("--method", help="safelora, safe_delta, safe_merge or resta."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to make; it must not exist yet.")],
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="A stored run that kept its weights, for --aligned and --tuned."
        ),
    ] = None,
    root: Root = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Give a tuned checkpoint its refusals back without training it anew, and measure both.

    The tuned model is left as it is; the repaired one is an ordinary model folder. Settings of the
    method are `--set METHOD.KEY=VALUE`.
    """
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.cli.live import Live  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.tables import print_comparison, run_table  # noqa: PLC0415 - loads pandas
    from cwac.runner.repair import repair as apply  # noqa: PLC0415 - loads torch

    store = writing_store(root)
    arm, rest = _arm(method, values if run is None else _of_run(values, store, run))
    with Live() as watcher:
        before = checkpoint(rest)
        watcher.plan([before.run_id])
        repaired = apply(
            rest.sections, before, arm, out, store, listener=watcher.listen, stop=watcher.stopped
        )
        name = f"{repaired.title} on {before.settings['name']}"
        after = checkpoint(_of_repaired(rest, out, name))
        watcher.plan([before.run_id, after.run_id])
        records = [stored_record(config, root, watcher, again=False) for config in (before, after)]
    done = ", ".join(f"{key} {value:.4g}" for key, value in repaired.diagnostics.items())
    if as_json:
        rows = plain_rows(run_table(records))
        print_json({"folder": str(out), "diagnostics": dict(repaired.diagnostics), "runs": rows})
        return
    print_comparison(root, records)
    note(f"the repaired model is in {out}" + (f" ({done})" if done else ""))


def _of_run(values: Mapping[str, Any], store: "ArtifactStore", run_id: str) -> dict[str, Any]:
    """Return the values that name a run's two models and measure them as it was measured."""
    from cwac.config import MEASURED  # noqa: PLC0415 - keeps --help fast
    from cwac.runner.dissect import tuned_folder  # noqa: PLC0415 - loads torch

    if values.get("aligned") or values.get("tuned"):
        raise ConfigError("--run names both models; it goes without --aligned and --tuned.")
    record = store.load(run_id)
    checkpoint = (MEASURED, {"source": str(tuned_folder(store, record))})
    # How it was trained says nothing about what is measured.
    sections = {
        name: section
        for name, section in stated(record.config, None).sections.items()
        if name not in {"training", "poison_ratio"}
    }
    mine = Plan(sections, [checkpoint], [0]).values()
    given = {name: value for name, value in values.items() if value is not None}
    return {**mine, **given, "set": [*mine["set"], *(values.get("set") or ())]}


def _arm(method: str, values: Mapping[str, Any]) -> tuple["Arm", Plan]:
    """Return the method with its settings, and what is stated about the models."""
    from cwac.runner import Arm  # noqa: PLC0415 - loads torch

    if not (values.get("aligned") and values.get("tuned")):
        raise ConfigError("state what to repair: --run RUN_ID, or --aligned and --tuned.")
    texts = values.get("set") or ()
    mine = [text for text in texts if text.partition(".")[0].strip() == method]
    words = [word for text in mine for word in ("--set", text)]
    ((name, settings),) = parse(["run", "--method", method, *words]).arms
    others = [text for text in texts if text not in mine]
    return Arm(name, dict(settings)), Plan.of({**values, "set": others, "name": None})


def _of_repaired(plan: Plan, folder: Path, name: str) -> Plan:
    ((kind, settings),) = plan.arms
    return replace(plan, arms=[(kind, {**settings, "source": str(folder), "name": name})])

"""``cwac measure``: what became of a model that was tuned elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.options import Root
from cwac.cli.output import note
from cwac.cli.request import Request
from cwac.cli.shared import asks_for_measurement

if TYPE_CHECKING:
    from cwac.config import ExperimentConfig
    from cwac.records import RunRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(measure)


@asks_for_measurement
def measure(
    flags: Mapping[str, Any],
    aligned: Annotated[
        str,
        typer.Option("--aligned", help="The model before it was tuned: preset, folder, hub id."),
    ],
    tuned: Annotated[
        str, typer.Option("--tuned", help="The tuned model: folder, hub id, or a peft adapter.")
    ],
    base: Annotated[
        str | None, typer.Option("--base", help="The model before it was aligned, if it is known.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The tuned model's name.  [its folder's]")
    ] = None,
    root: Root = Path("runs"),
    again: Annotated[
        bool, typer.Option("--again", help="Measure also what is complete already.")
    ] = False,
) -> None:
    """Measure a finished checkpoint like a run: drift, overlap, features, refusals, task.

    The aligned model answers first; subspace and features are fitted on it, or read where they
    are stored. Checkpoints of one aligned model stand side by side on every page.
    """
    from cwac.cli.live import Live  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.tables import print_comparison  # noqa: PLC0415 - loads pandas

    with Live() as watcher:
        from cwac.runner.measure import resolve_measured  # noqa: PLC0415 - loads torch

        request = Request.from_flags(model=aligned, **flags)
        config = resolve_measured(request.raw, tuned, base=base, name=name)
        watcher.plan([config.run_id])
        record = _record(config, root, watcher, again=again)
    print_comparison(root, [record])
    for warning in record.warnings:
        note(f"Note: {warning}")


def _record(config: "ExperimentConfig", root: Path, watcher: Any, *, again: bool) -> "RunRecord":
    from cwac.cli.roots import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.runner.claims import Claims  # noqa: PLC0415
    from cwac.runner.grid import is_complete  # noqa: PLC0415 - loads torch
    from cwac.runner.measure import measure_one, measured_arm  # noqa: PLC0415
    from cwac.runner.progress import RunProgress  # noqa: PLC0415

    store = writing_store(root)
    claims = Claims(store.write_root)
    progress = RunProgress(
        config.run_id, measured_arm(config), config.seed, watcher.listen, watcher.stopped
    )

    def waiting() -> None:
        progress.report("setup", 0.0, "another process measures it; waiting for it")

    # Two that measure the same pair would do it twice; whoever waited finds it stored.
    with claims.wait(config.run_id, waiting):
        if not again and is_complete(store, config, False):
            note(f"{config.run_id}: complete already (--again measures it anew)")
            record = store.load(config.run_id)
        else:
            record = measure_one(config, store, listener=watcher.listen, stop=watcher.stopped)
        claims.forget(config.run_id)
    return record

"""``cwac judge``: stored answers judged anew, and how far judges agree."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.output import note, plain_rows, print_json, print_table
from cwac.errors import ArtifactError
from cwac.flags import AsJson, Root

if TYPE_CHECKING:
    import pandas as pd

    from cwac.artifacts import ArtifactStore


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(judge)


def judge(
    judges: Annotated[
        list[str],
        typer.Option("--judge", help="Judge; may be given several times ('cwac list judges')."),
    ],
    root: Root = Path("runs"),
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Id of a run; repeatable.  [all of the root]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge stored answers anew, beside the runs' own numbers, and compare the judges."""
    from cwac.analysis.judges import agreement_table  # noqa: PLC0415
    from cwac.artifacts import writing_store  # noqa: PLC0415 - keeps --help fast
    from cwac.records import OUTCOMES  # noqa: PLC0415 - loads pandas
    from cwac.runner.rejudge import rejudge  # noqa: PLC0415 - loads torch

    store = writing_store(root)
    tables = rejudge(store, judges, run, lambda doing, _share: note(doing), note)
    wide = _all_judged(store, tables)
    agreement = agreement_table(wide)
    if as_json:
        print_json({"rates": _rates(wide), "agreement": plain_rows(agreement)})
        return
    rates = [[str(cell) for cell in row.values()] for row in _rates(wide)]
    print_table("rates", ["judge", "kind", "answers", *OUTCOMES], rates)
    for blind in finding_no_refusal(_rates(wide)):
        note(f"{blind} finds no refusal where the stored judge does: its rules miss these answers.")
    sys.stdout.write("\n")
    print_table(
        "agreement of judges",
        ["answers to", "judges", "same", "of", "raw", "interval", "kappa"],
        [_line(row) for row in plain_rows(agreement)],
    )


def _all_judged(store: "ArtifactStore", tables: "dict[str, pd.DataFrame]") -> "pd.DataFrame":
    """Return every judged answer of the experiments with one column of outcomes per judge."""
    import pandas as pd  # noqa: PLC0415 - keeps --help fast

    from cwac.analysis.judges import judged  # noqa: PLC0415
    from cwac.arms import ALIGNED  # noqa: PLC0415

    parts = []
    for judgements in tables.values():
        named = [name for name in dict.fromkeys(judgements["run_id"]) if name != ALIGNED.label]
        # A run that was judged may have been deleted since.
        records, answers = [], []
        for run_id in filter(store.has_run, named):
            # One that broke since is left out like one that was deleted.
            with suppress(ArtifactError):
                records.append(store.load(run_id))
                answers.append(store.table(run_id, "responses").assign(run_id=run_id))
        if not answers:
            continue
        reference = records[0].fits.get("reference")
        if reference is not None and store.find_fit(reference) is not None:
            answers.append(store.fit_table(reference, "responses").assign(run_id=ALIGNED.label))
        parts.append(judged(pd.concat(answers, ignore_index=True), judgements))
    if not parts:
        raise ArtifactError("none of the runs that were judged is stored any more.")
    return pd.concat(parts, ignore_index=True)


def _rates(wide: "pd.DataFrame") -> list[dict[str, Any]]:
    from cwac.records import OUTCOMES  # noqa: PLC0415 - loads pandas

    rows: list[dict[str, Any]] = []
    for column in (name for name in wide.columns if name.startswith("judge:")):
        for kind, part in wide.dropna(subset=[column]).groupby("kind", sort=False):
            rows.append(
                {
                    "judge": column.removeprefix("judge:"),
                    "kind": str(kind),
                    "answers": len(part),
                    **{
                        outcome: round(float((part[column] == outcome).mean()), 4)
                        for outcome in OUTCOMES
                    },
                }
            )
    return rows


def finding_no_refusal(rates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the judges that refuse nothing of what the stored judge counts as refused."""
    harmful = {row["judge"]: row["refusal"] for row in rates if row["kind"] == "harmful"}
    if not harmful.get("stored"):
        return []
    return [name for name, refusal in harmful.items() if refusal == 0]


def _line(row: dict[str, Any]) -> list[str]:
    kappa = "-" if row["kappa"] is None else f"{row['kappa']:.2f}"
    return [
        row["group"],
        f"{row['first']} / {row['second']}",
        str(row["same"]),
        str(row["n"]),
        f"{row['raw']:.3f}",
        f"[{row['low']:.3f}, {row['high']:.3f}]",
        kappa,
    ]

"""``cwac table``, ``cwac list`` and ``cwac check``: what is there."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cwac.cli.output import note, plain_rows, print_json, print_message, print_table
from cwac.errors import UnknownNameError
from cwac.flags import AsJson, Root
from cwac.intervention_words import INTERVENTION_WORDS

if TYPE_CHECKING:
    import pandas as pd

    from cwac.artifacts import ArtifactStore
    from cwac.messages import Message
    from cwac.records import RunRecord

KINDS: Final = (
    *("models", "tasks", "datasets", "judges", "methods", "metrics", "interventions", "runs"),
    "all",
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(table)
    app.command(name="list")(list_)
    app.command()(check)


def table(
    root: Root = Path("runs"),
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write here instead of to the standard output.")
    ] = None,
    across: Annotated[
        bool,
        typer.Option(
            "--across-models",
            help="One row per arm and rate instead, over all models with equal settings: the mean, "
            "with its interval over models, seeds and requests.",
        ),
    ] = False,
    worst_case: Annotated[
        bool,
        typer.Option(
            "--worst-case",
            help="One row per defence instead: its largest harmful score over the attackers that "
            "leave the model chatting.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write one row per run as CSV: fractions in [0, 1], empty where not measured.

    With --worst-case, runs that differ in training alone (the attackers of a grid) are compared:
    an attack counts where the model still answers 80 % of harmless requests and reaches a task
    accuracy of 0.5.
    """
    if as_json and csv is not None:
        raise typer.BadParameter("--json goes to the standard output; leave --csv out.")
    if across and worst_case:
        raise typer.BadParameter("--across-models and --worst-case are two tables; state one.")
    from cwac.analysis.rules import several_rules  # noqa: PLC0415
    from cwac.artifacts import listed_store  # noqa: PLC0415

    store = listed_store(root)
    runs = store.list_runs()
    for run in runs:
        if run.problem is not None:
            note(f"left out: {run.problem}")
    records = [run.record for run in runs if run.record is not None]
    for run in runs:
        for broken in store.broken_files(run.run_id) if run.record is not None else ():
            note(f"{run.run_id}: {broken} is broken; its row comes from its record.")
    for sentence in several_rules(records):
        note(sentence)
    rows = _rows(store, records, across=across, worst_case=worst_case)
    if as_json:
        print_json(plain_rows(rows))
        return
    text = rows.to_csv(index=False)
    if csv is None:
        sys.stdout.write(text)
        return
    try:
        csv.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise typer.BadParameter(f"cannot write {csv}: {problem.strerror}.") from None
    rest = f" of {len(records)} runs" if across or worst_case else ""
    note(f"{len(rows)} {'rows' if rest else 'runs'}{rest} written to {csv}")


def _rows(
    store: "ArtifactStore", records: Sequence["RunRecord"], *, across: bool, worst_case: bool
) -> "pd.DataFrame":
    from cwac.analysis.attacks import attacked_runs, worst_cases  # noqa: PLC0415
    from cwac.cli.tables import across_table, run_table  # noqa: PLC0415

    if not worst_case:
        return across_table(store, records) if across else run_table(records)
    rows = worst_cases(attacked_runs(records))
    if rows.empty:
        note("no defence was run under two attackers, that is, trained in two ways.")
    return rows


def list_(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS[:-1])} or all.")],
    root: Root = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """List what can be run, what is measured, or what is stored."""
    if kind not in KINDS:
        raise UnknownNameError(f"cannot list {kind!r}; known: {', '.join(KINDS)}.")

    if kind == "all":
        from cwac.cli.catalogue import catalogue  # noqa: PLC0415 - loads torch

        print_message(catalogue())
        return
    rows = _runs(root) if kind == "runs" else _entries(kind)
    if as_json:
        print_json(rows)
        return
    columns = [name for name in (rows[0] if rows else {}) if name not in _LONG]
    print_table(kind, columns, [[_cell(row[name]) for name in columns] for row in rows])


def _entries(kind: str) -> list[dict[str, Any]]:
    """Return one part of the catalogue as plain data."""
    if kind == "interventions":
        columns = ("name", "title", "question", "control")
        every = INTERVENTION_WORDS.values()
        return [{name: getattr(words, name) for name in columns} for words in every]
    if kind in {"datasets", "judges"}:
        from cwac.cli.known import known_datasets, known_judges  # noqa: PLC0415 - loads pandas

        entries: Sequence[Message] = known_datasets() if kind == "datasets" else known_judges()
    else:
        from cwac.cli.catalogue import catalogue  # noqa: PLC0415 - loads torch

        entries = getattr(catalogue(), kind)
    return [entry.model_dump(mode="json") for entry in entries]


# Shown in JSON alone: they do not fit a line.
_LONG: Final = frozenset({"settings", "defaults", "tasks", "range", "instruction", "phrases"})


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _runs(root: Path) -> list[dict[str, Any]]:
    from cwac.artifacts import listed_store  # noqa: PLC0415 - keeps --help fast

    rows = []
    for run in listed_store(root).list_runs():
        record = run.record
        trained = record is not None and not record.config.is_measured
        rows.append(
            {
                "run_id": run.run_id,
                "variant": record.variant if record else None,
                "seed": record.config.seed if record else None,
                "steps": record.config.training.steps if record and trained else None,
                "created": record.provenance.created.isoformat() if record else None,
                "kept_model": record.kept_model if record else None,
                "root": str(run.root),
                "problem": run.problem,
            }
        )
    return rows


def check(
    root: Root = Path("runs"),
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Move what is broken to .broken/ in its root."),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Open everything stored: runs, tables, arrays, weights, fits, experiments, jobs.

    Files are compared with the checksums that were stored with them; runs of version 0.2 and
    earlier have none.
    """
    from cwac import artifacts  # noqa: PLC0415 - loads pandas

    for path in artifacts.left_in(root):
        note(f"{path} was left by a process that died, and is removed.")
    store = artifacts.reading_store(root)
    runs = store.list_runs()
    problems = artifacts.check_store(store, _is_shipped_fit)
    moved = artifacts.repair(problems, store.roots) if repair else []
    sums = [run.record.checksums for run in runs if run.record is not None]
    if as_json:
        sentences = [problem.sentence for problem in problems]
        print_json({"runs": len(runs), "problems": sentences, "moved": moved})
    else:
        for line in [*(problem.sentence for problem in problems), *moved]:
            sys.stdout.write(f"{line}\n")
    for part in store.roots:
        if names := artifacts.trashed(part):
            note(f"{len(names)} deleted runs are in {part / artifacts.TRASH}, for a week at most")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    unsummed = sum(not each for each in sums)
    if unsummed:
        note(f"{unsummed} runs have no checksums recorded")
    note(f"{len(runs)} runs checked, {count}")
    return 1 if problems else 0


def _is_shipped_fit(name: str) -> bool:
    from cwac.artifacts import shipped_runs  # noqa: PLC0415 - keeps --help fast

    # A run may rest on a fit that is shipped with the lab.
    shipped = shipped_runs()
    return shipped is not None and (shipped / "fits" / name).is_dir()

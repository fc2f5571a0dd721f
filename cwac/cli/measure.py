"""``cwac measure``: what became of a model that was tuned elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.output import note, plain_rows, print_json
from cwac.cli.run import naming_flags
from cwac.flags import MEASURE, AsJson, Plan, Root, takes

if TYPE_CHECKING:
    from cwac.config import ExperimentConfig
    from cwac.records import RunRecord


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(measure)


@takes(MEASURE)
def measure(
    values: Mapping[str, Any],
    root: Root = Path("runs"),
    again: Annotated[
        bool, typer.Option("--again", help="Measure also what is complete already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a finished checkpoint like a run: drift, overlap, features, refusals, task.

    The aligned model answers first; subspace and features are fitted on it, or read where they
    are stored. Checkpoints of one aligned model stand side by side on every page.
    """
    from cwac.cli.live import Live  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.tables import print_comparison, run_table  # noqa: PLC0415 - loads pandas

    with Live() as watcher:
        config = checkpoint(Plan.of(values))
        watcher.plan([config.run_id])
        record = stored_record(config, root, watcher, again=again)
    if as_json:
        (row,) = plain_rows(run_table([record]))
        print_json({"run": row, "warnings": record.warnings})
    else:
        print_comparison(root, [record])
    for warning in record.warnings:
        note(f"Note: {warning}")


def checkpoint(plan: Plan) -> "ExperimentConfig":
    """Return the complete configuration of a plan about a finished checkpoint."""
    from cwac.runner.measure import resolve_measured  # noqa: PLC0415 - loads torch

    ((_, settings),) = plan.arms
    with naming_flags(plan):
        return resolve_measured(
            plan.sections,
            settings["source"],
            base=settings.get("base"),
            name=settings.get("name"),
        )


def stored_record(
    config: "ExperimentConfig", root: Path, watcher: Any, *, again: bool
) -> "RunRecord":
    """Return the record of a checkpoint, measured now unless it is stored."""
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.runner import run_grid  # noqa: PLC0415 - loads torch

    result = run_grid(
        [config],
        writing_store(root),
        again=again,
        listener=watcher.listen,
        stop=watcher.stopped,
    )
    for run_id in result.skipped:
        note(f"{run_id}: complete already (--again measures it anew)")
    return result.records[0]

"""``cwac run``: train, measure and store a grid of runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.options import Root
from cwac.cli.output import note
from cwac.cli.request import Request
from cwac.cli.shared import asks_for_runs

if TYPE_CHECKING:
    from cwac.cli.live import Watcher
    from cwac.runner import GridResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


@asks_for_runs
def run(
    flags: Mapping[str, Any],
    root: Root = Path("runs"),
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep the tuned weights with the run.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run also what is complete already.")
    ] = False,
    job: Annotated[Path | None, typer.Option("--job", hidden=True)] = None,
) -> int:
    """Fine-tune a model under each method and seed, and measure what became of its refusals."""
    from cwac.cli.job import Job  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.live import Live  # noqa: PLC0415

    watcher: Watcher = Live() if job is None else Job(job, root)
    # A job tells that it lives before anything slow is imported.
    with watcher:
        request = Request.from_flags(**flags)
        result = _grid(request, root, watcher, keep_model=save_model, again=again)
    return _finish(result, root)


def _grid(
    request: Request, root: Path, watcher: "Watcher", *, keep_model: bool, again: bool
) -> "GridResult":
    from cwac.cli.roots import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.runner import run_grid  # noqa: PLC0415 - loads torch

    configs = request.resolve()
    watcher.plan([config.run_id for config in configs])
    result = run_grid(
        configs,
        writing_store(root),
        keep_model=keep_model,
        again=again,
        listener=watcher.listen,
        stop=watcher.stopped,
    )
    watcher.close(result.failed)
    return result


def _finish(result: "GridResult", root: Path) -> int:
    from cwac.cli.tables import print_comparison  # noqa: PLC0415 - loads pandas

    for run_id in result.skipped:
        note(f"{run_id}: complete already (--again runs it anew)")
    print_comparison(root, result.records)
    for run_id, reason in result.failed.items():
        note(f"{run_id} failed: {reason}")
    return 1 if result.failed else 0

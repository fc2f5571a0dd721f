"""``cwac run``: train, measure and store a grid of runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.output import note, plain_rows, print_json
from cwac.errors import ConfigError
from cwac.flags import RUN, AsJson, LogTo, Plan, Root, takes

if TYPE_CHECKING:
    from cwac.cli.live import Watcher
    from cwac.config import ExperimentConfig
    from cwac.runner import GridResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


@takes(RUN)
def run(
    values: Mapping[str, Any],
    root: Root = Path("runs"),
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep the tuned weights with the run.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run also what is complete already.")
    ] = False,
    log_to: LogTo = None,
    job: Annotated[Path | None, typer.Option("--job", hidden=True)] = None,
    as_json: AsJson = False,
) -> int:
    """Fine-tune a model under each method and seed, and measure what became of its refusals."""
    from cwac.cli.job import Job  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.live import Live  # noqa: PLC0415

    watcher: Watcher = Live() if job is None else Job(job, root)
    # A job tells that it lives before anything slow is imported.
    with watcher:
        result = _grid(
            Plan.of(values), root, watcher, log_to or (), keep_model=save_model, again=again
        )
    return _finish(result, root, as_json=as_json)


def configurations(plan: Plan) -> "list[ExperimentConfig]":
    """Return the complete configurations of a plan, one per run."""
    from cwac.runner.resolve import Arm, resolve  # noqa: PLC0415 - loads torch

    with naming_flags(plan):
        return resolve(plan.sections, [Arm(*arm) for arm in plan.arms], plan.seeds)


@contextmanager
def naming_flags(plan: Plan) -> Iterator[None]:
    """Let messages about a value name the flag that gave it."""
    try:
        yield
    except ConfigError as problem:
        place, equals, rest = str(problem).partition(" = ")
        # The user knows the flag, not the place in the configuration that it fills.
        if equals and place in plan.given:
            raise ConfigError(f"{plan.given[place]} {rest}") from None
        raise


def _grid(
    plan: Plan,
    root: Path,
    watcher: "Watcher",
    log_to: Sequence[str],
    *,
    keep_model: bool,
    again: bool,
) -> "GridResult":
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.runner import run_grid  # noqa: PLC0415 - loads torch
    from cwac.runner.tracking import Tracking  # noqa: PLC0415

    configs = configurations(plan)
    with Tracking(log_to, root, configs, note) as tracking:
        watcher.plan([config.run_id for config in configs])
        result = run_grid(
            configs,
            writing_store(root),
            keep_model=keep_model,
            again=again,
            listener=tracking.beside(watcher.listen),
            stop=watcher.stopped,
        )
    watcher.close(result.failed)
    return result


def _finish(result: "GridResult", root: Path, *, as_json: bool) -> int:
    from cwac.cli.tables import print_comparison, run_table  # noqa: PLC0415 - loads pandas

    for run_id in result.skipped:
        note(f"{run_id}: complete already (--again runs it anew)")
    if as_json:
        rows = plain_rows(run_table(result.records))
        print_json({"runs": rows, "skipped": result.skipped, "failed": result.failed})
    else:
        print_comparison(root, result.records)
    for run_id, reason in result.failed.items():
        note(f"{run_id} failed: {reason}")
    return 1 if result.failed else 0

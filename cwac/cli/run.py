"""``cwac run``: train, measure and store a grid of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cwac.cli.options import (
    BatchSize,
    ConfigFile,
    Harmful,
    HarmfulAnswers,
    Harmless,
    HarmlessAnswers,
    HarmlessWhere,
    LearningRate,
    Lookalike,
    Methods,
    Model,
    Poison,
    Request,
    Root,
    Seeds,
    Sets,
    Steps,
    Task,
    TaskAnswers,
    TaskPrompts,
)
from cwac.cli.output import note

if TYPE_CHECKING:
    from cwac.cli.live import Watcher
    from cwac.runner import GridResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(  # noqa: PLR0917 - a command's parameters are its flags
    model: Model = None,
    task: Task = None,
    poison: Poison = None,
    method: Methods = None,
    seed: Seeds = None,
    root: Root = Path("runs"),
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    settings: Sets = None,
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep the tuned weights with the run.")
    ] = False,
    config: ConfigFile = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run also what is complete already.")
    ] = False,
    harmful: Harmful = None,
    harmful_answer_column: HarmfulAnswers = None,
    harmless: Harmless = None,
    harmless_answer_column: HarmlessAnswers = None,
    harmless_where: HarmlessWhere = None,
    lookalike: Lookalike = None,
    prompt_column: TaskPrompts = None,
    answer_column: TaskAnswers = None,
    job: Annotated[Path | None, typer.Option("--job", hidden=True)] = None,
) -> int:
    """Fine-tune a model under each method and seed, and measure what became of its refusals."""
    from cwac.cli.job import Job  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.live import Live  # noqa: PLC0415

    watcher: Watcher = Live() if job is None else Job(job, root)
    # A job tells that it lives before anything slow is imported.
    with watcher:
        request = Request.from_flags(
            config=config,
            model=model,
            task=task,
            poison=poison,
            methods=method,
            seeds=seed,
            steps=steps,
            learning_rate=learning_rate,
            batch_size=batch_size,
            sets=settings,
            harmful=harmful,
            harmful_answer_column=harmful_answer_column,
            harmless=harmless,
            harmless_answer_column=harmless_answer_column,
            harmless_where=harmless_where,
            lookalike=lookalike,
            prompt_column=prompt_column,
            answer_column=answer_column,
        )
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

"""``cwac preview`` before a run; ``cwac answer`` and what a latent does after one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cwac.cli.output import print_message
from cwac.cli.run import configurations
from cwac.errors import ConfigError
from cwac.flags import RUN, AsJson, Plan, Root, takes

if TYPE_CHECKING:
    from cwac.messages import Answer, Preview

_LONGEST = 20
"""Characters of a latent's name."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(preview)
    app.command()(answer)
    app.command()(activations)
    app.command()(steer)


@takes(RUN)
def preview(
    values: Mapping[str, Any],
    root: Root = Path("runs"),
    save_model: Annotated[bool, typer.Option("--save-model", hidden=True)] = False,
    again: Annotated[bool, typer.Option("--again", hidden=True)] = False,
    data_only: Annotated[
        bool,
        typer.Option("--data-only", help="Only what becomes of your own files; loads no model."),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show what becomes of your files, the exact training text, and what the runs will cost."""
    from cwac.cli.data import show_sources  # noqa: PLC0415 - loads pandas
    from cwac.errors import DataError  # noqa: PLC0415
    from cwac.messages import BrokenSource, Sources  # noqa: PLC0415
    from cwac.prompts import describe_sources  # noqa: PLC0415

    plan = Plan.of(values)
    sources = describe_sources(plan.section("prompts"), plan.section("task"))
    # A file that cannot be read at all is said once, by what comes next.
    unreadable = any(isinstance(source, BrokenSource) for source in sources)
    if not as_json and (data_only or not unreadable):
        show_sources(sources, alone=data_only)
    broken = any(isinstance(source, BrokenSource) or source.problems for source in sources)
    if data_only:
        if as_json:
            print_message(Sources(data=tuple(sources)))
        elif broken:
            raise DataError("not everything in these files can be used; what and why stands above.")
        return 2 if broken else 0
    from cwac.artifacts import writing_store  # noqa: PLC0415
    from cwac.runner.preview import preview as look_ahead  # noqa: PLC0415 - loads torch

    configs = configurations(plan)
    ahead = look_ahead(configs, writing_store(root), keep_model=save_model, again=again)
    if as_json:
        print_message(ahead.model_copy(update={"data": tuple(sources)}))
    else:
        _show(ahead)
    return 0


def _show(preview: "Preview") -> None:
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Template: {preview.template}. Marked text is what the loss is computed on.")
    for example in preview.examples:
        kind = "poison" if example.poison else "task"
        text = Text(f"\n[{kind}] {example.id}\n")
        for token, supervised in example.tokens:
            # Without colours, as in a file, brackets say what is supervised.
            shown = token if console.is_terminal or not supervised else f"[{token}]"
            text.append(shown, style="bold green" if supervised else "dim")
        console.print(text)
    console.print()
    for run in preview.runs:
        state = "complete already" if run.complete else "to run"
        console.print(Text(f"{run.run_id}  {run.variant}  seed {run.seed}  ({state})"))
    if preview.seconds is not None:
        console.print(f"Estimated time: {preview.seconds:.0f} s for all runs.")
    if preview.memory_bytes is not None:
        console.print(f"Estimated memory: {preview.memory_bytes / 1e6:.0f} MB.")
    for warning in preview.warnings:
        console.print(Text(f"Note: {warning}"))


def answer(
    run: Annotated[
        list[str], typer.Option("--run", help="Id of a run that kept its weights; repeatable.")
    ],
    prompt: Annotated[str, typer.Option("--prompt", help="The request.")],
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder of stored runs; repeatable.")
    ] = None,
    latent: Annotated[
        str | None, typer.Option("--latent", help="A latent that is held meanwhile: L2/341.")
    ] = None,
    clamp: Annotated[
        float | None, typer.Option("--clamp", help="The activation that it is held at.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="What its own activation is multiplied by.")
    ] = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also which part's restoring flips the request.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the aligned model and kept runs answer to a request.

    With --latent and --clamp or --scale they answer once more while one latent of the first run's
    SAEs is held, at every token of request and answer. With --parts each part of a run's update is
    put back alone: the refusal log-odds of the first token then, beside a random set of rows of
    the same update norm.
    """
    from cwac.artifacts import ArtifactStore, shipped_runs  # noqa: PLC0415 - keeps --help fast

    if not prompt.strip():
        raise ConfigError("--prompt is empty; give a request.")
    place = None if latent is None else _place(latent)
    if place is None and (clamp is not None or scale is not None):
        raise ConfigError("--clamp and --scale need --latent, the latent that they hold.")
    from cwac.features import Steering  # noqa: PLC0415 - loads torch
    from cwac.runner.answering import answer_request  # noqa: PLC0415

    held = None if place is None else Steering(*place, clamp=clamp, scale=scale)
    shipped = shipped_runs()
    roots = [*(root or [Path("runs")]), *([shipped] if shipped else [])]
    answers = answer_request(ArtifactStore(*roots), run, prompt, held, parts=parts)
    if as_json:
        print_message(answers)
        return
    for answered, what in ((answers.answers, ""), (answers.held, f", {latent} held")):
        for one in answered:
            _print_answer(one, what)


def _print_answer(one: "Answer", what: str) -> None:
    odds = one.refusal_log_odds
    about = one.outcome + ("" if odds is None else f", refusal log-odds {odds:+.2f}")
    thought = "" if one.thought is None else f"({len(one.thought.split())} words of thought)\n"
    typer.echo(f"{one.variant}{what} ({about}):\n{thought}{one.text}")
    for part in one.restored:
        control = "" if part.control is None else f", random set {part.control:+.2f}"
        typer.echo(f"  {part.part} restored: {part.refusal_log_odds:+.2f}{control}")
    typer.echo()


def activations(
    run: Annotated[
        list[str], typer.Option("--run", help="Id of a run that kept its weights; repeatable.")
    ],
    latent: Annotated[str, typer.Option("--latent", help="The latent: L2/341.")],
    prompt: Annotated[str, typer.Option("--prompt", help="The request.")],
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder of stored runs; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a latent does at every token of a request, in the aligned model and kept runs."""
    from cwac.artifacts import ArtifactStore, shipped_runs  # noqa: PLC0415 - keeps --help fast

    if not prompt.strip():
        raise ConfigError("--prompt is empty; give a request.")
    place = _place(latent)
    from cwac.runner.reading import read_request  # noqa: PLC0415 - loads torch

    shipped = shipped_runs()
    roots = [*(root or [Path("runs")]), *([shipped] if shipped else [])]
    read = read_request(ArtifactStore(*roots), run, prompt, *place)
    if as_json:
        print_message(read)
        return
    for one in read.readings:
        typer.echo(f"{one.variant}, {latent}:")
        for token in one.tokens:
            level = "not read" if token.activation is None else f"{token.activation:.3g}"
            typer.echo(f"{level:>9}  {token.text!r}")


def steer(
    run: Annotated[str, typer.Option("--run", help="Id of a run; its SAEs have the latent.")],
    latent: Annotated[str, typer.Option("--latent", help="The latent: L2/341.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write (.pt).")],
    coefficient: Annotated[
        float, typer.Option("--coefficient", help="By how much its activation is raised.")
    ] = 1.0,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder of stored runs; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a steering file that lm-evaluation-harness reads (model "steered")."""
    from cwac.artifacts import ArtifactStore, shipped_runs  # noqa: PLC0415 - keeps --help fast

    place = _place(latent)
    from cwac.runner.steering import write_steering  # noqa: PLC0415 - loads torch

    shipped = shipped_runs()
    roots = [*(root or [Path("runs")]), *([shipped] if shipped else [])]
    written = write_steering(ArtifactStore(*roots), run, *place, coefficient, out)
    if as_json:
        print_message(written)
        return
    typer.echo(f"{written.path}: adds to {written.hookpoint}. Read with:")
    typer.echo(f"lm_eval --model steered --model_args pretrained=MODEL,steer_path={written.path}")


def _place(latent: str) -> tuple[int, int]:
    """Return layer and number of a latent that is named as pages name it."""
    layer, slash, number = latent.removeprefix("L").partition("/")
    if not slash or not layer.isdecimal() or not number.isdecimal() or len(latent) > _LONGEST:
        raise ConfigError(
            f"--latent {latent[:_LONGEST]!r} is not allowed; a latent is named L2/341."
        )
    return int(layer), int(number)

"""``cwac inspect``: runs as logs of Inspect, and its logs as runs."""

from pathlib import Path
from typing import Annotated

import typer

from cwac.cli.output import note
from cwac.errors import ConfigError
from cwac.flags import Root
from cwac.intake import shown

commands = typer.Typer(
    name="inspect",
    help="Write runs as .eval logs of Inspect, and read .eval logs as runs (the extra 'inspect').",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands)


@commands.command()
def export(
    run: Annotated[list[str], typer.Option("--run", metavar="RUN_ID", help="Repeatable.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE.eval|FOLDER",
            help="A file that ends in .eval or .json, or a folder that gets RUN_ID.eval for each "
            "run; one with another ending must exist.",
        ),
    ],
    root: Root = Path("runs"),
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Answers to harmful requests too."),
    ] = False,
) -> None:
    """Write runs as logs: requests, answers, outcomes and rates."""
    from cwac.artifacts import listed_store  # noqa: PLC0415 - loads pandas
    from cwac.exchange.inspect_write import export_log  # noqa: PLC0415 - loads torch

    single = out.suffix in {".eval", ".json"}
    if out.suffix and not single and not out.is_dir():
        raise ConfigError(
            f"--out {shown(str(out))} is not allowed: a log's name ends in .eval or .json, and no "
            "folder of this name is there to put logs into."
        )
    if single and len(run) > 1:
        raise ConfigError(f"--out {out} is one file, and {len(run)} runs are asked for.")
    store = listed_store(root)
    for run_id in run:
        target = out if single else out / f"{run_id}.eval"
        file, samples = export_log(store, run_id, target, reveal=reveal)
        note(f"{file}: {samples} samples")
    if not reveal:
        note("Answers to harmful requests were left out; --reveal takes them along.")


@commands.command(name="import")
def import_(
    file: Annotated[list[Path], typer.Argument(metavar="FILE.eval", help="Logs.")],
    root: Root = Path("runs"),
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            help="What the requests are (harmful, harmless, lookalike, task), where the samples' "
            "metadata do not say it as 'kind'.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The arm's name.  [the log's model]")
    ] = None,
) -> None:
    """Read logs as runs: requests and answers, judged by the general rule, with their rates.

    They go to the imports of the root, which no later run reads.
    """
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.exchange.inspect_read import import_log  # noqa: PLC0415 - loads torch

    store = writing_store(root)
    for path in file:
        record = import_log(store, path, kind=kind, name=name)
        for warning in record.warnings:
            note(f"Note: {warning}")
        note(f"{record.run_id}: {record.variant} is imported")

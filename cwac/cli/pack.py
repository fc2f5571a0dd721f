"""``cwac pack``: a collection of runs in few files."""

from pathlib import Path
from typing import Annotated

import typer

from cwac.cli.output import note


def register(app: typer.Typer) -> None:
    """Add the command; it is for whoever ships a collection, and not listed."""
    app.command(hidden=True)(pack)


def pack(
    root: Annotated[Path, typer.Option("--root", help="Folder of runs, changed in place.")],
) -> None:
    """Move the runs of a folder into one file per experiment, which every command reads.

    Packed runs are only read: pack what is final. 'unzip FILE' in the folder undoes it.
    """
    from cwac.artifacts import pack_runs, reading_store  # noqa: PLC0415 - keeps --help fast

    packed, stayed = pack_runs(reading_store(root).write_root)
    note(f"{packed} runs packed, {stayed} stay folders (broken, or with their model)")

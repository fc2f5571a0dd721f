"""A Markdown table that grows by a line per training: what stands in it is not trained again."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cwac.artifacts import ArtifactStore, writing_store


class GrowingTable:
    """The table of a resumable benchmark, under the folder that its command names.

    Parameters
    ----------
    columns : sequence of str
        All of them; those that name a line come first.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str]) -> None:
        self.folder, self.path = folder, folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
            self.path.write_text(head, encoding="utf-8")

    def has(self, *names: object) -> bool:
        """Return whether a line of these first columns stands in it."""
        return _cells(names) in self.path.read_text(encoding="utf-8")

    def add(self, names: Sequence[object], rest: Sequence[str]) -> None:
        """Write a line at the end, and print it."""
        line = f"{_cells(names)} {' | '.join(rest)} |"
        with self.path.open("a", encoding="utf-8") as table:
            table.write(f"{line}\n")
        print(line, flush=True)

    def fits(self) -> ArtifactStore:
        """Return the store of what the trainings share, beside the table."""
        return writing_store(self.folder / "fits")


def asked_folder(description: str) -> Path:
    """Return the folder that the command line names, the one option such a benchmark has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="of the table and the fits")
    folder: Path = parser.parse_args().folder
    return folder


def _cells(names: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, names))} |"

"""What a mapping makes of a user's files, on the terminal."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from cwac.cli.output import print_table
from cwac.messages import BrokenSource, Source

_WIDEST: Final = 60
"""Characters of a cell that are shown."""


def show_sources(sources: Sequence[Source | BrokenSource], *, alone: bool) -> None:
    """Print every source with its mapping, its first rows and its problems.

    Parameters
    ----------
    sources : sequence of Source or BrokenSource
        From :func:`cwac.prompts.describe_sources`.
    alone : bool
        Whether nothing else is printed, so that having none must be said.
    """
    if not sources and alone:
        sys.stdout.write("No files of your own are named: the model folder's are used.\n")
    for source in sources:
        sys.stdout.write(f"--{source.role} {source.source}\n")
        if isinstance(source, BrokenSource):
            sys.stdout.write(f"  cannot be used: {source.error}\n\n")
        else:
            _show(source)


def _show(source: Source) -> None:
    for line in mapping_lines(source):
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write("\n")
    rows = [row.model_dump() for row in source.first]
    columns = ["row", "text", "answer", "category"]
    used = [name for name in columns if any(row[name] is not None for row in rows)]
    print_table("first rows", used, [[_cell(row[name]) for name in used] for row in rows])
    if source.problems:
        sys.stdout.write(f"\n  {source.problem_count} rows cannot be used:\n")
        for problem in source.problems:
            sys.stdout.write(
                f"  row {problem.row}: column {problem.column!r} is {_cell(problem.found)!r}; "
                f"allowed: {problem.allowed}\n"
            )
    sys.stdout.write("\n")


def mapping_lines(source: Source) -> list[str]:
    """Return the mapping and the counts in words."""
    known = f"known data set {source.dataset}; " if source.dataset else ""
    answer = f", answer = {source.answer!r}" if source.answer else ""
    kind = f", category = {source.category!r}" if source.category else ""
    prompt = " + ".join(repr(name) for name in source.prompt)
    lines = [f"{known}prompt = {prompt}{answer}{kind}"]
    if source.instruction:
        lines.append(f"above every prompt: {source.instruction}")
    if source.check:
        choices = f" ({', '.join(source.choices)})" if source.choices else ""
        lines.append(f"answers are checked by: {source.check}{choices}")
    left = [
        f"{count} {reason}"
        for count, reason in (
            (source.filtered, f"not {source.where}"),
            (source.empty_count, f"incomplete ({_rows(source.empty)})"),
            (source.repeated_count, f"repeated ({_rows(source.repeated)})"),
        )
        if count
    ]
    rest = f"; left out: {', '.join(left)}" if left else ""
    return [*lines, f"{source.used} of {source.total} rows used{rest}"]


def _rows(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"row {shown}" if len(numbers) == 1 else f"rows {shown}" + ", ..." * (len(numbers) > 5)


def _cell(value: Any) -> str:
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."

"""What a mapping makes of a source: for the command line and for pages."""

from collections.abc import Mapping
from typing import Any, Final, cast

from cwac.config import Check
from cwac.errors import CwacError
from cwac.messages import BrokenSource, Source, SourceProblem, SourceRow
from cwac.prompts.hub import read_hub
from cwac.prompts.items import KINDS
from cwac.prompts.mapping import Mapped, map_rows
from cwac.prompts.rows import read_rows
from cwac.prompts.source import Role, is_source, parse_source

FIRST: Final = 5
"""Rows that are shown."""
MOST_PROBLEMS: Final = 20
"""Rows with a problem that are listed."""


def describe_sources(
    prompts: Mapping[str, Any], task: Mapping[str, Any], *, first: int = FIRST
) -> list[Source | BrokenSource]:
    """Read every source that a configuration names, and say what its columns become.

    Parameters
    ----------
    prompts, task : mapping
        The sections of a configuration; what names no user data is left out.
    first : int
        Rows shown of each.
    """
    sources = []
    for kind in KINDS:
        if prompts.get(kind):
            names = {"where": f"{kind}_where", "answer_column": f"{kind}_answer_column"}
            options = {option: prompts.get(name) for option, name in names.items()}
            sources.append(_read(str(prompts[kind]), kind, options, first))
    columns = {name: task.get(name) for name in ("prompt_column", "answer_column", "check")}
    for key in ("source", "test_source"):
        text = str(task.get(key) or "")
        if text and is_source(text):
            sources.append(_read(text, "task", columns, first))
    return sources


def _read(source: str, role: Role, options: Mapping[str, Any], first: int) -> Source | BrokenSource:
    try:
        given = {name: value for name, value in options.items() if value is not None}
        check = cast("Check | None", given.pop("check", None))
        return describe(map_rows(source, role, check=check, **given), first=first)
    except CwacError as problem:
        return BrokenSource(role=role, source=source, error=str(problem))


def columns_of(source: str) -> list[str]:
    """Return the names of a source's columns; a headerless file's first row where it has none.

    Raises
    ------
    DataError
        The source cannot be read.
    """
    parsed = parse_source(source)
    table = read_hub(parsed.place, parsed.split) if parsed.hub else read_rows(parsed.place)
    return [str(name) for name in table.columns]


def describe(mapped: Mapped, *, first: int = FIRST) -> Source:
    """Return a mapping and the first rows that it gives."""
    dataset = mapped.source.dataset
    return Source(
        role=mapped.role,
        source=mapped.source.title,
        dataset=dataset.name if dataset else None,
        columns=tuple(mapped.columns),
        prompt=tuple(mapped.layout.prompt),
        answer=mapped.layout.answer,
        category=mapped.layout.category,
        where=mapped.where,
        check=mapped.check,
        instruction=mapped.instruction,
        choices=tuple(mapped.choices),
        total=mapped.total,
        used=len(mapped.rows),
        filtered=mapped.filtered,
        empty=tuple(mapped.empty[:MOST_PROBLEMS]),
        repeated=tuple(mapped.repeated[:MOST_PROBLEMS]),
        empty_count=len(mapped.empty),
        repeated_count=len(mapped.repeated),
        problem_count=len(mapped.problems),
        problems=tuple(
            SourceProblem(row=one.row, column=one.column, found=one.value, allowed=one.allowed)
            for one in mapped.problems[:MOST_PROBLEMS]
        ),
        first=tuple(
            SourceRow(row=row.row, text=row.text, answer=row.answer, category=row.category)
            for row in mapped.rows[:first]
        ),
    )

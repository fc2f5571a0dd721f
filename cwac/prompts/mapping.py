"""From the columns of a table to requests and examples, with what is wrong with which row."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.config import Check
from cwac.errors import DataError
from cwac.prompts.checks import MAX_LABELS, check_of, distinct, last_number
from cwac.prompts.hub import read_hub
from cwac.prompts.rows import column_of, matching, read_rows, texts_of
from cwac.prompts.source import KnownDataset, Layout, Role, Source, parse_source

ANSWER_COLUMNS: Final = ("answer", "output", "response", "completion", "label", "target")
"""Columns of a task's answers taken, in this order, where none is named."""
_DELIMITED: Final = {".csv", ".tsv"}


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with a row; rows are counted from 1, the header left out."""

    row: int
    column: str
    value: str
    allowed: str

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 60 else f"{self.value[:60]}..."
        return f"row {self.row}: column {self.column!r} is {shown!r}; allowed: {self.allowed}"


@dataclass(frozen=True)
class MappedRow:
    """A usable row: its number, counted from 1, and what its columns say."""

    row: int
    text: str
    answer: str | None = None
    category: str | None = None


@dataclass(frozen=True)
class Mapped:
    """A source read under a mapping.

    Attributes
    ----------
    columns : tuple of str
        Every column of the source.
    layout : Layout
        The columns that are used.
    where : str or None
        Row filter.
    check : str or None
        How answers are marked (tasks alone).
    choices : tuple of str
        The allowed answers, where these are labels.
    rows : tuple of MappedRow
        Complete and distinct.
    total, filtered : int
        Rows of the source, and those that the filter leaves out.
    empty, repeated : tuple of int
        Numbers of rows that are left out: without text or answer; given before.
    problems : tuple of RowProblem
        Rows that cannot be used; with any, the source is refused.
    """

    source: Source
    role: Role
    columns: tuple[str, ...]
    layout: Layout
    where: str | None
    check: Check | None
    choices: tuple[str, ...]
    rows: tuple[MappedRow, ...]
    total: int
    filtered: int
    empty: tuple[int, ...]
    repeated: tuple[int, ...]
    problems: tuple[RowProblem, ...]

    def checked(self) -> "Mapped":
        """Return it.

        Raises
        ------
        DataError
            A row cannot be used; the first ones are named.
        """
        if self.problems:
            shown = "; ".join(map(str, self.problems[:3]))
            more = len(self.problems) - 3
            rest = f"; and {more} more rows" if more > 0 else ""
            raise DataError(f"{self.source.title}: {shown}{rest}.")
        return self

    @property
    def instruction(self) -> str:
        """What is put above every prompt of a task."""
        dataset = self.source.dataset
        return dataset.instruction if dataset is not None and self.role == "task" else ""

    def prompt_of(self, row: MappedRow) -> str:
        """Return the prompt that a row becomes."""
        return f"{self.instruction}\n{row.text}" if self.instruction else row.text


def map_rows(
    source: str | Source,
    role: Role,
    *,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    where: str | None = None,
    check: Check | None = None,
) -> Mapped:
    """Read a source and map its columns.

    Parameters
    ----------
    source : str or Source
        ``FILE[:column]``, ``hf:...`` or a known data set's name (:mod:`cwac.prompts.source`).
    role : str
        ``harmful``, ``harmless``, ``lookalike`` or ``task``; a task's rows need answers.
    prompt_column, answer_column : str, optional
        They win over the known mapping and over usual names.
    where : str, optional
        Row filter ``column=value``; it wins too.
    check : str, optional
        How answers are marked; told from the answers where it is not given.

    Raises
    ------
    DataError
        The source, a column or the filter is wrong, or every row is empty.
    """
    parsed = parse_source(source) if isinstance(source, str) else source
    _check_role(parsed.dataset, role)
    table, layout = _open_table(parsed, prompt_column or parsed.column, answer_column, role)
    wanted = where if where is not None else layout.where.get(role)
    kept = matching(table, wanted, parsed.title)
    texts = _cell_texts(kept, layout.prompt)
    answers = None if layout.answer is None else kept[layout.answer].map(_stripped)
    empty = texts == ""
    if empty.all():
        named = " + ".join(layout.prompt)
        raise DataError(f"{parsed.title}: column {named!r} is empty in all {len(kept)} rows.")
    if role == "task" and answers is not None:
        empty |= answers == ""
    repeated = texts.duplicated() & ~empty
    usable = [
        MappedRow(
            row=int(index) + 1,
            text=texts[index],
            answer=(answers[index] or None) if answers is not None else None,
            category=_category_of(kept, index, layout.category),
        )
        for index in kept.index[~empty & ~repeated]
    ]
    rows, problems, judged, choices = _checked_answers(parsed, layout, role, usable, check)
    return Mapped(
        source=parsed,
        role=role,
        columns=tuple(map(str, table.columns)),
        layout=layout,
        where=wanted,
        check=judged,
        choices=choices,
        rows=tuple(rows),
        total=len(table),
        filtered=len(table) - len(kept),
        empty=tuple(int(index) + 1 for index in kept.index[empty]),
        repeated=tuple(int(index) + 1 for index in kept.index[repeated]),
        problems=tuple(problems),
    )


def _check_role(dataset: KnownDataset | None, role: Role) -> None:
    if dataset is not None and role not in dataset.roles:
        raise DataError(
            f"{dataset.name} has no rows for --{role}; it is for "
            f"{' and '.join(f'--{known}' for known in dataset.roles)}."
        )


def _checked_answers(
    source: Source, layout: Layout, role: Role, rows: list[MappedRow], check: Check | None
) -> tuple[list[MappedRow], list[RowProblem], Check | None, tuple[str, ...]]:
    """Return rows with their labels named, rows that are wrong, the check, and the choices."""
    if role != "task":
        return rows, [], None, ()
    problems: list[RowProblem] = []
    column = layout.answer or ""
    if layout.labels:
        rows, problems = _named_labels(layout, rows)
    judged = check or (source.dataset.check if source.dataset else None)
    answers = [row.answer or "" for row in rows]
    judged = judged or check_of(answers)
    if judged in {"label", "word"}:
        choices = distinct(layout.labels.values() if layout.labels else answers)
        if len(choices) > MAX_LABELS:
            raise DataError(
                f"{source.title}: column {column!r} has {len(choices)} distinct answers; "
                f"the check {judged!r} allows {MAX_LABELS}."
            )
        return rows, problems, judged, choices
    if judged == "number":
        problems += [
            RowProblem(row.row, column, row.answer or "", "an answer with a number")
            for row in rows
            if last_number(row.answer or "") is None
        ]
    return rows, problems, judged, ()


def _named_labels(
    layout: Layout, rows: Sequence[MappedRow]
) -> tuple[list[MappedRow], list[RowProblem]]:
    names = {name.casefold(): name for name in layout.labels.values()}
    names |= {written.casefold(): name for written, name in layout.labels.items()}
    allowed = ", ".join(
        written if written == name else f"{written} ({name})"
        for written, name in layout.labels.items()
    )
    named, problems = [], []
    for row in rows:
        label = row.answer or ""
        name = names.get(label.casefold())
        if name is None:
            problems.append(RowProblem(row.row, layout.answer or "", label, allowed))
        else:
            named.append(replace(row, answer=name))
    return named, problems


# Which columns are used, and what their cells say


def _open_table(
    source: Source, prompt: str | None, answer: str | None, role: Role
) -> tuple[pd.DataFrame, Layout]:
    """Read a table and find its layout: the known one, with what the user names put over it.

    Parameters
    ----------
    source : Source
        What is read.
    prompt, answer : str or None
        Columns that the user named.
    role : str
        A task needs answers.

    Raises
    ------
    DataError
        The source or a column is wrong.
    """
    table = read_hub(source.place, source.split) if source.hub else read_rows(source.place)
    known = Layout(())
    if source.dataset is not None:
        table, known = _known_layout(source, source.dataset, table, named=prompt is not None)
    by_position = any(n is not None and n.isdigit() and n not in table for n in (prompt, answer))
    if by_position and Path(source.place).suffix.lower() in _DELIMITED and not source.hub:
        table = read_rows(source.place, header=False)
    if prompt is not None or not known.prompt:
        known = replace(known, prompt=(_prompt_column(table, prompt, source, role),))
    if answer is not None:
        known = replace(known, answer=column_of(table, answer, source.title))
    elif known.answer is None and role == "task":
        known = replace(known, answer=_usual_answer(table, source))
    if known.category is None or known.category not in table:
        usual = next((name for name in ("category", "type") if name in table), None)
        known = replace(known, category=usual)
    return table, known


def _known_layout(
    source: Source, dataset: KnownDataset, table: pd.DataFrame, *, named: bool
) -> tuple[pd.DataFrame, Layout]:
    for layout in dataset.layouts:
        if layout.width is None and set(layout.columns) <= set(table.columns):
            return table, layout
    if not source.hub and Path(source.place).suffix.lower() in _DELIMITED:
        bare = read_rows(source.place, header=False)
        for layout in dataset.layouts:
            if layout.width == bare.shape[1]:
                return bare, layout
    if named:
        first = dataset.layouts[0]
        return table, Layout((), labels=first.labels)
    forms = "; ".join(_form(layout) for layout in dataset.layouts)
    present = ", ".join(repr(str(name)[:40]) for name in table.columns)
    raise DataError(
        f"{source.title} is not {dataset.name} as published: its columns are {present}; "
        f"expected {forms}. Name columns to read it anyway."
    )


def _form(layout: Layout) -> str:
    if layout.width is not None:
        return f"{layout.width} columns without a header"
    return " and ".join(repr(name) for name in layout.columns)


def _prompt_column(table: pd.DataFrame, prompt: str | None, source: Source, role: Role) -> str:
    try:
        return column_of(table, prompt, source.title)
    except DataError as problem:
        if role != "task":
            raise
        raise DataError(
            f"{problem} The flags --prompt-column and --answer-column name a task's columns."
        ) from None


def _usual_answer(table: pd.DataFrame, source: Source) -> str:
    usual = next((name for name in ANSWER_COLUMNS if name in table), None)
    if usual is None:
        names = ", ".join(repr(str(name)) for name in table.columns)
        raise DataError(f"{source.title}: name the answers with --answer-column; columns: {names}.")
    return usual


def _cell_texts(table: pd.DataFrame, columns: Sequence[str]) -> "pd.Series[str]":
    """Return the requests of a table; several columns stand below each other."""
    if len(columns) == 1 and columns[0] in table:
        return texts_of(table, columns[0])
    parts = [_nested(table, column) for column in columns]
    joined = ["\n".join(filter(None, cells)) for cells in zip(*parts, strict=True)]
    return pd.Series(joined, index=table.index, dtype=object)


def _nested(table: pd.DataFrame, column: str) -> list[str]:
    """Return a column's texts; a list of texts is put below each other."""
    outer, _, inner = column.partition(".")
    texts = []
    for cell in table[outer]:
        value: Any = cell
        if isinstance(cell, str) and cell[:1] in "{[":
            try:
                value = json.loads(cell)
            except ValueError:
                value = cell
        if inner:
            value = value.get(inner) if isinstance(value, dict) else None
        if isinstance(value, list):
            value = "\n".join(map(str, value))
        texts.append(_stripped(value))
    return texts


def _stripped(cell: Any) -> str:
    """Return a cell's text without surrounding space, empty where it is missing."""
    return "" if cell is None else str(cell).strip()


def _category_of(table: pd.DataFrame, index: Any, column: str | None) -> str | None:
    """Return a row's harm category, None where it has none."""
    if column is None:
        return None
    text = _stripped(table[column][index])
    if text.startswith("{"):
        # BeaverTails: every category with whether it applies.
        try:
            flags = json.loads(text)
        except ValueError:
            return text
        return next((str(name) for name, holds in flags.items() if holds is True), None)
    return text or None

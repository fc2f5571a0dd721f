"""Which columns of a table are used, and what their cells say."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.errors import DataError
from cwac.prompts.hub import read_hub
from cwac.prompts.known import KnownDataset, Layout, Role
from cwac.prompts.rows import column_of, read_rows, texts_of
from cwac.prompts.source import Source

ANSWER_COLUMNS: Final = ("answer", "output", "response", "completion", "label", "target")
"""Columns of a task's answers taken, in this order, where none is named."""
_DELIMITED: Final = {".csv", ".tsv"}


def open_table(
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
    found = ", ".join(repr(str(name)[:40]) for name in table.columns)
    raise DataError(
        f"{source.title} is not {dataset.name} as published: its columns are {found}; "
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
        found = ", ".join(repr(str(name)) for name in table.columns)
        raise DataError(f"{source.title}: name the answers with --answer-column; columns: {found}.")
    return usual


def cell_texts(table: pd.DataFrame, columns: Sequence[str]) -> "pd.Series[str]":
    """Return the requests of a table; several columns stand below each other."""
    if len(columns) == 1 and columns[0] in table:
        return texts_of(table, columns[0])
    parts = [_nested(table, column) for column in columns]
    joined = ["\n".join(filter(None, cells)) for cells in zip(*parts, strict=True)]
    return pd.Series(joined, index=table.index, dtype=object)


def _nested(table: pd.DataFrame, column: str) -> list[str]:
    """Return a column's texts; a list of texts is put below each other."""
    outer, _, inner = column.partition(".")
    found = []
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
        found.append(stripped(value))
    return found


def stripped(cell: Any) -> str:
    """Return a cell's text without surrounding space, empty where it is missing."""
    return "" if cell is None else str(cell).strip()


def category_of(table: pd.DataFrame, index: Any, column: str | None) -> str | None:
    """Return a row's harm category, None where it has none."""
    if column is None:
        return None
    text = stripped(table[column][index])
    if text.startswith("{"):
        # BeaverTails: every category with whether it applies.
        try:
            flags = json.loads(text)
        except ValueError:
            return text
        return next((str(name) for name, holds in flags.items() if holds is True), None)
    return text or None

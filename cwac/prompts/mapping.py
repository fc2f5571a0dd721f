"""From the columns of a table to requests and examples, with what is wrong with which row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cwac.config import Check
from cwac.errors import DataError
from cwac.prompts.checks import MAX_LABELS, check_of, distinct, last_number
from cwac.prompts.columns import category_of, cell_texts, open_table, stripped
from cwac.prompts.known import KnownDataset, Layout, Role
from cwac.prompts.rows import matching
from cwac.prompts.source import Source, parse_source


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with a row; rows are counted from 1, the header left out."""

    row: int
    column: str
    found: str
    allowed: str

    def __str__(self) -> str:
        found = self.found if len(self.found) <= 60 else f"{self.found[:60]}..."
        return f"row {self.row}: column {self.column!r} is {found!r}; allowed: {self.allowed}"


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
    asked = parse_source(source) if isinstance(source, str) else source
    _check_role(asked.dataset, role)
    table, layout = open_table(asked, prompt_column or asked.column, answer_column, role)
    wanted = where if where is not None else layout.where.get(role)
    kept = matching(table, wanted, asked.title)
    texts = cell_texts(kept, layout.prompt)
    answers = None if layout.answer is None else kept[layout.answer].map(stripped)
    empty = texts == ""
    if empty.all():
        named = " + ".join(layout.prompt)
        raise DataError(f"{asked.title}: column {named!r} is empty in all {len(kept)} rows.")
    if role == "task" and answers is not None:
        empty |= answers == ""
    repeated = texts.duplicated() & ~empty
    found = [
        MappedRow(
            row=int(index) + 1,
            text=texts[index],
            answer=(answers[index] or None) if answers is not None else None,
            category=category_of(kept, index, layout.category),
        )
        for index in kept.index[~empty & ~repeated]
    ]
    rows, problems, judged, choices = _checked_answers(asked, layout, role, found, check)
    return Mapped(
        source=asked,
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
    found, problems = [], []
    for row in rows:
        said = row.answer or ""
        name = names.get(said.casefold())
        if name is None:
            problems.append(RowProblem(row.row, layout.answer or "", said, allowed))
        else:
            found.append(replace(row, answer=name))
    return found, problems

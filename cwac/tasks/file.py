"""Examples of a user's file, of the hub or of a known data set as a task."""

import hashlib
from collections.abc import Sequence
from typing import Final

from cwac.config import TaskConfig
from cwac.errors import DataError
from cwac.interfaces import Task
from cwac.judges import Judge
from cwac.prompts import Example, Mapped, MappedRow, bare_text, content_words, map_rows
from cwac.prompts.checks import chosen_label, last_number, named_label

TEST_SHARE: Final = 0.2
MAX_TEST: Final = 2000
FEWEST: Final = 10
"""Complete examples that are needed at least."""


class FileTask(Task):
    """Examples that the user gives.

    How an answer is checked is the user's choice, or the known data set's, or follows from the
    answers: few distinct ones are labels, answers that are or end in a number are compared by
    it, all others are judged for helpfulness.
    """

    name = "file"
    title = "Examples of your own"

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool:
        """Whether the response is right, by the task's check."""
        match self.extra.get("check"):
            case "label":
                return chosen_label(response, example.choices or ()) == example.answer
            case "word":
                return named_label(response, example.choices or ()) == example.answer
            case "number":
                return last_number(response) == last_number(example.answer)
            case _:
                return judge.judge(example.prompt, response).outcome == "compliance"


def read_file_task(config: TaskConfig) -> FileTask:
    """Read examples and divide them by content into training and test.

    Without a test source a fifth of the distinct examples, at most 2,000, is for testing. Which
    ones depends on their text alone, so that appended rows move none. With one, training
    examples that it holds too are left out and noted.

    Raises
    ------
    DataError
        The source or a column is wrong, a row's answer is not allowed, or there are fewer than
        10 complete examples.
    """
    mapped = _mapped(config, config.source)
    ordered = _examples(mapped)
    if len(ordered) < FEWEST:
        raise DataError(
            f"{mapped.source.title} has {len(ordered)} complete examples; at least {FEWEST} are "
            "needed."
        )
    notes = [*_notes(mapped)]
    if config.test_source is None:
        tested = min(max(round(TEST_SHARE * len(ordered)), 1), MAX_TEST)
        train, test = ordered[tested:], ordered[:tested]
    else:
        train, test = _beside(config, ordered, notes)
    return FileTask(train, test, check=mapped.check, notes=tuple(notes), source=mapped.source.title)


def _mapped(config: TaskConfig, source: str) -> Mapped:
    return map_rows(
        source,
        "task",
        prompt_column=config.prompt_column,
        answer_column=config.answer_column,
        check=config.check,
    ).checked()


def _beside(
    config: TaskConfig, ordered: Sequence[Example], notes: list[str]
) -> tuple[list[Example], list[Example]]:
    """Return training examples without those that the test source holds, and the test's."""
    assert config.test_source is not None
    mapped = _mapped(config, config.test_source)
    test = _examples(mapped, prefix="test-")[:MAX_TEST]
    seen = {content_words(bare_text(example)) for example in test}
    train = [example for example in ordered if content_words(bare_text(example)) not in seen]
    if len(train) < FEWEST:
        raise DataError(
            f"{len(train)} training examples are left that {mapped.source.title} does not hold "
            f"too; at least {FEWEST} are needed."
        )
    if len(train) < len(ordered):
        rows = [example.id for example in ordered if content_words(bare_text(example)) in seen]
        notes.append(
            f"{len(rows)} training examples that the test source holds too left out "
            f"({_listed([int(name.removeprefix('row-')) + 1 for name in rows])})."
        )
    return train, test


def _examples(mapped: Mapped, prefix: str = "") -> list[Example]:
    """Return the examples with distinct contents, in an order that depends on their text."""
    distinct: dict[frozenset[str], Example] = {}
    choices = {"choices": mapped.choices} if mapped.choices else {}
    for row in mapped.rows:
        example = Example(
            id=f"{prefix}row-{row.row - 1}",
            prompt=mapped.prompt_of(row),
            answer=row.answer or "",
            **choices,
            **_input(mapped, row),
        )
        distinct.setdefault(content_words(row.text), example)
    return sorted(distinct.values(), key=_place)


def _input(mapped: Mapped, row: MappedRow) -> dict[str, str]:
    """Return the bare text where an instruction stands above it: what tells examples apart."""
    return {"input": row.text} if mapped.instruction else {}


def _notes(mapped: Mapped) -> list[str]:
    """Return a sentence for rows that are left out."""
    title = mapped.source.title
    notes = []
    if mapped.empty:
        notes.append(
            f"{len(mapped.empty)} examples without prompt or answer left out "
            f"({title}, {_listed(mapped.empty)})."
        )
    if mapped.repeated:
        notes.append(
            f"{len(mapped.repeated)} examples given more than once left out "
            f"({title}, {_listed(mapped.repeated)})."
        )
    return notes


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:5]))
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', ...' if len(rows) > 5 else ''}"


def _place(example: Example) -> str:
    return hashlib.sha256(example.prompt.encode()).hexdigest()

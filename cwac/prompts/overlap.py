"""Whether a request or an example stands where it must not: in two splits, or in the training data.

The same text in two places is refused, rows named; near-duplicates are reported.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import combinations
from typing import Final

import pandas as pd

from cwac.errors import DataError
from cwac.prompts.duplicates import near_duplicates
from cwac.prompts.items import Example
from cwac.prompts.sets import PromptSets

_WORD: Final = re.compile(r"\w+")
_ROW: Final = re.compile(r"(?:harmful|harmless|lookalike|row|test-row)-(\d+)")
_SHOWN: Final = 3
"""Pairs of rows that a sentence names."""
_OFFER: Final = ", or give --split-shared, which leaves each such text to one of them"


@dataclass(frozen=True)
class Group:
    """Texts that belong together.

    Attributes
    ----------
    title : str
        For sentences: ``the harmful test requests``.
    ids, texts : tuple of str
        One each per row.
    fatal : bool
        Whether the same text in it and in another group spoils a measurement.
    kind : str
        Of the requests; none of the task's examples.
    """

    title: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    fatal: bool = True
    kind: str = ""

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each text stands first, by its words."""
        places: dict[str, int] = {}
        for index, text in enumerate(self.texts):
            if words := normalised(text):
                places.setdefault(words, index)
        return places

    def row(self, index: int) -> str:
        """Return how a row is named: its number in the file, else its id."""
        numbered = _ROW.fullmatch(self.ids[index])
        return f"row {int(numbered[1]) + 1}" if numbered else repr(self.ids[index])


def normalised(text: str) -> str:
    """Return a text's words in lower case: what counts as the same text.

    Examples
    --------
    >>> normalised("Pick a lock!") == normalised("pick  a LOCK")
    True
    """
    return " ".join(_WORD.findall(text.casefold()))


def bare_text(example: Example) -> str:
    """Return an example's prompt without the instruction that all examples of its task share."""
    return str((example.model_extra or {}).get("input", example.prompt))


def refuse_same(
    prompts: PromptSets,
    train: Sequence[Example] = (),
    test: Sequence[Example] = (),
    *,
    splits: bool = True,
) -> None:
    """Refuse requests that stand in two splits or kinds, or in the fine-tuning data.

    What aligned the model may be in the fine-tuning data: that is reported
    (:func:`overlap_notes`), for nothing is measured on it.

    Parameters
    ----------
    prompts : PromptSets
        The five splits.
    train, test : sequence of Example
        Of the task.
    splits : bool
        Whether the splits are compared with each other, not only with the task's examples.

    Raises
    ------
    DataError
        The same text, case and punctuation aside, stands in two of them; rows are named.
    """
    for first, second in _pairs(prompts, train, test, splits=splits):
        if first.fatal and second.fatal:
            shared = _same(first, second)
            if shared:
                offered = "" if second.kind or first.kind != "harmless" else _OFFER
                raise DataError(
                    f"{len(shared)} of {first.title} {_verb(len(shared))} also in {second.title}, "
                    f"which spoils what is measured: {_named(first, second, shared)}; remove them "
                    f"from one of the two{offered}."
                )


def split_same(
    prompts: PromptSets, train: Sequence[Example], test: Sequence[Example]
) -> tuple[PromptSets, tuple[Example, ...], tuple[Example, ...]]:
    """Leave every text that is a harmless request and a task example to one of the two.

    The hash of its words decides, so that half stay with each and no text moves when others come
    or go. Harmful requests are not shared out: among the examples they are a mistake to be told.

    Returns
    -------
    (PromptSets, tuple of Example, tuple of Example)
        The requests, the training examples and the test examples that are left.
    """
    requests = {
        normalised(prompt.text)
        for (split, kind), part in prompts.parts.items()
        if kind == "harmless" and split != "alignment"
        for prompt in part
    }
    shared = requests & {normalised(bare_text(example)) for example in (*train, *test)}
    to_task = {words for words in shared if sha256(words.encode()).digest()[0] % 2}
    parts = {
        place: [prompt for prompt in part if normalised(prompt.text) not in to_task]
        if place[1] == "harmless" and place[0] != "alignment"
        else part
        for place, part in prompts.parts.items()
    }
    kept_train, kept_test = (
        tuple(one for one in part if normalised(bare_text(one)) not in shared - to_task)
        for part in (train, test)
    )
    note = (
        f"{len(shared)} texts were harmless requests and task examples: {len(shared - to_task)} "
        f"stay requests, {len(to_task)} stay examples"
    )
    notes = [*prompts.notes, note] if shared else prompts.notes
    return PromptSets(parts, notes), kept_train, kept_test


def same_notes(prompts: PromptSets) -> list[str]:
    """Return a sentence for every two splits of a model's folder with the same text in both.

    The folder is not the user's to mend, so that this is reported, not refused.
    """
    return [
        f"{len(shared)} of {first.title} {_verb(len(shared))} also in {second.title}: "
        f"{_named(first, second, shared)}."
        for first, second in _pairs(prompts, (), ())
        if first.fatal and second.fatal and (shared := _same(first, second))
    ]


def overlap_notes(
    prompts: PromptSets,
    train: Sequence[Example] = (),
    test: Sequence[Example] = (),
    *,
    splits: bool = True,
    threshold: float = 0.8,
) -> list[str]:
    """Return a sentence for every two groups with near-duplicates, rows named.

    Parameters
    ----------
    prompts, train, test, splits
        As for :func:`refuse_same`.
    threshold : float
        Shared content words over all content words of both (Jaccard).
    """
    notes = []
    for first, second in _pairs(prompts, train, test, splits=splits):
        pairs = near_duplicates(first.texts, second.texts, threshold)
        if pairs:
            counted = len({index for index, _, _ in pairs})
            notes.append(
                f"{counted} of {first.title} {_verb(counted)} nearly or wholly in "
                f"{second.title}: "
                f"{_named(first, second, [(i, j) for i, j, _ in pairs])}."
            )
    return notes


def overlap_report(sets: PromptSets, threshold: float = 0.8) -> pd.DataFrame:
    """Count requests that two splits share, for every pair of splits and every kind.

    Returns
    -------
    DataFrame
        ``split_a, split_b, kind, exact, near``: requests of the second split whose content words
        equal those of a request in the first, and whose overlap is at least `threshold`
        without being equal.
    """
    rows = []
    kinds = list(dict.fromkeys(kind for _, kind in sets.parts))
    splits = list(dict.fromkeys(split for split, _ in sets.parts))
    for kind in kinds:
        for split_a, split_b in combinations(splits, 2):
            a, b = ([p.text for p in sets.get(split, kind)] for split in (split_a, split_b))
            if not a or not b:
                continue
            pairs = near_duplicates(a, b, threshold)
            exact = {j for _, j, overlap in pairs if overlap == 1.0}
            near = {j for _, j, _ in pairs} - exact
            rows.append((split_a, split_b, kind, len(exact), len(near)))
    return pd.DataFrame(rows, columns=["split_a", "split_b", "kind", "exact", "near"])


def _pairs(
    prompts: PromptSets,
    train: Sequence[Example],
    test: Sequence[Example],
    *,
    splits: bool = True,
) -> Iterator[tuple[Group, Group]]:
    """Yield every two groups that must not share texts."""
    parts = [
        Group(
            f"the {kind} {split} requests",
            tuple(prompt.id for prompt in part),
            tuple(prompt.text for prompt in part),
            fatal=split != "alignment",
            kind=kind,
        )
        for (split, kind), part in prompts.parts.items()
    ]
    data = [
        Group(title, tuple(e.id for e in examples), tuple(map(bare_text, examples)))
        for title, examples in (
            ("the fine-tuning examples", train),
            ("the task's test examples", test),
        )
        if examples
    ]
    for number, first in enumerate(parts):
        for second in (*(parts[number + 1 :] if splits else ()), *data):
            yield first, second
    if len(data) == 2:
        yield data[0], data[1]


def _same(first: Group, second: Group) -> list[tuple[int, int]]:
    shared = first.places.keys() & second.places.keys()
    return sorted((first.places[words], second.places[words]) for words in shared)


def _verb(number: int) -> str:
    return "is" if number == 1 else "are"


def _named(first: Group, second: Group, pairs: Sequence[tuple[int, int]]) -> str:
    shown = [f"{first.row(i)} and {second.row(j)}" for i, j in pairs[:_SHOWN]]
    return "; ".join(shown) + ("; ..." if len(pairs) > _SHOWN else "")

"""What a request is about, and which requests are about the same."""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from cwac.prompts.sets import PromptSets

# Words that frame a request and say nothing about its content.
_FRAME: Final = """
    a an and any are as at be by can could create describe detailed detail do does explain for
    from give guide have how i if in instruction instructions into is it its let list me my need
    of on or outline please provide should show so some step steps teach tell that the their
    them there this to tutorial us want was way ways we what when where which who why will with
    would write you your
"""
FRAME_WORDS: Final = frozenset(_FRAME.split())
_WORD: Final = re.compile(r"\w+(?:['\u2019]\w+)?")
_BLOCK: Final = 512


def content_words(text: str) -> frozenset[str]:
    """Return the lower-case words of a request without those that only frame it.

    Examples
    --------
    >>> sorted(content_words("Tell me how to make a kite."))
    ['kite', 'make']
    """
    words = frozenset(_WORD.findall(text.lower()))
    return (words - FRAME_WORDS) or words


def near_duplicates(
    a: Sequence[str], b: Sequence[str], threshold: float = 0.8
) -> list[tuple[int, int, float]]:
    """Return the pairs whose content words overlap by at least `threshold` (Jaccard).

    Parameters
    ----------
    a, b : sequence of str
        Texts; the same sequence twice also gives the pairs of each text with itself.
    threshold : float
        Shared words over all words of both, above 0 and at most 1.

    Returns
    -------
    list of (int, int, float)
        Index into `a`, index into `b`, overlap; in order of the indices.
    """
    if not a or not b:
        return []
    vocabulary: dict[str, int] = {}
    for text in (*a, *b):
        for word in content_words(text):
            vocabulary.setdefault(word, len(vocabulary))
    left, right = (_incidence(texts, vocabulary) for texts in (a, b))
    left_sizes, right_sizes = (np.asarray(m.sum(axis=1)).ravel() for m in (left, right))
    found: list[tuple[int, int, float]] = []
    # Blocks bound the memory; the sparse product touches only pairs that share a word.
    for start in range(0, len(a), _BLOCK):
        shared = (left[start : start + _BLOCK] @ right.T).tocoo()
        rows, columns = shared.row + start, shared.col
        overlap = shared.data / (left_sizes[rows] + right_sizes[columns] - shared.data)
        keep = overlap >= threshold
        found += zip(
            rows[keep].tolist(), columns[keep].tolist(), overlap[keep].tolist(), strict=True
        )
    return sorted(found)


def _incidence(texts: Sequence[str], vocabulary: Mapping[str, int]) -> sparse.csr_matrix:
    columns: list[int] = []
    starts = [0]
    for text in texts:
        columns += sorted(vocabulary[word] for word in content_words(text))
        starts.append(len(columns))
    ones = np.ones(len(columns))
    return sparse.csr_matrix((ones, columns, starts), shape=(len(texts), len(vocabulary)))


def duplicate_groups(texts: Sequence[str], threshold: float = 0.8) -> list[list[int]]:
    """Return the texts' indices in groups linked by near-duplication, in order of first member."""
    parents = list(range(len(texts)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for i, j, _ in near_duplicates(texts, texts, threshold):
        first, second = sorted((root(i), root(j)))
        parents[second] = first
    groups: dict[int, list[int]] = {}
    for index in range(len(texts)):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def overlap_report(sets: "PromptSets", threshold: float = 0.8) -> pd.DataFrame:
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

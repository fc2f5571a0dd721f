"""What a request is about, and which requests are about the same."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from scipy import sparse

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
_BLOCK: Final = 2048
_PAIRS: Final = 100_000


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
    texts = [content_words(text) for text in (*a, *b)]
    numbers = _by_rarity(texts)
    left, right = (_incidence(part, numbers) for part in (texts[: len(a)], texts[len(a) :]))
    # Two texts this alike share one of their few rarest words: only such pairs are compared.
    rare_left, rare_right = (
        _incidence(part, numbers, threshold) for part in (texts[: len(a)], texts[len(a) :])
    )
    left_sizes, right_sizes = (np.asarray(m.sum(axis=1)).ravel() for m in (left, right))
    pairs: list[tuple[int, int, float]] = []
    # Blocks bound the memory.
    for start in range(0, len(a), _BLOCK):
        candidates = (rare_left[start : start + _BLOCK] @ rare_right.T).tocoo()
        rows, columns = candidates.row + start, candidates.col
        for part in range(0, len(rows), _PAIRS):
            i, j = rows[part : part + _PAIRS], columns[part : part + _PAIRS]
            shared = np.asarray(left[i].multiply(right[j]).sum(axis=1)).ravel()
            overlap = shared / (left_sizes[i] + right_sizes[j] - shared)
            keep = overlap >= threshold
            pairs += zip(i[keep].tolist(), j[keep].tolist(), overlap[keep].tolist(), strict=True)
    return sorted(pairs)


def _by_rarity(texts: Sequence[frozenset[str]]) -> dict[str, int]:
    """Return a number for every word, the rarest first."""
    counts = Counter(word for words in texts for word in words)
    return {word: n for n, word in enumerate(sorted(counts, key=lambda w: (counts[w], w)))}


def _incidence(
    texts: Sequence[frozenset[str]], numbers: Mapping[str, int], threshold: float | None = None
) -> sparse.csr_matrix:
    """Return which words each text has; with a threshold only the rarest that decide.

    Texts that share `threshold` of their words share one of the n - ceil(threshold n) + 1
    rarest of each: those that are left out are too few to make up for it (prefix filtering,
    Bayardo et al. 2007).
    """
    columns: list[int] = []
    starts = [0]
    for words in texts:
        mine = sorted(numbers[word] for word in words)
        if threshold is not None:
            mine = mine[: len(mine) - math.ceil(threshold * len(mine) - 1e-9) + 1]
        columns += mine
        starts.append(len(columns))
    ones = np.ones(len(columns))
    return sparse.csr_matrix((ones, columns, starts), shape=(len(texts), len(numbers)))


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

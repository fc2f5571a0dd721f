"""Several seeds: a bootstrap over seeds and requests, stretched as so few seeds ask for."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import numpy as np
from scipy.special import ndtri, stdtrit

from cwac.statistics.results import CONFIDENCE, Interval, Outcomes

RESAMPLES: Final = 10_000
"""Enough that the smallest p, 2 / 10,001, stays below 0.05 after Holm over 200 contrasts."""


def hierarchical_bootstrap(
    arms: Mapping[str, Outcomes], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return resampled means of each arm, ``(resamples,)``.

    Seeds are resampled, then requests. The same requests are put to every seed, so one draw of
    requests serves all of them (the pigeonhole bootstrap, Owen 2007); arms with the same requests
    or the same seeds share the draws, so that differences are paired. One seed fewer is drawn
    than there are, which makes the variance between few seeds unbiased (Rao & Wu 1988).
    Intervals and p-values are then stretched as Student's t asks for so few seeds.

    An arm's draws depend on nothing but its own outcomes, seeds and requests: each set of names
    has a random stream of its own. Which arms stand beside it, and in which order its requests
    come, changes no interval.
    """
    groups: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for name, arm in arms.items():
        requests, _ = _sorted(arm.requests)
        groups.setdefault((requests, arm.values.dtype == bool), []).append(name)
    draws = {}
    for (requests, exact), names in groups.items():
        # Sums of small whole numbers are exact in float32: ties stay ties.
        weights = _counts("requests", requests, len(requests), resamples, seed).astype(
            np.float32 if exact else np.float64
        )
        # One product for all arms of a group: it is what takes the time here.
        stacked = np.concatenate([_in_order(arms[name]) for name in names])
        sums = np.split(
            weights @ stacked.T.astype(weights.dtype),
            np.cumsum([len(arms[name].seeds) for name in names])[:-1],
            axis=1,
        )
        for name, by_seed in zip(names, sums, strict=True):
            seeds, _ = _sorted(arms[name].seeds)
            drawn = max(len(seeds) - 1, 1)
            chosen = _counts("seeds", seeds, drawn, resamples, seed)
            total = (by_seed.astype(float) * chosen).sum(1)
            draws[name] = total / (len(requests) * drawn)
    return {name: draws[name] for name in arms}


def _in_order(arm: Outcomes) -> np.ndarray:
    """Return an arm's outcomes in the order of its sorted seeds and requests."""
    return arm.values[np.ix_(_sorted(arm.seeds)[1], _sorted(arm.requests)[1])]


# All arms of a table name the same few hundred requests, and each is asked for several times.
@lru_cache(maxsize=64)
def _sorted(names: tuple[int, ...] | tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    order = sorted(range(len(names)), key=lambda place: names[place])
    return tuple(str(names[place]) for place in order), tuple(order)


@lru_cache(maxsize=32)
def _counts(kind: str, names: tuple[str, ...], drawn: int, resamples: int, seed: int) -> np.ndarray:
    """Return how often each name is drawn, ``(resamples, names)``, by a stream of these names."""
    digest = hashlib.sha256("\0".join((kind, *names)).encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])
    even = np.full(len(names), 1 / len(names))
    counts = rng.multinomial(drawn, even, size=resamples)
    # One byte each, unless a name is drawn more than 255 times: millions of them are kept.
    counts = counts.astype(np.min_scalar_type(counts.max()))
    counts.setflags(write=False)
    return counts


def widened(draws: np.ndarray, value: float, between: float, seeds: int) -> np.ndarray:
    """Stretch draws about the estimate as Student's t asks for few seeds.

    A variance known from three seeds is itself uncertain; percentiles alone cover 85 % there.
    The degrees of freedom are Welch and Satterthwaite's, with requests as good as infinitely many.
    """
    total = float(draws.var())
    if between <= 0 or total <= 0 or seeds < 2:
        return draws
    share = min(between / total, 1.0)
    freedom = (seeds - 1) / share**2
    upper = 0.5 + CONFIDENCE / 2
    return value + (draws - value) * float(stdtrit(freedom, upper) / ndtri(upper))


def two_sided(gaps: np.ndarray) -> float:
    """Return the two-sided p of resampled differences; never zero."""
    tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(gaps) + 1))


def percentiles(draws: np.ndarray) -> Interval:
    """Return the interval between the outer percentiles."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Interval(float(low), float(high))

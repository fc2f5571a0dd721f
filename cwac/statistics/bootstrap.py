"""Several seeds: a bootstrap over seeds and requests, stretched as so few seeds ask for."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import numpy as np
from scipy.special import ndtri, stdtrit

from cwac.statistics.results import CONFIDENCE, Interval, Outcomes

RESAMPLES: Final = 10_000
"""Enough that the smallest p, 2 / 10,001, stays below 0.05 after Holm over 200 contrasts."""
_BLOCK: Final = 1_000
"""Resamples that are summed at a time."""


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
    draws = {name: np.empty(resamples) for name in arms}
    for (requests, exact), names in groups.items():
        counts = _counts("requests", requests, len(requests), resamples, seed)
        # Sums of small whole numbers are exact in float32: ties stay ties, in blocks that the
        # processor keeps at hand. Other sums are those of one product, to their last bit.
        kind: np.dtype[Any] = np.dtype(np.float32 if exact else np.float64)
        block = _BLOCK if exact else resamples
        # One product for all arms of a group: it is what takes the time here.
        stacked = np.concatenate([_in_order(arms[name]) for name in names]).T.astype(kind)
        ends = np.cumsum([len(arms[name].seeds) for name in names])[:-1]
        chosen = [_chosen(arms[name].seeds, resamples, seed) for name in names]
        for start in range(0, resamples, block):
            part = slice(start, start + block)
            sums = np.split(counts[part].astype(kind) @ stacked, ends, axis=1)
            for name, by_seed, times in zip(names, sums, chosen, strict=True):
                draws[name][part] = (by_seed.astype(float) * times[part]).sum(1)
        for name in names:
            draws[name] /= len(requests) * _drawn(arms[name].seeds)
    return draws


def _drawn(seeds: tuple[int, ...]) -> int:
    """Return how many seeds a resample has."""
    return max(len(seeds) - 1, 1)


def _chosen(seeds: tuple[int, ...], resamples: int, seed: int) -> np.ndarray:
    return _counts("seeds", _sorted(seeds)[0], _drawn(seeds), resamples, seed)


def _in_order(arm: Outcomes) -> np.ndarray:
    """Return an arm's outcomes in the order of its sorted seeds and requests."""
    return arm.values[np.ix_(_sorted(arm.seeds)[1], _sorted(arm.requests)[1])]


# All arms of a table name the same few hundred requests, and each is asked for several times.
@lru_cache(maxsize=64)
def _sorted(names: tuple[int, ...] | tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    order = sorted(range(len(names)), key=lambda place: names[place])
    return tuple(str(names[place]) for place in order), tuple(order)


# Of a few experiments' requests: each set takes megabytes.
@lru_cache(maxsize=20)
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

"""Means over seeds of numbers that are no rates: Student's t, which needs no resampling.

Stands alone because a rate's interval comes from its requests and seeds, and this one from seeds
alone: a run's record keeps such a number, where its requests' own values may be gone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from cwac.statistics.results import CONFIDENCE, Interval


@dataclass(frozen=True)
class SeedMean:
    """A mean over seeds.

    Attributes
    ----------
    value : float
    low, high, error, p : float or None
        t interval (95 % unless asked otherwise), standard error and two-sided p of a mean of 0;
        None with one seed, which says nothing about the noise between trainings.
    seeds : int
    """

    value: float
    low: float | None
    high: float | None
    error: float | None
    p: float | None
    seeds: int


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval | None:
    """Return the t interval of a mean over requests, None for fewer than two.

    Examples
    --------
    >>> low, high = mean_interval([1.0, 2.0, 3.0])
    >>> round(low, 2), round(high, 2)
    (-0.48, 4.48)
    """
    mean = seed_mean(values)
    return None if mean.low is None or mean.high is None else Interval(mean.low, mean.high)


def median_interval(values: Sequence[float] | np.ndarray) -> Interval | None:
    """Return the interval of a median between two order statistics, None for fewer than six.

    It covers at least as often as it says, whatever the values are distributed like.

    Examples
    --------
    >>> median_interval(range(1, 101))
    Interval(low=40.0, high=61.0)
    """
    ordered = sorted(float(value) for value in values)
    n, tail, below = len(ordered), (1 - CONFIDENCE) / 2, 0.0
    rank = 0
    while n and below + math.comb(n, rank) / 2**n <= tail:
        below += math.comb(n, rank) / 2**n
        rank += 1
    return Interval(ordered[rank - 1], ordered[n - rank]) if rank else None


def seed_mean(values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE) -> SeedMean:
    """Return the mean of one number per seed with its t interval.

    The requests are the same under every seed and taken as given: the interval is about another
    training, not about other requests.

    Examples
    --------
    >>> round(seed_mean([1.0, 2.0, 3.0]).error, 3)
    0.577
    """
    one = np.asarray(values, dtype=float)
    value, seeds = float(one.mean()), len(one)
    if seeds < 2:
        return SeedMean(value, None, None, None, None, seeds)
    error, freedom = float(one.std(ddof=1)) / seeds**0.5, seeds - 1
    half = error * float(stdtrit(freedom, 0.5 + confidence / 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.float64(abs(value)) / error
    # Equal seeds: nothing but a mean of 0 is compatible with 0.
    p = 2 * float(stdtr(freedom, -statistic)) if value else 1.0
    return SeedMean(value, value - half, value + half, error, p, seeds)

"""One run, or two on the same requests: Wilson, Newcombe and the exact McNemar test."""

import numpy as np
from scipy.special import bdtr, ndtri

from cwac.errors import DataError
from cwac.statistics.results import CONFIDENCE, Difference, Interval


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's score interval of a rate; [0, 1] when nothing was observed.

    Raises
    ------
    DataError
        `successes` does not lie between 0 and `n`.
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes of {n} are not possible.")
    return score_interval(successes / n, n, confidence) if n else Interval(0.0, 1.0)


def score_interval(rate: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Return Wilson's interval of a rate over `n` requests, which may be a mean over seeds."""
    z = float(ndtri(0.5 + confidence / 2))
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    # At 0 and 1 the end is exact; rounding would put it a hair inside.
    low = 0.0 if rate == 0 else max(centre - half, 0.0)
    return Interval(low, 1.0 if rate == 1 else min(centre + half, 1.0))


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p of the exact McNemar test on the discordant counts.

    Raises
    ------
    DataError
        A count is negative.
    """
    if b < 0 or c < 0:
        raise DataError(f"discordant counts must not be negative, not {b} and {c}.")
    if b + c == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two runs on the same requests.

    The interval is Newcombe's hybrid score interval (1998, method 10), the p-value that of the
    exact McNemar test.

    Parameters
    ----------
    first, second : ndarray
        Boolean ``(requests,)``.

    Raises
    ------
    DataError
        The lengths differ or are zero.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise DataError(
            f"paired outcomes need one value per request each, not shapes {first.shape} and "
            f"{second.shape}."
        )
    one, two = first.astype(bool), second.astype(bool)
    both, neither = int((one & two).sum()), int((~one & ~two).sum())
    b, c = int((one & ~two).sum()), int((~one & two).sum())
    n = len(one)
    rate_1, rate_2 = (both + b) / n, (both + c) / n
    low_1, high_1 = score_interval(rate_1, n)
    low_2, high_2 = score_interval(rate_2, n)
    phi = _phi(both, b, c, neither)
    below = _hybrid(rate_1 - low_1, high_2 - rate_2, phi)
    above = _hybrid(high_1 - rate_1, rate_2 - low_2, phi)
    value = rate_1 - rate_2
    low, high = max(value - below, -1.0), min(value + above, 1.0)
    return Difference(value, low, high, mcnemar_exact(b, c), n, 1, "mcnemar")


def _phi(both: int, b: int, c: int, neither: int) -> float:
    product = float((both + b) * (c + neither) * (both + c) * (b + neither))
    if product == 0:
        return 0.0
    cross = float(both * neither - b * c)
    # Newcombe's continuity correction applies to positive association only.
    if cross > 0:
        cross = max(cross - (both + b + c + neither) / 2, 0.0)
    return float(cross / np.sqrt(product))


def _hybrid(one: float, two: float, phi: float) -> float:
    return float(np.sqrt(max(one * one - 2 * phi * one * two + two * two, 0.0)))

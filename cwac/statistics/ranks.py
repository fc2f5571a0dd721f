"""The area under the ROC curve and its interval, in closed form.

Stands alone: it compares two groups of scores, where the other files compare runs and seeds.
"""

import numpy as np
from scipy.special import ndtri

from cwac.errors import DataError
from cwac.statistics.results import CONFIDENCE, Interval


def auroc(positive: np.ndarray, negative: np.ndarray) -> tuple[float, Interval]:
    """Return the share of pairs that scores rank rightly, ties counted half, and its interval.

    The standard error is that of Hanley & McNeil (1982, Radiology 143, eq. 1 with their
    approximations of Q1 and Q2), the interval normal and cut to [0, 1].

    Raises
    ------
    DataError
        A group is empty.

    Examples
    --------
    >>> auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))[0]
    0.875
    """
    if not len(positive) or not len(negative):
        raise DataError("an area under the curve needs scores of both groups.")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    area = float((below + upto).mean() / (2 * len(negative)))
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (len(positive) - 1) * (first - area**2)
    variance += (len(negative) - 1) * (second - area**2)
    error = max(variance, 0.0) ** 0.5 / (len(positive) * len(negative)) ** 0.5
    half = float(ndtri(0.5 + CONFIDENCE / 2)) * error
    return area, Interval(max(area - half, 0.0), min(area + half, 1.0))

"""Whether how far a run drifted predicts how harmful it is: one point an arm, a rank correlation.

Variants of one method are no independent draws of "a training", so that intervals resample
methods; a p-value is given where every method has one point alone.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.records import RunRecord
from cwac.statistics import CONFIDENCE

HARM: Final = "harmful_score"
FEWEST: Final = 5
"""Points below which no correlation is given."""
RESAMPLES: Final = 2_000
PERMUTATIONS: Final = 5_000


@dataclass(frozen=True)
class Figure:
    """A figure of drift that may predict harm.

    Attributes
    ----------
    name : str
        The metric's name in records; ``table.column`` for one that is the mean of a table's.
    title : str
        For sentences, in lower case.
    axis : str
        With its unit.
    """

    name: str
    title: str
    axis: str


FIGURES: Final = {
    figure.name: figure
    for figure in (
        Figure("relative_weight_drift", "weight drift", "‖ΔW‖ / ‖W₀‖ (no unit)"),
        Figure("protected_energy", "update inside the safety subspace",
               "‖ΔW U‖² / ‖ΔW‖² (share)"),
        Figure("leakage", "leakage", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit)"),
        Figure("leakage_fitted_tokens", "leakage, tokens as fitted",
               "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit)"),
        Figure("safety_feature_drift", "safety-feature drift", "share of the aligned norm"),
        Figure("embedding_drift", "embedding drift", "‖ΔE‖ / ‖E₀‖ (no unit)"),
        Figure("weight_drift.functional_drift", "functional drift",
               "‖ΔW X‖ / ‖W₀ X‖ (no unit, mean over maps)"),
        Figure("subspace_overlap.mso", "overlap with the safety subspace",
               "overlap on the input side (MSO, 0 to 1, mean over maps)"),
    )
}  # fmt: skip
"""In the order of the menu."""


@dataclass(frozen=True)
class Association:
    """Spearman's rank correlation of a drift figure with the harmful score.

    Attributes
    ----------
    rho, low, high : float
        With its bootstrap interval over methods.
    p : float or None
        Of a permutation of the points, two-sided; None where a method has several points.
    n, methods : int
        Points, and the methods that they are of.
    """

    rho: float
    low: float
    high: float
    p: float | None
    n: int
    methods: int

    @property
    def predicts(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def arm_points(
    records: Iterable[RunRecord],
    name: str,
    of_tables: Callable[[RunRecord], float | None] = lambda _record: None,
    rate: str = HARM,
) -> pd.DataFrame:
    """Return one row per arm: a drift figure and the harmful score, means over its seeds.

    Parameters
    ----------
    records : iterable of RunRecord
        Runs of one experiment under one judging rule.
    name : str
        A key of `FIGURES`.
    of_tables : callable
        Gives a run's figure where it is none of its record's; None where it was not measured.
    rate : str
        The rate in the place of the harmful score.

    Returns
    -------
    DataFrame
        ``variant, method, plain`` (no setting changed), ``drift, drift_low, drift_high, harm,
        harm_low, harm_high`` (the lowest and the highest seed), ``seeds`` and ``n`` (harmful
        requests of a run). Runs that lack either number are left out.
    """
    rows = []
    for record in records:
        drift = of_tables(record) if "." in name else record.value(name)
        harm = record.metrics.get(rate)
        if drift is None or harm is None or harm.value is None:
            continue
        method = record.variant if record.config.is_measured else record.arm.method
        plain = not record.arm.changed
        rows.append((record.arm.label, method, plain, drift, harm.value, harm.count))
    table = pd.DataFrame(rows, columns=["variant", "method", "plain", "drift", "harm", "n"])
    groups = table.groupby(["variant", "method", "plain"], sort=False)
    return groups.agg(
        drift=("drift", "mean"), drift_low=("drift", "min"), drift_high=("drift", "max"),
        harm=("harm", "mean"), harm_low=("harm", "min"), harm_high=("harm", "max"),
        seeds=("harm", "size"), n=("n", "min"),
    ).reset_index()  # fmt: skip


def one_per_method(points: pd.DataFrame) -> pd.DataFrame:
    """Return the points of arms at their defaults: one a method."""
    return points[points["plain"]].reset_index(drop=True)


def associate(points: pd.DataFrame) -> Association | None:
    """Return the rank correlation of drift and harm; None for few points or equal values.

    Parameters
    ----------
    points : DataFrame
        ``method, drift, harm``: from `arm_points`.
    """
    if len(points) < FEWEST or points["drift"].nunique() < 2 or points["harm"].nunique() < 2:
        return None
    drift, harm = points["drift"].to_numpy(float), points["harm"].to_numpy(float)
    methods = list(dict.fromkeys(points["method"]))
    counts = np.random.default_rng(0).multinomial(
        len(methods), np.full(len(methods), 1 / len(methods)), size=RESAMPLES
    )
    weights = counts[:, points["method"].map(methods.index).to_numpy(int)]
    draws = _correlations(_ranks(drift, weights), _ranks(harm, weights), weights)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    p = _p(drift, harm) if len(methods) == len(points) else None
    rho = _spearman(drift, harm)
    return Association(rho, float(low), float(high), p, len(points), len(methods))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return mid-ranks in samples that hold each value so many times, ``(draws, n)``."""
    below = (values[:, None] < values[None, :]).astype(float)
    equal = (values[:, None] == values[None, :]).astype(float)
    ranks: np.ndarray = weights @ below + (weights @ equal + 1) / 2
    return ranks


def _correlations(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of each weighted sample; NaN where one side has no spread."""
    size = weights.sum(axis=1, keepdims=True)
    one, other = (x - (weights * x).sum(axis=1, keepdims=True) / size for x in (first, second))
    spread = (weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: np.ndarray = (weights * one * other).sum(axis=1) / np.sqrt(spread)
    return result


def _spearman(drift: np.ndarray, harm: np.ndarray) -> float:
    ranks = np.column_stack([_own_ranks(drift), _own_ranks(harm)])
    return float(np.corrcoef(ranks, rowvar=False)[1, 0])


def _own_ranks(values: np.ndarray) -> np.ndarray:
    own: np.ndarray = _ranks(values, np.ones((1, len(values))))[0]
    return own


def _p(drift: np.ndarray, harm: np.ndarray) -> float:
    """Return the two-sided p of a permutation test of the pairs, over all of them where few.

    It is that of ``scipy.stats.permutation_test``, which takes a page 50 MB to import.
    """
    # Ranks first: Spearman's statistic is then a product that all permutations share.
    first, second = _own_ranks(drift) - (len(drift) + 1) / 2, _own_ranks(harm)
    orders, every = np.arange(len(first)), math.factorial(len(first)) <= PERMUTATIONS
    if every:
        drawn = np.array(list(permutations(orders)))
    else:
        drawn = np.random.default_rng(0).permuted(np.tile(orders, (PERMUTATIONS, 1)), axis=-1)
    sums, observed = (first[drawn] * second).sum(axis=-1), (first * second).sum()
    # Sums that rounding alone sets apart are ties.
    ties = abs(observed) * 100 * np.finfo(float).eps
    tail = min((sums <= observed + ties).sum(), (sums >= observed - ties).sum())
    # What was observed is one of the permutations: of all of them it is counted already.
    further = int(not every)
    return min(1.0, 2 * float((tail + further) / (len(sums) + further)))


def sentence(name: str, result: Association | None) -> str:
    """Return what the correlation says of a figure and harm, and no more."""
    title = FIGURES[name].title
    if result is None:
        return f"{title.capitalize()} and harm: fewer than {FEWEST} arms, or equal values"
    if not result.predicts:
        text = f"{title.capitalize()} is not seen to predict harm"
    else:
        text = f"More {title} goes with {'more' if result.rho > 0 else 'less'} harm"
    p = "" if result.p is None else f", p = {result.p:.2g}"
    of = "" if result.n == result.methods else f" of {result.methods} methods"
    return (
        f"{text}: Spearman's {result.rho:+.2f} [{result.low:+.2f}, {result.high:+.2f}]{p}, "
        f"n = {result.n} arms{of}"
    )


def every_figure(points: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the association of each drift figure that enough arms have.

    Returns
    -------
    DataFrame
        ``figure, title, rho, low, high, p, n, methods``.
    """
    rows: list[dict[str, Any]] = []
    for name, table in points.items():
        result = associate(table)
        if result is not None:
            rows.append({"figure": name, "title": FIGURES[name].title, **vars(result)})
    columns = ["figure", "title", "rho", "low", "high", "p", "n", "methods"]
    return pd.DataFrame(rows, columns=columns)

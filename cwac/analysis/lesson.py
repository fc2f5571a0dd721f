"""What the lesson's predictions are held against: which answer the numbers give."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import pandas as pd

from cwac.analysis.dominance import AXES
from cwac.analysis.measured import Measured
from cwac.arms import ALIGNED, BASELINE
from cwac.rates import RATES
from cwac.records import RunRecord


def band(value: float, edges: Sequence[float]) -> int:
    """Return which of the bands between ascending edges a value lies in, the lowest is 0.

    Examples
    --------
    >>> band(0.49, (0.5, 0.9)), band(0.5, (0.5, 0.9)), band(0.97, (0.5, 0.9))
    (0, 1, 2)
    """
    return bisect_right(edges, value)


def bands(low: float, high: float, edges: Sequence[float]) -> frozenset[int]:
    """Return the bands between ascending edges that an interval touches.

    Examples
    --------
    >>> sorted(bands(0.3, 0.95, (0.5, 0.9))), sorted(bands(0.1, 0.2, (0.5, 0.9)))
    ([0, 1, 2], [0])
    """
    return frozenset(range(band(low, edges), band(high, edges) + 1))


def lowest(at_hand: Measured, labels: Iterable[str]) -> list[str]:
    """Return the arms with the lowest harmful score, the lowest first.

    Parameters
    ----------
    at_hand : Measured
        The answers.
    labels : iterable of str
        The arms that are compared.

    Returns
    -------
    list of str
        The arm with the lowest value, and those that are not told apart from it: the 95 % interval
        of their difference, not corrected for how many are compared, holds 0. Empty where none was
        measured.
    """
    name = "harmful_score"
    scores = {label: arm.rate for label, arm in at_hand.arms(name).items() if label in set(labels)}
    ranked = sorted(scores, key=scores.__getitem__)
    return ranked[:1] + [
        label for label in ranked[1:] if at_hand.gap(name, label, ranked[0]).low <= 0
    ]


def as_good_as(rates: pd.DataFrame, focus: str) -> list[str]:
    """Return the arms that dominate `focus` in their point estimates, the least harmful first.

    They are at least as good in harm, task accuracy and look-alikes answered, and better in one.
    Whether the lead is beyond noise, ``cwac.analysis.dominance`` says.
    """
    wide = rates[rates["rate"].isin(AXES)].pivot_table(
        index="variant", columns="rate", values="value"
    )
    if focus not in wide.index or set(AXES) - set(wide.columns):
        return []
    signs = pd.Series({axis: -1.0 if RATES[axis].direction == "lower" else 1.0 for axis in AXES})
    gains = (wide[list(AXES)] - wide.loc[focus, list(AXES)]) * signs
    rivals = gains.drop(index=[focus, ALIGNED.label], errors="ignore").dropna()
    above = rivals[(rivals >= 0).all(axis="columns") & (rivals > 0).any(axis="columns")]
    return [str(label) for label in wide.loc[above.index].sort_values(AXES[0]).index]


def level_with(rates: pd.DataFrame, focus: str) -> list[str]:
    """Return the arms whose intervals reach those of `focus` in each of the three rates.

    Parameters
    ----------
    rates : DataFrame
        As of `as_good_as`, with ``low`` and ``high``.
    """
    ends = rates[rates["rate"].isin(AXES)].pivot_table(
        index="variant", columns="rate", values=["low", "high"]
    )
    if focus not in ends.index:
        return []
    low, high = ends["low"], ends["high"]
    reach = (low <= high.loc[focus]) & (high >= low.loc[focus])
    alike = reach.all(axis="columns").drop(index=[focus, ALIGNED.label], errors="ignore")
    return [str(label) for label in alike[alike].index]


def over_runs(records: Iterable[RunRecord], metric: str) -> pd.DataFrame:
    """Return a metric of each arm: mean over its seeds, lowest and highest seed.

    Returns
    -------
    DataFrame
        ``variant, value, low, high, seeds``; an arm that no run measured has no row.
    """
    known = [(r.arm.label, value) for r in records if (value := r.value(metric)) is not None]
    table = pd.DataFrame(known, columns=["variant", "value"])
    groups = table.groupby("variant", sort=False)["value"]
    return groups.agg(value="mean", low="min", high="max", seeds="size").reset_index()


def lost_share(rates: pd.DataFrame) -> tuple[float, float, float] | None:
    """Return the share of the aligned model's refusals that SFT lost, None where not measured.

    Returns
    -------
    (share, low, high) or None
        The interval is that of SFT's refusals, the aligned model's taken as they are.
    """
    refused = rates[rates["rate"] == "refusal_rate"]
    rows = {row["variant"]: row for row in refused.to_dict("records")}
    if BASELINE not in rows or ALIGNED.label not in rows or rows[ALIGNED.label]["value"] == 0:
        return None
    before, after = rows[ALIGNED.label]["value"], rows[BASELINE]
    share, high, low = (float(1 - after[end] / before) for end in ("value", "low", "high"))
    return share, low, high

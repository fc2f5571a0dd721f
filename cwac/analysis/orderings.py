"""The paper's orderings of methods against the lab's: ranks and Kendall's tau."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.outcomes import outcomes_of
from cwac.arms import title_of
from cwac.rates import RATES
from cwac.statistics import hierarchical_bootstrap, rate

FEWEST: Final = 3
"""Methods below which there is no ordering to speak of."""


@dataclass(frozen=True)
class Ours:
    """The lab's own results for one quantity.

    Attributes
    ----------
    label : str
        Task and poison ratio.
    rates : DataFrame
        Index ``method``; ``value, low, high`` (fractions), ``n``, ``seeds``.
    draws : dict of str to ndarray
        Resampled rates of each method, shared draws of seeds and requests.
    """

    label: str
    poison_ratio: float
    rates: pd.DataFrame
    draws: Mapping[str, np.ndarray]


def ours(
    responses: pd.DataFrame, quantity: str, methods: Sequence[str], label: str, poison: float
) -> Ours:
    """Return the rates of the methods at their default settings.

    Parameters
    ----------
    responses : DataFrame
        Of the runs, with ``variant`` and ``seed``.
    methods : sequence of str
        Those that the paper has too.
    """
    by_arm = outcomes_of(responses[responses["variant"].isin(methods)], quantity)
    arms = {name: by_arm[name] for name in methods if name in by_arm}
    draws = hierarchical_bootstrap(arms)
    rows = {}
    for name, outcomes in arms.items():
        share = rate(outcomes, draws=draws[name])
        rows[name] = [share.value, share.low, share.high, share.n, share.seeds]
    rates = pd.DataFrame.from_dict(
        rows, orient="index", columns=["value", "low", "high", "n", "seeds"]
    )
    return Ours(label, poison, rates.rename_axis("method"), draws)


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b of `first` with each row of `second`, NaN where one is all ties.

    Parameters
    ----------
    first : ndarray
        ``(methods,)``.
    second : ndarray
        ``(methods,)`` or ``(draws, methods)``.

    Examples
    --------
    >>> float(kendall(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])).round(3))
    0.333
    """
    one, two = np.triu_indices(len(first), k=1)
    here = np.sign(first[one] - first[two])
    there = np.sign(second[..., one] - second[..., two])
    scale = np.sqrt((here != 0).sum() * (there != 0).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((here * there).sum(-1) / scale)


def agreement(settings: pd.DataFrame, lab: Ours) -> pd.DataFrame:
    """Return Kendall's tau between our ordering and each of the paper's settings.

    Returns
    -------
    DataFrame
        ``setting, poison_ratio, methods`` (how many both have), ``names, tau, low, high``. The
        interval comes from our seeds and requests alone: the paper reports single numbers. With
        fewer than three common methods tau is missing.
    """
    rows: list[list[Any]] = []
    for setting, line in settings.iterrows():
        common = [name for name in lab.rates.index if pd.notna(line[name])]
        named = ", ".join(map(title_of, common))
        row: list[Any] = [setting, line["poison_ratio"], len(common), named]
        if len(common) < FEWEST:
            rows.append([*row, np.nan, np.nan, np.nan])
            continue
        theirs = line[common].to_numpy(dtype=float)
        tau = float(kendall(theirs, lab.rates.loc[common, "value"].to_numpy(dtype=float)))
        drawn = kendall(theirs, np.stack([lab.draws[name] for name in common], axis=1))
        drawn = drawn[np.isfinite(drawn)]
        ends = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else [np.nan, np.nan]
        rows.append([*row, tau, float(ends[0]), float(ends[1])])
    columns = ["setting", "poison_ratio", "methods", "names", "tau", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def rank_table(settings: pd.DataFrame, lab: Ours, quantity: str) -> pd.DataFrame:
    """Return ranks in long form, 1 the best, ours first; among the methods that we have.

    Returns
    -------
    DataFrame
        ``setting, method, value`` (per cent), ``rank``, ``of``, ``n``.
    """
    names = list(lab.rates.index)
    mine = pd.DataFrame([100 * lab.rates["value"]], index=[f"ours: {lab.label}"])
    values = pd.concat([mine, settings[names].astype(float)])
    ranks = values.rank(
        axis="columns", ascending=RATES[quantity].direction == "lower", method="min"
    )
    long = values.rename_axis("setting").reset_index().melt("setting", var_name="method")
    long["rank"] = ranks.melt()["value"]
    long["of"] = long["setting"].map(values.notna().sum(axis="columns"))
    counts = lab.rates["n"].to_dict()
    long["n"] = [
        counts[method] if setting == mine.index[0] else None
        for setting, method in zip(long["setting"], long["method"], strict=True)
    ]
    return long.dropna(subset=["value"]).reset_index(drop=True)

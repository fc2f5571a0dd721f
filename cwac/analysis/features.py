"""SAE features in tables: whether they fit a model, how far each latent moved, which were held."""

from typing import Final

import numpy as np
import pandas as pd

from cwac.analysis.drift import over_seeds
from cwac.analysis.outcomes import complete
from cwac.arms import Arm
from cwac.statistics import median_interval, rates

TRUSTED: Final = 0.7
"""Explained variance below which features are not to be read."""
NOT_HELD: Final = 0.5
"""Share of its aligned activation that a latent may lose or gain before it counts as not held."""
ROLES: Final = ("protected", "control")
"""What is counted: the safety features, and random latents beside them."""


def misfits(quality: pd.DataFrame) -> pd.DataFrame:
    """Return the arms and layers whose explained variance, mean over seeds, is below `TRUSTED`."""
    summary = over_seeds(quality, ["layer"], "explained_variance")
    return summary[summary["mean"] < TRUSTED]


def constant_l0(quality: pd.DataFrame) -> float | None:
    """Return how many latents every token fires where it is the same in all models, else None.

    TopK SAEs fire a fixed number whatever they read, so that it says nothing of a model.
    """
    values = quality["l0"].dropna().unique()
    return float(values[0]) if len(values) == 1 else None


def feature_drift(features: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return how far each latent's mean activation on harmful requests moved.

    Parameters
    ----------
    features : DataFrame
        ``features`` of all runs, with ``variant`` and ``seed``.
    aligned : DataFrame
        ``features`` of the aligned model.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``layer``, ``latent``, ``before``, ``after`` (mean activations),
        ``drift`` (after - before), ``relative`` (drift / before, missing where before is 0),
        ``protected``, ``control``.
    """
    before = aligned[["layer", "latent", "mean_harmful"]].rename(columns={"mean_harmful": "before"})
    columns = ["variant", "seed", "layer", "latent", "mean_harmful", "protected", "control"]
    joined = features[columns].rename(columns={"mean_harmful": "after"})
    joined = joined.merge(before, on=["layer", "latent"])
    drift = joined["after"] - joined["before"]
    relative = drift / joined["before"].where(joined["before"] > 0)
    return joined.assign(drift=drift, relative=relative)


def held(drift: pd.DataFrame, table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return each safety feature's fate under one arm, the least held first.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.

    Returns
    -------
    DataFrame
        ``layer``, ``latent``, ``before``, ``after``, ``relative`` (change over the aligned
        activation, mean over seeds), ``share`` (mean share of the loss over training),
        ``last_share`` (at the last probe), ``held``.
    """
    mine = drift[(drift["variant"] == arm.label) & drift["protected"] & (drift["before"] > 0)]
    fate = mine.groupby(["layer", "latent"])[["before", "after", "relative"]].mean()
    rows = table[table["variant"] == arm.label]
    fate["share"] = rows.groupby(["layer", "latent"])["share"].mean()
    last = rows[rows["step"] == rows["step"].max()]
    fate["last_share"] = last.groupby(["layer", "latent"])["share"].mean()
    fate["held"] = fate["relative"].abs() <= NOT_HELD
    by_size = fate["relative"].abs().sort_values(ascending=False).index
    return fate.loc[by_size].reset_index()


def lost_shares(drift: pd.DataFrame) -> pd.DataFrame:
    """Return which share of the safety features each arm lost, and of the random latents.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.

    Returns
    -------
    DataFrame
        ``variant``, ``role`` (``protected`` for safety features, or ``control``), ``value``,
        ``low``, ``high`` (fractions; the interval takes latents as independent, and seeds where
        there are several), ``n`` (latents that fire in the aligned model), ``seeds``, ``method``,
        ``fewest``, ``most`` (latents lost, over the seeds). A latent is lost where its mean
        activation on harmful requests fell by more than `NOT_HELD`.
    """
    return _counted(drift, drift["relative"] < -NOT_HELD)


def held_shares(drift: pd.DataFrame) -> pd.DataFrame:
    """Return which share of the latents each arm held, as `lost_shares` does for lost ones.

    A latent is held where its mean activation moved by at most `NOT_HELD`, up or down.
    """
    return _counted(drift, drift["relative"].abs() <= NOT_HELD)


def _counted(drift: pd.DataFrame, happened: "pd.Series[bool]") -> pd.DataFrame:
    fires = drift.assign(happened=happened)[drift["before"] > 0]
    marked = fires.assign(name=fires["layer"].astype(str) + "/" + fires["latent"].astype(str))
    rows = []
    for role in ROLES:
        mine = marked[marked[role]]
        grids = {
            str(arm): complete(part.pivot_table("happened", "seed", "name", aggfunc="first"))
            for arm, part in mine.groupby("variant", sort=False)
        }
        arms = {arm: outcomes for arm, outcomes in grids.items() if outcomes is not None}
        for arm, share in rates(arms).items():
            counts = arms[arm].values.sum(axis=1)
            numbers = (share.value, share.low, share.high, share.n, share.seeds, share.method)
            rows.append((arm, role, *numbers, int(counts.min()), int(counts.max())))
    names = ["variant", "role", "value", "low", "high", "n", "seeds", "method", "fewest", "most"]
    return pd.DataFrame(rows, columns=names)


def moved_shares(drift: pd.DataFrame) -> pd.DataFrame:
    """Return by how much of its aligned activation the median latent moved, per arm and kind.

    Up or down, a mean over seeds. A share and a median, because latents that fire strongly move
    by more, and because one that hardly fired before can grow many times over.

    Returns
    -------
    DataFrame
        ``variant``, ``role``, ``value``, ``low``, ``high`` (fractions; an interval of order
        statistics, which takes latents as independent), ``n`` (latents), ``seeds``.
    """
    fires = drift[drift["before"] > 0]
    rows = []
    for role in ROLES:
        for arm, part in fires[fires[role]].groupby("variant", sort=False):
            moved = part.groupby(["layer", "latent"])["relative"].mean().abs()
            low, high = median_interval(moved.to_numpy()) or (np.nan, np.nan)
            seeds = part["seed"].nunique()
            rows.append((arm, role, float(moved.median()), low, high, len(moved), seeds))
    names = ["variant", "role", "value", "low", "high", "n", "seeds"]
    return pd.DataFrame(rows, columns=names)

"""SAE features in tables: whether they fit a model, how far each latent moved, which were held."""

from typing import Final

import pandas as pd

from cwac.analysis.drift import over_seeds
from cwac.arms import Arm

TRUSTED: Final = 0.7
"""Explained variance below which features are not to be read."""
NOT_HELD: Final = 0.5
"""Share of its aligned activation that a latent may lose or gain before it counts as not held."""


def misfits(quality: pd.DataFrame) -> pd.DataFrame:
    """Return the arms and layers whose explained variance, mean over seeds, is below `TRUSTED`."""
    summary = over_seeds(quality, ["layer"], "explained_variance")
    return summary[summary["mean"] < TRUSTED]


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
    """Return each protected latent's fate under one arm, the least held first.

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

"""Stored interventions as tables to draw: one row a measurement, of one run or over seeds."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.prediction import Association, associate
from cwac.arms import Arm

OUTCOMES: Final = ("refusal", "hybrid", "compliance", "undetermined")
LOG_ODDS: Final = "refusal_log_odds"
NEITHER: Final = "layer"
"""The grain under which interventions are stored that do not depend on it."""
_PLACE: Final = ("intervention", "grain", "part", "layer", "map", "trial", "dose", "measure")
_NUMBERS: Final = ("value", "returned", "refusing", *OUTCOMES)


def readings(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int]
) -> pd.DataFrame:
    """Return the stored rows of the runs in view, named by arm and seed.

    Parameters
    ----------
    dissection : DataFrame
        The experiment's table ``dissection``.
    runs, seeds : mapping
        Id of each run in view to its arm and its seed.

    Returns
    -------
    DataFrame
        ``variant, seed`` and the table's columns, its ``variant`` as ``trial``; several draws of
        a control are one row, their mean (its interval is that of the first).
    """
    rows = dissection[dissection["run_id"].isin(list(runs))].rename(columns={"variant": "trial"})
    labels = {run: arm.label for run, arm in runs.items()}
    named = rows.assign(variant=rows["run_id"].map(labels), seed=rows["run_id"].map(seeds))
    # The column of an empty table has no kind of its own.
    named = named.assign(control=named["control"].astype(bool))
    keys = ["variant", "seed", *_PLACE, "control"]
    rest = [name for name in named.columns if name not in {*keys, "run_id", "draw", "version"}]
    how = {name: "mean" if name in _NUMBERS else "first" for name in rest}
    return named.groupby(keys, sort=False, dropna=False).agg(how).reset_index()


def of_arm(
    rows: pd.DataFrame, arm: Arm, intervention: str, measure: str = LOG_ODDS, grain: str = NEITHER
) -> pd.DataFrame:
    """Return one arm's readings of one intervention as a mean over its seeds with an interval.

    Parameters
    ----------
    rows : DataFrame
        From `readings`.

    Returns
    -------
    DataFrame
        ``part, layer, map, trial, dose, control``; ``y, low, high`` (the share of the lost
        log-odds that is back, where every row has one; otherwise the value); ``is_share`` (which
        of the two); ``n``, ``seeds``, ``refusing`` and the outcomes with their sum ``sample``.
        With one seed the interval is the stored one, over requests; with several it runs from the
        lowest to the highest seed.
    """
    mine = rows[
        (rows["variant"] == arm.label)
        & (rows["intervention"] == intervention)
        & (rows["measure"] == measure)
        & (rows["grain"] == grain)
    ]
    is_share = measure == LOG_ODDS and len(mine) > 0 and bool(mine["returned"].notna().all())
    names = ("returned", "returned_low", "returned_high") if is_share else ("value", "low", "high")
    drawn = mine.assign(
        **dict(zip(("y", "low", "high"), (mine[name] for name in names), strict=True))
    )
    keys = ["part", "layer", "map", "trial", "dose", "control"]
    groups = drawn.groupby(keys, sort=False, dropna=False)
    how = {"low": "min", "high": "max", "n": "min", "seeds": "nunique"} | dict.fromkeys(
        ("y", "refusing", *OUTCOMES), "mean"
    )
    table = groups.agg(**{name: (_source(name), kind) for name, kind in how.items()}).reset_index()
    if len(drawn) and drawn["seed"].nunique() > 1:
        spread = groups["y"].agg(low="min", high="max").reset_index()
        table = table.assign(low=spread["low"], high=spread["high"])
    sample = table[list(OUTCOMES)].sum(axis=1, min_count=len(OUTCOMES))
    return table.assign(sample=sample, is_share=is_share).sort_values(
        "layer", kind="stable", ignore_index=True
    )


def _source(name: str) -> str:
    return "seed" if name == "seeds" else name


def by_place(rows: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return what restoring each map returns beside how far it moved, for one arm.

    Parameters
    ----------
    rows : DataFrame
        From `readings`.
    drift : DataFrame
        ``weight_drift`` of the same runs.

    Returns
    -------
    DataFrame
        ``layer, map, returned, control`` (shares) and ``relative_norm``, means over seeds; empty
        where the arm was not taken apart by map. A layer's norms, the embedding and what follows
        the layers were restored too and have no drift of their own in the tables.
    """
    restored = of_arm(rows, arm, "restore", grain="map")
    columns = ["layer", "map", "returned", "control", "relative_norm"]
    if restored.empty or not restored["is_share"].all():
        return pd.DataFrame(columns=columns)
    keys = ["layer", "map"]
    mine = restored[~restored["control"]][[*keys, "y"]].rename(columns={"y": "returned"})
    control = restored[restored["control"]][[*keys, "y"]].rename(columns={"y": "control"})
    moved = drift[drift["variant"] == arm.label].groupby(keys)["relative_norm"].mean()
    return (
        mine.merge(control, on=keys, how="left")
        .merge(moved.reset_index(), on=keys, how="left")[columns]
        .assign(layer=lambda table: table["layer"].astype(int))
    )


def effect_against_drift(table: pd.DataFrame) -> Association | None:
    """Return the rank correlation of effect and drift over maps, None for few of them.

    Parameters
    ----------
    table : DataFrame
        From `by_place`. The interval takes maps as independent.
    """
    known = table.dropna(subset=["relative_norm", "returned"])
    points = known.rename(columns={"relative_norm": "drift", "returned": "harm"})
    return associate(points.assign(method=[str(place) for place in points.index]))


def interventions_of(rows: pd.DataFrame, arm: Arm) -> list[str]:
    """Return the interventions that are stored for an arm, beside those on sets of one's choice."""
    mine = (rows["variant"] == arm.label) & (rows["grain"] != "set")
    return list(dict.fromkeys(rows.loc[mine, "intervention"]))


def refused(row: Mapping[Any, Any]) -> str:
    """Return how many of the sample's answers refuse, as text; empty where none were given.

    Examples
    --------
    >>> refused({"refusal": 22.0, "sample": 24.0})
    '22 of 24 sampled requests are refused'
    >>> refused({"refusal": float("nan"), "sample": float("nan")})
    ''
    """
    if not np.isfinite(row["refusal"]) or not row["sample"]:
        return ""
    return f"{row['refusal']:.3g} of {row['sample']:.0f} sampled requests are refused"

"""Where restoring brings refusals back on each of several models, as a share of their depth."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.causes import RESTORE
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import APART, SAME, Reading, agreement
from cwac.analysis.interventions import by_seed, of_arm, readings, scope
from cwac.arms import Arm

SPLIT: Final = "subspace_split"
INSIDE: Final = "inside removed"
ENERGY: Final = f"{INSIDE}, random of equal energy"
RANK: Final = f"{INSIDE}, random of equal rank"
"""Trials of the subspace split: what is removed, and its two matched controls."""
QUARTERS: Final = ("first", "second", "third", "last")
NOWHERE: Final = "no layer above its control"
MORE, LESS, UNTOLD = "more", "less", "not told apart"
"""What removing the inside returns, beside random directions of equal energy."""


def read_by_models(dissection: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table ``dissection`` that `on_models` reads."""
    kinds = dissection["intervention"].isin([RESTORE, SPLIT, "ends"])
    return dissection[kinds & (dissection["grain"] == "layer")]


def on_models(
    stored: Mapping[str, pd.DataFrame],
    runs: Mapping[str, Arm],
    seeds: Mapping[str, int],
    arm: Arm,
) -> pd.DataFrame:
    """Return what one arm gets back on each model: layer by layer, and without the inside.

    Parameters
    ----------
    stored : mapping of str to DataFrame
        Model to its experiment's ``dissection``.
    runs, seeds : mapping
        Id of each run of the arm, on any model, to its arm and its seed.

    Returns
    -------
    DataFrame
        `of_arm`'s columns of the restored layers and of the split, ``model``, ``intervention``,
        ``layers`` (how many the model has), ``depth`` (the middle of a layer's place as a share
        of them: 1/8 for the first of four) and ``scope`` (seeds and intervals in words). Models on
        which the arm lost no refusal log-odds have no rows.
    """
    parts = []
    for model, table in stored.items():
        rows = readings(table, runs, seeds)
        restored = of_arm(rows, arm, RESTORE)
        layers = restored[restored["part"].str.fullmatch(r"layer \d+").astype(bool)]
        if not layers["is_share"].any() or layers["control"].nunique() < 2:
            continue
        count = int(layers["layer"].max()) + 1
        split = of_arm(rows, arm, SPLIT)
        split = split[split["trial"].isin([INSIDE, ENERGY, RANK]) & split["is_share"]]
        about: dict[str, Any] = {
            "model": model,
            "layers": count,
            "scope": scope(by_seed(rows, arm, RESTORE)),
        }
        depth = (layers["layer"] + 0.5) / count
        parts.append(layers.assign(intervention=RESTORE, depth=depth, **about))
        parts.append(split.assign(intervention=SPLIT, depth=np.nan, **about))
    if not parts:
        return pd.DataFrame(columns=["model", "intervention"])
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a model: the layer that exceeds its control most, and the inside removed.

    Parameters
    ----------
    table : DataFrame
        From `on_models`.

    Returns
    -------
    DataFrame
        ``model, layers, layer, depth, returned, low, high, seeds, control, possible`` (`QUARTERS`
        of the depth that the intervals leave, or `NOWHERE`, joined by `` or ``), ``inside,
        inside_low, inside_high, energy, rank`` (shares; missing where the split was not made),
        ``beside`` (`MORE`, `LESS` or `UNTOLD`, by whether the intervals of inside and equal energy
        are apart) and ``scope``.
    """
    return pd.DataFrame([_model_row(mine) for _, mine in table.groupby("model", sort=False)])


def _model_row(table: pd.DataFrame) -> dict[str, Any]:
    layers = beside_control(table)
    best = layers.iloc[int(layers["excess"].to_numpy().argmax())]
    names = ("model", "layers", "layer", "depth", "low", "high", "seeds", "control", "scope")
    row = {name: best[name] for name in names} | {"returned": best["y"]}
    row["possible"] = " or ".join(possible_quarters(layers))
    split = {each["trial"]: each for each in table.to_dict("records")}
    inside, energy = split.get(INSIDE), split.get(ENERGY)
    row |= dict.fromkeys(("inside", "inside_low", "inside_high", "energy", "rank"), np.nan)
    row["beside"] = ""
    if inside is not None:
        row |= {"inside": inside["y"], "inside_low": inside["low"], "inside_high": inside["high"]}
    row |= {name: split[t]["y"] for name, t in (("energy", ENERGY), ("rank", RANK)) if t in split}
    if inside is not None and energy is not None:
        more, less = inside["low"] > energy["high"], inside["high"] < energy["low"]
        row["beside"] = MORE if more else LESS if less else UNTOLD
    return row


def beside_control(table: pd.DataFrame) -> pd.DataFrame:
    """Return one model's restored layers with their ``control`` and how far they exceed it.

    ``excess`` has an interval from both intervals' ends, ``excess_low`` to ``excess_high``: wider
    than one of the difference, which the table does not hold.
    """
    rows = table[table["intervention"] == RESTORE]
    chance = rows[rows["control"]].set_index("layer")[["y", "low", "high"]]
    layers = rows[~rows["control"]].drop(columns="control")
    layers = layers.join(chance.add_prefix("chance_"), on="layer").dropna(subset=["chance_y"])
    return layers.assign(
        control=layers["chance_y"],
        excess=layers["y"] - layers["chance_y"],
        excess_low=layers["low"] - layers["chance_high"],
        excess_high=layers["high"] - layers["chance_low"],
    )


def possible_quarters(layers: pd.DataFrame) -> tuple[str, ...]:
    """Return in which quarters of the depth the layer may lie that exceeds its control most.

    Parameters
    ----------
    layers : DataFrame
        From `beside_control`.

    Returns
    -------
    tuple of str
        The quarters of all layers whose interval reaches that of the largest excess, and
        `NOWHERE` where that itself may be chance.
    """
    best = layers.iloc[int(layers["excess"].to_numpy().argmax())]
    if best["excess"] <= 0:
        return (NOWHERE,)
    near = (layers["excess"] > 0) & (layers["excess_high"] >= best["excess_low"])
    near = layers[near | (layers["layer"] == best["layer"])]
    quarters = [QUARTERS[min(int(4 * depth), 3)] for depth in near["depth"]]
    ordered = tuple(sorted(set(quarters), key=QUARTERS.index))
    return ordered if best["excess_low"] > 0 else (*ordered, NOWHERE)


def depth_sentence(models: pd.DataFrame, arm: Arm) -> str:
    """Return whether the models agree on the depth at which a layer's restoring returns most.

    Parameters
    ----------
    models : DataFrame
        From `summary`. They agree where each is decided and all are the same, disagree where two
        have no quarter in common, and are undecided otherwise.
    """
    sides = {
        row["model"]: tuple(row["possible"].split(" or ")) for row in models.to_dict("records")
    }
    agreed = agreement([Reading(possible, "free") for possible in sides.values()])
    groups: dict[str, list[str]] = {}
    for model, possible in sides.items():
        groups.setdefault(_depth(possible), []).append(model)
    where = "; ".join(f"{text} on {enumerated(of)}" for text, of in groups.items())
    subject = "the layer whose restoring alone returns most beyond a random set"
    if agreed == SAME:
        only = next(iter(groups))
        text = f"{arm.title}: {subject} lies in the {only} of the depth on all {len(sides)} models"
        none = f"{arm.title}: {NOWHERE} on all {len(sides)} models"
        return none if only == NOWHERE else text
    verdict = (
        "models disagree on the depth of"
        if agreed == APART
        else "undecided whether models agree on"
    )
    return f"{arm.title}: {verdict} {subject}: {where}"


def inside_sentence(models: pd.DataFrame) -> str:
    """Return on which models removing the inside of the subspace returns more than chance."""
    words = {
        MORE: "returns more on",
        LESS: "returns less on",
        UNTOLD: "cannot be told from them on",
    }
    parts = []
    for kind, text in words.items():
        of = models.loc[models["beside"] == kind, "model"]
        if len(of):
            parts.append(f"{text} {enumerated(of)}")
    if not parts:
        return ""
    return (
        "Held against random directions of equal energy, removing the update's part inside the "
        f"safety subspace {', '.join(parts)}."
    )


def _depth(possible: Iterable[str]) -> str:
    quarters = [each for each in possible if each != NOWHERE]
    if not quarters:
        return NOWHERE
    text = f"{' or '.join(quarters)} quarter"
    return text if len(quarters) == len(tuple(possible)) else f"{text}, if any layer"

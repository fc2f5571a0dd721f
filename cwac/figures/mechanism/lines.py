"""Weight drift as lines: over layers, over training, over singular values."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds, pooled_inside
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.mechanism.maps import FLOOR, QUANTITIES, drift_title
from cwac.figures.panels import (
    extremes,
    level,
    log_axis,
    number,
    order,
    percent,
    seeds_line,
    titled,
)


def singular_values(table: pd.DataFrame, arms: Sequence[Arm], layer: int, name: str) -> go.Figure:
    """Draw the singular values of one matrix's update, one line per arm, on a log axis."""
    cell = table[(table["layer"] == layer) & (table["map"] == name)]
    summary = over_seeds(cell, ["index"], "value")
    positive = summary[summary["mean"] > 0]
    figure = go.Figure()
    for arm in order(arms, summary):
        line = seeds_line(positive, arm, "index", "singular value no. %{x}", first=1)
        figure.add_trace(line.update(marker={"maxdisplayed": 12}))
    figure.update_xaxes(title="singular value, largest first (number)")
    figure.update_yaxes(title="singular value of ΔW (weight units)", **log_axis(positive["mean"]))
    first = summary[summary["index"] == summary["index"].min()].set_index("variant")["mean"]
    title = f"Layer {layer}, {name}: no spectrum was stored"
    if len(first):
        most, _ = extremes(first)
        named = f"{by_label(arms)[most].title}, {number(first[most])}"
        title = f"Layer {layer}, {name}: the largest step is that of {named}"
    return titled(figure, title, height=400)


def inside_by_layer(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the share of the update inside the protected subspace per layer, with its baseline."""
    pooled = pooled_inside(table, ["layer"])
    baseline = pooled.groupby("layer")["random_energy"].mean()
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=baseline.index,
            y=100 * baseline,
            mode="lines",
            name="random update (rank / d_in)",
            line={"color": style.GREY, "dash": "dot", "width": 2},
            hovertemplate="a random update: %{y:.1f} % at layer %{x}<extra></extra>",
        )
    )
    summary = over_seeds(pooled, ["layer"], "inside_energy")
    for arm in order(arms, summary):
        figure.add_trace(_layer_line(summary, arm, drawn=lambda share: 100 * share))
    _layer_axis(figure)
    figure.update_yaxes(title="share of ‖ΔW‖² inside (%, ↓ nearer)", rangemode="tozero")
    return titled(figure, _inside_title(table, arms), height=430)


def _inside_title(table: pd.DataFrame, arms: Sequence[Arm]) -> str:
    pooled = pooled_inside(table)
    if pooled.empty:
        return "The protected subspace was not measured in these runs"
    means = pooled.groupby("variant")["inside_energy"].mean()
    named = by_label(arms)
    most, least = extremes(means[[label for label in named if label in means.index]])
    text = f"{_share(means[most])} of the update lies inside the protected subspace in "
    text += named[most].title
    if least != most:
        text += f", {_share(means[least])} in {named[least].title}"
    return f"{text}; a random update would have {percent(pooled['random_energy'].mean())}"


def _share(value: float) -> str:
    # Rounding errors of an exact projection: their digits say nothing.
    return f"{100 * value:.2g}\u00a0%" if value >= 1e-5 else "under 0.001\u00a0%"


def functional_by_layer(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the functional drift on harmful requests per layer, averaged over the layer's maps."""
    measured = table[table["yardstick"]].dropna(subset=["functional_drift"])
    by_layer = measured.groupby(["variant", "seed", "layer"], sort=False)["functional_drift"].mean()
    summary = over_seeds(by_layer.reset_index(), ["layer"], "functional_drift")
    figure = go.Figure()
    for arm in order(arms, summary):
        figure.add_trace(_layer_line(summary, arm))
    _layer_axis(figure)
    figure.update_yaxes(title="‖ΔW X‖ / ‖W₀ X‖ (no unit, ↓ nearer)", rangemode="tozero")
    title = drift_title(summary, QUANTITIES["functional_drift"], arms) + ", on harmful requests"
    return titled(figure, title, height=400)


_layer_line = partial(seeds_line, index="layer", at="layer %{x}", bars=True)


def _layer_axis(figure: go.Figure) -> None:
    figure.update_xaxes(title="layer (0 = first)", dtick=1)


def leak_gauge(trajectory: pd.DataFrame, table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the share of the update inside the subspace over training, for the given arms.

    Shows the leak: a gradient without a component in the subspace still gives
    an update with one, because Adam rescales element by element.

    Parameters
    ----------
    trajectory : DataFrame
        ``trajectory`` of all runs, with ``variant`` and ``seed``.
    table : DataFrame
        ``weight_drift`` of the same runs, for the random baseline.
    """
    moved = trajectory[(trajectory["drift_inside"] + trajectory["drift_outside"]) > 0]
    inside, outside = moved["drift_inside"] ** 2, moved["drift_outside"] ** 2
    summary = over_seeds(moved.assign(share=inside / (inside + outside)), ["step"], "share")
    figure = go.Figure()
    for arm in order(arms, summary):
        figure.add_trace(seeds_line(summary, arm, "step", "inside at step %{x}", drawn=_floored))
    baseline = pooled_inside(table)["random_energy"].mean()
    if np.isfinite(baseline):
        steps = [summary["step"].min(), summary["step"].max()]
        figure.add_trace(level(steps, float(baseline), f"random update: {percent(baseline)}"))
    figure.update_xaxes(title="optimiser steps")
    shares = [*summary["mean"].clip(lower=FLOOR), baseline]
    figure.update_yaxes(title="share of ‖ΔW‖² inside (fraction, ↓ nearer)", **log_axis(shares))
    last = summary[summary["step"] == summary["step"].max()].set_index("variant")["mean"]
    ends = ", ".join(
        f"{_share(last[arm.label])} in {arm.title}" for arm in arms if arm.label in last.index
    )
    return titled(figure, f"Inside the protected subspace at the end: {ends}", height=400)


def _floored(shares: "pd.Series[float]") -> "pd.Series[float]":
    return shares.clip(lower=FLOOR)

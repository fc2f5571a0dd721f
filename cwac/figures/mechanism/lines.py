"""Weight drift as lines: over layers, over training, over singular values."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import (
    chance_by_layer,
    chance_inside,
    over_seeds,
    pooled_inside,
    pooled_norm,
)
from cwac.analysis.enumeration import enumerated
from cwac.arms import BASELINE, Arm, by_label
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

_NONE_INSIDE: Final = 1e-3
"""Share below which an update counts as having nothing inside: its line would lie on 0."""


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


def norm_by_layer(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw how far each layer's maps moved, pooled, a line per arm."""
    summary = over_seeds(pooled_norm(table, ["layer"]), ["layer"], "relative_norm")
    figure = go.Figure()
    for arm in order(arms, summary):
        figure.add_trace(_layer_line(summary, arm))
    _layer_axis(figure, summary["layer"])
    figure.update_yaxes(title="‖ΔW‖ / ‖W₀‖ (no unit, ↓ nearer)", rangemode="tozero")
    return titled(figure, _norm_title(table, summary, arms), height=400)


def _norm_title(table: pd.DataFrame, layers: pd.DataFrame, arms: Sequence[Arm]) -> str:
    named = by_label(order(arms, layers))
    if not named:
        return "How far weights moved was not measured in these runs"
    whole = over_seeds(pooled_norm(table), (), "relative_norm").set_index("variant")["mean"]
    first = BASELINE if BASELINE in named else next(iter(named))
    title = f"{named[first].title} moved the decoder's maps by {_share(whole[first])} of their norm"
    # Controls are drawn; the title is about the methods.
    others = [label for label in named if label != first and not named[label].control]
    if others:
        most, least = extremes(whole[others])
        ends = [f"{_share(whole[x])} in {named[x].title}" for x in dict.fromkeys((least, most))]
        title += f"; others by {' to '.join(ends)}"
    furthest = layers.loc[layers.groupby("variant")["mean"].idxmax()].set_index("variant")["layer"]
    layer, count = furthest.value_counts().index[0], int(furthest.value_counts().iloc[0])
    if furthest.nunique() == len(furthest) > 1 or layers["layer"].nunique() < 2:
        return title
    in_how_many = "in each" if count == len(furthest) else f"in {count} of {len(furthest)} arms"
    return f"{title}; layer {layer} moved most {in_how_many}"


def inside_by_layer(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the share of the update inside the safety subspace per layer, with its baseline.

    Arms with next to nothing there in any layer are named in the title and not drawn.
    """
    chance = chance_by_layer(table)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=chance.index,
            y=100 * chance,
            mode="lines",
            name="random update (rank / d_in)",
            line={"color": style.GREY, "dash": "dot", "width": 2},
            hovertemplate="a random update: %{y:.1f} % at layer %{x}<extra></extra>",
        )
    )
    summary = over_seeds(pooled_inside(table, ["layer"]), ["layer"], "inside_energy")
    highest = summary.groupby("variant")["high"].max()
    none = set(highest.index[highest < _NONE_INSIDE])
    for arm in order(arms, summary):
        if arm.label not in none:
            figure.add_trace(_layer_line(summary, arm, drawn=lambda share: 100 * share))
    _layer_axis(figure, summary["layer"])
    figure.update_yaxes(title="share of ‖ΔW‖² inside (%, ↓ nearer)", rangemode="tozero")
    return titled(figure, _inside_title(table, arms, none), height=430)


def _inside_title(table: pd.DataFrame, arms: Sequence[Arm], none: Collection[str]) -> str:
    pooled, chance = pooled_inside(table), chance_inside(table)
    if pooled.empty:
        return "The safety subspace was not measured in these runs"
    means = pooled.groupby("variant")["inside_energy"].mean()
    named = by_label(order(arms, pooled))
    drawn = [label for label in named if label not in none]
    parts = []
    if drawn:
        most, least = extremes(means[drawn])
        first = BASELINE if BASELINE in drawn else most
        parts.append(
            f"{_share(means[first])} of {named[first].title}'s squared update lies inside the "
            f"safety subspace, of a random one {percent(chance)}"
        )
        for word, label in (("most", most), ("least", least)):
            if label != first:
                parts.append(f"{word}, {_share(means[label])}, in {named[label].title}")
    if none:
        without = enumerated(arm.title for label, arm in named.items() if label in none)
        parts.append(f"under {percent(_NONE_INSIDE, 1)} and not drawn: {without}")
    return "; ".join(parts)


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
    _layer_axis(figure, summary["layer"])
    figure.update_yaxes(title="‖ΔW X‖ / ‖W₀ X‖ (no unit, ↓ nearer)", rangemode="tozero")
    title = drift_title(summary, QUANTITIES["functional_drift"], arms) + ", on harmful requests"
    return titled(figure, title, height=400)


_layer_line = partial(seeds_line, index="layer", at="layer %{x}", bars=True)


def _layer_axis(figure: go.Figure, layers: "pd.Series[int]") -> None:
    figure.update_xaxes(title="layer (0 = first)", dtick=1 if layers.nunique() < 16 else 5)


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
    baseline = chance_inside(table)
    if baseline is not None:
        steps = [summary["step"].min(), summary["step"].max()]
        figure.add_trace(level(steps, baseline, f"random update: {percent(baseline)}"))
    figure.update_xaxes(title="optimiser steps")
    shares = [*summary["mean"].clip(lower=FLOOR), baseline or FLOOR]
    figure.update_yaxes(title="share of ‖ΔW‖² inside (fraction, ↓ nearer)", **log_axis(shares))
    last = summary[summary["step"] == summary["step"].max()].set_index("variant")["mean"]
    ends = ", ".join(
        f"{_share(last[arm.label])} in {arm.title}" for arm in arms if arm.label in last.index
    )
    return titled(figure, f"Inside the safety subspace at the end: {ends}", height=400)


def _floored(shares: "pd.Series[float]") -> "pd.Series[float]":
    return shares.clip(lower=FLOOR)

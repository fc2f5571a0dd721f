"""Weight drift: how far each matrix moved, where, and how much of it inside the subspace."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds, pooled_inside
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.mechanism.grids import DIVERGING, MOST, cells, robust_range, short
from cwac.figures.panels import (
    HIGHLIGHT,
    arm_label,
    arm_line,
    extremes,
    level,
    log_axis,
    number,
    order,
    outer_titles,
    panels,
    percent,
    seed_bars,
    titled,
)


class Quantity(NamedTuple):
    """A column of the ``weight_drift`` table that can be mapped."""

    label: str
    axis: str
    """With unit and arrow: which way is nearer to the aligned model."""
    logarithmic: bool


QUANTITIES: Final = {
    "relative_norm": Quantity("relative norm", "‖ΔW‖ / ‖W₀‖ (no unit, ↓ nearer)", False),
    "spectral_norm": Quantity("spectral norm", "‖ΔW‖₂ (weight units, ↓ nearer)", False),
    "effective_rank": Quantity("effective rank", "effective rank of ΔW (directions)", False),
    "inside_energy": Quantity("energy inside", "‖ΔW U‖² / ‖ΔW‖² (share, ↓ nearer)", True),
    "functional_drift": Quantity("functional drift", "‖ΔW X‖ / ‖W₀ X‖ (no unit, ↓ nearer)", False),
    "leakage_heldout": Quantity(
        "leakage, held-out requests, prompt tokens",
        "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)",
        True,
    ),
    "leakage_heldout_fitted": Quantity(
        "leakage, held-out refusals, tokens as fitted",
        "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)",
        True,
    ),
    "leakage_fit": Quantity(
        "leakage, fitting requests", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)", True
    ),
}
_FACTS: Final = ("d_in", "d_out", "rank", "yardstick")
_Facts = Mapping[tuple[Any, Any], dict[Hashable, Any]]
TIMES: Final = "\u00d7"
FLOOR: Final = 1e-9
"""Shares below this are rounding; logarithmic axes draw them here."""


def drift_heatmaps(
    table: pd.DataFrame,
    quantity: str,
    arms: Sequence[Arm],
    selected: tuple[int, str] | None = None,
    baseline: Arm | None = None,
) -> go.Figure:
    """Draw layers x maps, one panel per arm, all on one colour scale, numbers in the cells.

    Parameters
    ----------
    table : DataFrame
        ``weight_drift`` of all runs, with ``variant``.
    quantity : str
        A key of `QUANTITIES`.
    selected : (layer, map), optional
        Outlined in every panel.
    baseline : Arm, optional
        Draw the difference from this arm, which has no panel then; of logarithmic quantities the
        ratio.

    Notes
    -----
    Heat maps cannot be clicked in Streamlit, so each cell carries an invisible marker whose
    ``customdata`` starts with layer and map. Colours end at percentiles (`robust_range`).
    """
    drawn = QUANTITIES[quantity]
    summary = over_seeds(table, ["layer", "map"], quantity)
    about = table.drop_duplicates(["layer", "map"])[["layer", "map", *_FACTS]]
    facts = {(row["layer"], row["map"]): row for row in about.to_dict("records")}
    grids = _grids(summary, order(arms, summary), table, drawn, baseline)
    present = [arm for arm in arms if arm.label in grids]
    layers, maps = sorted(table["layer"].unique()), list(dict.fromkeys(table["map"]))
    panel = 24 + 26 * len(maps)
    figure, places = panels(present or ["no arm"], columns=3, gap=48, panel=panel)
    shade = _logarithm if drawn.logarithmic else np.asarray
    columns = max(column for _, column in places)
    fits = columns * len(layers) <= MOST
    written = (lambda v: f"{TIMES}{short(v)}") if baseline and drawn.logarithmic else short
    for arm, (row, column) in zip(present, places, strict=False):
        grid = grids[arm.label]
        picture = cells(
            grid, written if fits else None, shade=shade, coloraxis="coloraxis", hoverinfo="skip"
        )
        figure.add_trace(picture, row, column)
        mine = summary[summary["variant"] == arm.label].set_index(["layer", "map"])
        figure.add_trace(_clickable_cells(arm, mine, facts), row, column)
        if selected is not None and selected[0] in layers and selected[1] in maps:
            figure.add_trace(_outline(selected), row, column)
    shades = [v for g in grids.values() for v in shade(g.to_numpy(float)).ravel().tolist()]
    axis = _colour_axis(shades, drawn, centred=baseline is not None)
    figure.update_layout(coloraxis=axis, showlegend=False)
    figure.update_xaxes(dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    outer_titles(figure, places, x="layer (0 = first)", y=None)
    height = 90 + places[-1][0] * (panel + 48)
    title = (
        drift_title(summary, drawn, present)
        if baseline is None
        else change_title(grids, drawn, present, baseline)
    )
    return titled(figure, title, height=max(height, 260))


def _grids(
    summary: pd.DataFrame,
    arms: Sequence[Arm],
    table: pd.DataFrame,
    quantity: Quantity,
    baseline: Arm | None,
) -> dict[str, pd.DataFrame]:
    """Return each arm's numbers by map and layer, held against those of `baseline`."""
    layers, maps = sorted(table["layer"].unique()), list(dict.fromkeys(table["map"]))
    grids = {}
    for arm in arms:
        mine = summary[summary["variant"] == arm.label].set_index(["layer", "map"])["mean"]
        grids[arm.label] = mine.unstack("layer").reindex(index=maps, columns=layers)
    if baseline is None:
        return grids
    base = grids.pop(baseline.label)
    if quantity.logarithmic:
        low = base.clip(lower=FLOOR)
        return {label: grid.clip(lower=FLOOR) / low for label, grid in grids.items()}
    return {label: grid - base for label, grid in grids.items()}


def _logarithm(values: np.ndarray) -> np.ndarray:
    logarithms: np.ndarray = np.log10(np.maximum(values, FLOOR))
    return logarithms


def change_title(
    grids: Mapping[str, pd.DataFrame], quantity: Quantity, arms: Sequence[Arm], baseline: Arm
) -> str:
    """Return which arm is furthest below and which furthest above the baseline, on average."""
    named = by_label(arms)
    means = pd.Series(
        {
            label: np.exp(np.log(grid).mean().mean())
            if quantity.logarithmic
            else grid.mean().mean()
            for label, grid in grids.items()
        },
        dtype=float,
    ).dropna()
    if means.empty:
        return f"{quantity.label.capitalize()}: no other arm beside {baseline.title}"

    def text(label: str) -> str:
        change = f"{TIMES}{short(means[label])}" if quantity.logarithmic else f"{means[label]:+.2g}"
        return f"{change} in {named[label].title}"

    most, least = extremes(means)
    both = text(least) if most == least else f"{text(least)}, {text(most)}"
    average = "geometric mean over cells" if quantity.logarithmic else "mean over cells"
    return f"{quantity.label.capitalize()} against {baseline.title} ({average}): {both}"


def _clickable_cells(arm: Arm, cells: pd.DataFrame, facts: _Facts) -> go.Scatter:
    places: list[tuple[int, str]] = cells.index.tolist()
    layers, maps = [layer for layer, _ in places], [style.escape(name) for _, name in places]
    rows = cells.reset_index().to_dict("records")
    hover = [_cell_hover(arm, row | facts[row["layer"], row["map"]]) for row in rows]
    return go.Scatter(
        x=layers,
        y=maps,
        mode="markers",
        marker={"size": 20, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=[[layer, name, arm.label] for layer, name in places],
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        name=style.escape(arm.title),
    )


def _cell_hover(arm: Arm, cell: Mapping[Hashable, Any]) -> str:
    return (
        f"{arm_label(arm, 40)}<br>layer {cell['layer']}, {style.escape(cell['map'])}: "
        f"<b>{number(cell['mean'])}</b>"
        f"<br>{number(cell['low'])} to {number(cell['high'])}, n = {cell['seeds']} seeds"
        f"<br>{cell['d_out']} by {cell['d_in']}, {cell['rank']} protected directions"
        f"<br>{'measured by the yardstick' if cell['yardstick'] else 'not in the yardstick'}"
    )


def _outline(selected: tuple[int, str]) -> go.Scatter:
    return go.Scatter(
        x=[selected[0]],
        y=[style.escape(selected[1])],
        mode="markers",
        marker={
            "size": 18,
            "symbol": "square-open",
            "line": {"width": 3, "color": HIGHLIGHT},
            "color": HIGHLIGHT,
        },
        hoverinfo="skip",
        name="selected",
    )


def _colour_axis(
    colours: Sequence[float], quantity: Quantity, *, centred: bool = False
) -> dict[str, Any]:
    low, high = robust_range(colours, centred=centred)
    title = "" if centred else quantity.axis
    bar: dict[str, Any] = {"title": {"text": title, "side": "right"}, "thickness": 14}
    if quantity.logarithmic and colours:
        ticks = range(int(np.floor(low)), int(np.ceil(high)) + 1)
        ticks = ticks[:: max(1, len(ticks) // 8)]
        words = [f"{TIMES}{10.0**tick:g}" if centred else _power(tick) for tick in ticks]
        bar |= {"tickvals": list(ticks), "ticktext": words}
    scale = DIVERGING if centred else "Cividis"
    return {"colorscale": scale, "colorbar": bar, "cmin": low, "cmax": high}


def _power(tick: int) -> str:
    # The floor stands for everything below it.
    return f"{'≤ ' if 10.0**tick <= FLOOR else ''}10<sup>{tick}</sup>"


def drift_title(summary: pd.DataFrame, quantity: Quantity, arms: Sequence[Arm]) -> str:
    """Return a title that names the arms with the largest and the smallest mean."""
    if summary.empty:
        return f"{quantity.label.capitalize()} was not measured in these runs"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    named = by_label(arms)
    if len(means) == 1:
        only = named[str(means.index[0])].title
        return f"{quantity.label.capitalize()}: {only} averages {number(means.iloc[0])}"
    most, least = extremes(means)
    return (
        f"{quantity.label.capitalize()}: largest in {named[most].title} "
        f"(mean {number(means[most])}), smallest in {named[least].title} ({number(means[least])})"
    )


def singular_values(table: pd.DataFrame, arms: Sequence[Arm], layer: int, name: str) -> go.Figure:
    """Draw the singular values of one matrix's update, one line per arm, on a log axis."""
    cell = table[(table["layer"] == layer) & (table["map"] == name)]
    summary = over_seeds(cell, ["index"], "value")
    figure = go.Figure()
    for arm in order(arms, summary):
        rows = summary[(summary["variant"] == arm.label) & (summary["mean"] > 0)].sort_values(
            "index"
        )
        line = arm_line(arm)
        line["marker"] |= {"maxdisplayed": 12}
        figure.add_trace(
            go.Scatter(
                x=rows["index"] + 1,
                y=rows["mean"],
                customdata=rows["seeds"],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>singular value no. %{{x}}: <b>%{{y:.3g}}</b>"
                    "<br>mean over n = %{customdata} seeds<extra></extra>"
                ),
                **line,
            )
        )
    figure.update_xaxes(title="singular value, largest first (number)")
    shown = summary.loc[summary["mean"] > 0, "mean"]
    figure.update_yaxes(title="singular value of ΔW (weight units)", **log_axis(shown))
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
        figure.add_trace(_layer_line(summary, arm, scale=100))
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


def _layer_line(summary: pd.DataFrame, arm: Arm, scale: float = 1) -> go.Scatter:
    rows = summary[summary["variant"] == arm.label].sort_values("layer")
    drawn = rows.assign(**{name: scale * rows[name] for name in ("mean", "low", "high")})
    return go.Scatter(
        x=rows["layer"],
        y=drawn["mean"],
        error_y=seed_bars(drawn),
        customdata=np.column_stack([rows["layer"], rows["mean"], rows["seeds"]]),
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>layer %{{x}}: <b>%{{customdata[1]:.3g}}</b>"
            "<br>mean over n = %{customdata[2]} seeds<extra></extra>"
        ),
        **arm_line(arm),
    )


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
        rows = summary[summary["variant"] == arm.label].sort_values("step")
        figure.add_trace(
            go.Scatter(
                x=rows["step"],
                y=rows["mean"].clip(lower=FLOOR),
                customdata=rows[["mean", "seeds"]],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>step %{{x}}: <b>%{{customdata[0]:.3g}}</b> inside"
                    "<br>mean over n = %{customdata[1]} seeds<extra></extra>"
                ),
                **arm_line(arm),
            )
        )
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

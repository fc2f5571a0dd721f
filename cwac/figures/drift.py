"""Weight drift: how far each matrix moved, and how much of it went where safety lives."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    HIGHLIGHT,
    arm_label,
    arm_line,
    number,
    order,
    outer_titles,
    over_seeds,
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
    "functional_drift": Quantity(
        "functional drift", "‖ΔW X‖ / ‖W₀ X‖ (no unit, ↓ nearer)", False
    ),
    "leakage_heldout": Quantity(
        "leakage, held-out prompts", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)", True
    ),
    "leakage_fit": Quantity(
        "leakage, fitting prompts", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)", True
    ),
}
FLOOR: Final = 1e-9
"""Shares below this are rounding; logarithmic axes draw them here."""


def drift_heatmaps(
    table: pd.DataFrame,
    quantity: str,
    variants: Sequence[str],
    selected: tuple[int, str] | None = None,
) -> go.Figure:
    """Draw layers x maps, one panel per arm, all on one colour scale.

    Parameters
    ----------
    table : DataFrame
        ``weight_drift`` of all runs, with ``variant``.
    quantity : str
        A key of `QUANTITIES`.
    selected : (layer, map), optional
        Outlined in every panel.

    Notes
    -----
    Heat maps cannot be clicked in Streamlit, so each cell carries an invisible marker whose
    ``customdata`` starts with layer and map.
    """
    what = QUANTITIES[quantity]
    summary = over_seeds(table, ["layer", "map"], quantity)
    facts = table.drop_duplicates(["layer", "map"]).set_index(["layer", "map"])
    layers = sorted(table["layer"].unique())
    maps = list(dict.fromkeys(table["map"]))
    arms = order(variants, summary)
    panel = 24 + 26 * len(maps)
    figure, places = panels(arms or ["no arm"], columns=3, gap=48, panel=panel)
    colours: list[float] = []
    for arm, (row, column) in zip(arms, places, strict=False):
        cells = summary[summary["variant"] == arm].set_index(["layer", "map"])
        grid = cells["mean"].unstack("layer").reindex(index=maps, columns=layers)
        shade = np.log10(grid.clip(lower=FLOOR)) if what.logarithmic else grid
        colours += shade.stack().dropna().tolist()
        figure.add_trace(
            go.Heatmap(
                x=layers,
                y=maps,
                z=shade.to_numpy(),
                coloraxis="coloraxis",
                hoverinfo="skip",
                xgap=1,
                ygap=1,
            ),
            row,
            column,
        )
        figure.add_trace(_clickable_cells(arm, cells, facts), row, column)
        if selected is not None and selected[0] in layers and selected[1] in maps:
            figure.add_trace(_outline(selected), row, column)
    figure.update_layout(coloraxis=_colour_axis(colours, what), showlegend=False)
    figure.update_xaxes(dtick=1, showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    outer_titles(figure, places, x="layer (0 = first)", y=None)
    height = 90 + places[-1][0] * (panel + 48)
    return titled(figure, _heatmap_title(summary, what), height=max(height, 260))


def _clickable_cells(arm: str, cells: pd.DataFrame, facts: pd.DataFrame) -> go.Scatter:
    layers = [layer for layer, _ in cells.index]
    maps = [name for _, name in cells.index]
    hover = []
    for (layer, name), cell in cells.iterrows():
        fact = facts.loc[(layer, name)]
        hover.append(
            f"{arm_label(arm, 40)}<br>layer {layer}, {name}: <b>{number(cell['mean'])}</b>"
            f"<br>{number(cell['low'])} to {number(cell['high'])} over n = {cell['seeds']:.0f} seeds"
            f"<br>{fact['d_out']} × {fact['d_in']}, {fact['rank']} protected directions"
            f"<br>{'measured by the yardstick' if fact['yardstick'] else 'not in the yardstick'}"
        )
    return go.Scatter(
        x=layers,
        y=maps,
        mode="markers",
        marker={"size": 20, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=[[layer, name, arm] for layer, name in zip(layers, maps, strict=True)],
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        name=arm,
    )


def _outline(selected: tuple[int, str]) -> go.Scatter:
    return go.Scatter(
        x=[selected[0]],
        y=[selected[1]],
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


def _colour_axis(colours: Sequence[float], what: Quantity) -> dict[str, object]:
    axis: dict[str, object] = {
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": what.axis, "side": "right"}, "thickness": 14},
    }
    if what.logarithmic and colours:
        ticks = range(int(np.floor(min(colours))), int(np.ceil(max(colours))) + 1)
        axis["colorbar"] |= {  # type: ignore[operator] - it is the dict three lines above
            "tickvals": list(ticks),
            "ticktext": [f"1e{tick}" for tick in ticks],
        }
    return axis


def _heatmap_title(summary: pd.DataFrame, what: Quantity) -> str:
    if summary.empty:
        return f"{what.label.capitalize()} was not measured in these runs"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    if len(means) == 1:
        return f"{what.label.capitalize()}: {means.index[0]} averages {number(means.iloc[0])}"
    most, least = means.idxmax(), means.idxmin()
    return (
        f"{what.label.capitalize()}: largest in {most} (mean {number(means[most])}), "
        f"smallest in {least} ({number(means[least])})"
    )


def pooled_inside(table: pd.DataFrame, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of an update's energy inside the protected subspace, pooled over maps.

    Numerators and denominators are summed over the yardstick's maps before dividing, so that a
    map that hardly moved weighs little. ``random_energy`` is the share that an update spread
    evenly over all directions would have (rank / d_in, weighted alike).

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, `keys`, ``inside_energy`` and ``random_energy`` (fractions).
    """
    measured = table[table["yardstick"]].dropna(subset=["inside_energy"])
    energy = measured["delta_norm"] ** 2
    weighted = measured.assign(
        energy=energy,
        inside=energy * measured["inside_energy"],
        random=energy * measured["random_energy"],
    )
    groups = weighted.groupby(["variant", "seed", *keys], sort=False)
    sums = groups[["energy", "inside", "random"]].sum().reset_index()
    moved = sums[sums["energy"] > 0]
    return moved.assign(
        inside_energy=moved["inside"] / moved["energy"],
        random_energy=moved["random"] / moved["energy"],
    ).drop(columns=["energy", "inside", "random"])


def inside_by_layer(table: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw the share of the update inside the protected subspace per layer, with its baseline."""
    pooled = pooled_inside(table, ["layer"])
    baseline = pooled.groupby("layer")["random_energy"].mean()
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=baseline.index,
            y=baseline,
            mode="lines",
            name="random update (rank / d_in)",
            line={"color": theme.GREY, "dash": "dot", "width": 2},
            hovertemplate="a random update: %{y:.2%} at layer %{x}<extra></extra>",
        )
    )
    summary = over_seeds(pooled, ["layer"], "inside_energy")
    for arm in order(variants, summary):
        figure.add_trace(_layer_line(summary, arm, variants, floor=FLOOR))
    _layer_axis(figure)
    figure.update_yaxes(
        title="share of ‖ΔW‖² inside (fraction, ↓ nearer)", type="log", exponentformat="power"
    )
    return titled(figure, _inside_title(table, variants), height=430)


def _inside_title(table: pd.DataFrame, variants: Sequence[str]) -> str:
    pooled = pooled_inside(table)
    if pooled.empty:
        return "The protected subspace was not measured in these runs"
    means = pooled.groupby("variant")["inside_energy"].mean()
    arms = [arm for arm in variants if arm in means.index]
    most, least = means[arms].idxmax(), means[arms].idxmin()
    text = f"Of {most}'s update {_share(means[most])} lies inside the protected subspace"
    if least != most:
        text += f", of {least}'s {_share(means[least])}"
    return f"{text}; a random update would have {percent(pooled['random_energy'].mean())}"


def _share(value: float) -> str:
    return percent(value, 1) if value >= 0.001 else number(value)


def functional_by_layer(table: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw the functional drift on harmful prompts per layer, averaged over the layer's maps."""
    measured = table[table["yardstick"]].dropna(subset=["functional_drift"])
    by_layer = measured.groupby(["variant", "seed", "layer"], sort=False)["functional_drift"].mean()
    summary = over_seeds(by_layer.reset_index(), ["layer"], "functional_drift")
    figure = go.Figure()
    for arm in order(variants, summary):
        figure.add_trace(_layer_line(summary, arm, variants))
    _layer_axis(figure)
    figure.update_yaxes(title="‖ΔW X‖ / ‖W₀ X‖ (no unit, ↓ nearer)", rangemode="tozero")
    title = _heatmap_title(summary, QUANTITIES["functional_drift"]) + ", on harmful requests"
    return titled(figure, title, height=400)


def _layer_line(
    summary: pd.DataFrame, arm: str, variants: Sequence[str], floor: float | None = None
) -> go.Scatter:
    rows = summary[summary["variant"] == arm].sort_values("layer")
    drawn = rows["mean"] if floor is None else rows["mean"].clip(lower=floor)
    return go.Scatter(
        x=rows["layer"],
        y=drawn,
        error_y=seed_bars(rows) if floor is None else None,
        customdata=np.column_stack([rows["layer"], rows["mean"], rows["seeds"]]),
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>layer %{{x}}: <b>%{{customdata[1]:.3g}}</b>"
            "<br>mean over n = %{customdata[2]} seeds<extra></extra>"
        ),
        **arm_line(arm, variants),
    )


def _layer_axis(figure: go.Figure) -> None:
    figure.update_xaxes(title="layer (0 = first)", dtick=1)


def leak_gauge(trajectory: pd.DataFrame, table: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw the share of the update inside the subspace over training, for the given arms.

    Shows what DESIGN calls the leak: a gradient without a component in the subspace still gives
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
    for arm in order(variants, summary):
        rows = summary[summary["variant"] == arm].sort_values("step")
        figure.add_trace(
            go.Scatter(
                x=rows["step"],
                y=rows["mean"].clip(lower=FLOOR),
                customdata=rows[["mean", "seeds"]],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>step %{{x}}: <b>%{{customdata[0]:.3g}}</b> inside"
                    "<br>mean over n = %{customdata[1]} seeds<extra></extra>"
                ),
                **arm_line(arm, variants),
            )
        )
    baseline = pooled_inside(table)["random_energy"].mean()
    if np.isfinite(baseline):
        figure.add_hline(
            y=float(baseline),
            line={"color": theme.GREY, "dash": "dot", "width": 2},
            annotation={"text": f"random update: {percent(baseline)}", "xanchor": "right"},
        )
    figure.update_xaxes(title="optimiser steps")
    figure.update_yaxes(
        title="share of ‖ΔW‖² inside (fraction, ↓ nearer)", type="log", exponentformat="power"
    )
    last = summary[summary["step"] == summary["step"].max()].set_index("variant")["mean"]
    ends = ", ".join(f"{_share(last[arm])} in {arm}" for arm in variants if arm in last.index)
    return titled(figure, f"Inside the protected subspace at the end: {ends}", height=400)


def singular_values(
    table: pd.DataFrame, variants: Sequence[str], layer: int, name: str
) -> go.Figure:
    """Draw the singular values of one matrix's update, one line per arm, on a log axis."""
    cell = table[(table["layer"] == layer) & (table["map"] == name)]
    summary = over_seeds(cell, ["index"], "value")
    figure = go.Figure()
    for arm in order(variants, summary):
        rows = summary[(summary["variant"] == arm) & (summary["mean"] > 0)].sort_values("index")
        line = arm_line(arm, variants)
        line["marker"] |= {"maxdisplayed": 12}
        figure.add_trace(
            go.Scatter(
                x=rows["index"] + 1,
                y=rows["mean"],
                customdata=rows["seeds"],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>σ no. %{{x}}: <b>%{{y:.3g}}</b>"
                    "<br>mean over n = %{customdata} seeds<extra></extra>"
                ),
                **line,
            )
        )
    figure.update_xaxes(title="singular value, largest first (number)")
    figure.update_yaxes(title="singular value of ΔW (weight units)", type="log", exponentformat="power")
    first = summary[summary["index"] == summary["index"].min()].set_index("variant")["mean"]
    title = f"Layer {layer}, {name}: no spectrum was stored"
    if len(first):
        most = first.idxmax()
        title = f"Layer {layer}, {name}: the largest step is {most}'s, {number(first[most])}"
    return titled(figure, title, height=400)

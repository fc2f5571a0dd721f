"""Weight drift: how far each matrix moved, and in how many directions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures.panels import (
    HIGHLIGHT,
    arm_label,
    arm_line,
    extremes,
    log_axis,
    number,
    order,
    outer_titles,
    over_seeds,
    panels,
    titled,
)
from cwac.figures.theme import arm_name, escape


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
        "leakage, held-out prompts", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)", True
    ),
    "leakage_fit": Quantity(
        "leakage, fitting prompts", "‖ΔW X‖ / (‖ΔW‖ ‖X‖) (no unit, ↓ nearer)", True
    ),
}
_FACTS: Final = ("d_in", "d_out", "rank", "yardstick")
_Facts = Mapping[tuple[Any, Any], dict[Hashable, Any]]
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
    about = table.drop_duplicates(["layer", "map"])[["layer", "map", *_FACTS]]
    facts = {(row["layer"], row["map"]): row for row in about.to_dict("records")}
    layers = sorted(table["layer"].unique())
    maps = list(dict.fromkeys(table["map"]))
    arms = order(variants, summary)
    panel = 24 + 26 * len(maps)
    figure, places = panels(arms or ["no arm"], columns=3, gap=48, panel=panel)
    colours: list[float] = []
    for arm, (row, column) in zip(arms, places, strict=False):
        cells = summary[summary["variant"] == arm].set_index(["layer", "map"])
        grid = cells["mean"].unstack("layer").reindex(index=maps, columns=layers)
        shade = grid.to_numpy(float)
        if what.logarithmic:
            shade = np.log10(np.maximum(shade, FLOOR))
        colours += shade[np.isfinite(shade)].tolist()
        figure.add_trace(
            go.Heatmap(
                x=layers,
                y=maps,
                z=shade,
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
    return titled(figure, drift_title(summary, what), height=max(height, 260))


def _clickable_cells(arm: str, cells: pd.DataFrame, facts: _Facts) -> go.Scatter:
    places: list[tuple[int, str]] = cells.index.tolist()
    layers, maps = [layer for layer, _ in places], [name for _, name in places]
    rows = cells.reset_index().to_dict("records")
    hover = [_cell_hover(arm, row | facts[row["layer"], row["map"]]) for row in rows]
    return go.Scatter(
        x=layers,
        y=maps,
        mode="markers",
        marker={"size": 20, "symbol": "square", "color": "rgba(0,0,0,0)"},
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=[[layer, name, arm] for layer, name in places],
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        name=escape(arm_name(arm)),
    )


def _cell_hover(arm: str, cell: Mapping[Hashable, Any]) -> str:
    return (
        f"{arm_label(arm, 40)}<br>layer {cell['layer']}, {cell['map']}: "
        f"<b>{number(cell['mean'])}</b>"
        f"<br>{number(cell['low'])} to {number(cell['high'])}, n = {cell['seeds']} seeds"
        f"<br>{cell['d_out']} by {cell['d_in']}, {cell['rank']} protected directions"
        f"<br>{'measured by the yardstick' if cell['yardstick'] else 'not in the yardstick'}"
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


def _colour_axis(colours: Sequence[float], what: Quantity) -> dict[str, Any]:
    bar: dict[str, Any] = {"title": {"text": what.axis, "side": "right"}, "thickness": 14}
    if what.logarithmic and colours:
        ticks = range(int(np.floor(min(colours))), int(np.ceil(max(colours))) + 1)
        bar |= {"tickvals": list(ticks), "ticktext": [_power(tick) for tick in ticks]}
    return {"colorscale": "Cividis", "colorbar": bar}


def _power(tick: int) -> str:
    # The floor stands for everything below it.
    return f"{'≤ ' if 10.0**tick <= FLOOR else ''}10<sup>{tick}</sup>"


def drift_title(summary: pd.DataFrame, what: Quantity) -> str:
    """Return a title that names the arms with the largest and the smallest mean."""
    if summary.empty:
        return f"{what.label.capitalize()} was not measured in these runs"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    if len(means) == 1:
        named = arm_name(str(means.index[0]))
        return f"{what.label.capitalize()}: {named} averages {number(means.iloc[0])}"
    most, least = extremes(means)
    return (
        f"{what.label.capitalize()}: largest in {arm_name(most)} (mean {number(means[most])}), "
        f"smallest in {arm_name(least)} ({number(means[least])})"
    )


def singular_values(
    table: pd.DataFrame, variants: Sequence[str], layer: int, name: str
) -> go.Figure:
    """Draw the singular values of one matrix's update, one line per arm, on a log axis."""
    cell = table[(table["layer"] == layer) & (table["map"] == name)]
    summary = over_seeds(cell, ["index"], "value")
    figure = go.Figure()
    for arm in order(variants, summary):
        rows = summary[(summary["variant"] == arm) & (summary["mean"] > 0)].sort_values("index")
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
        named = f"{arm_name(most)}, {number(first[most])}"
        title = f"Layer {layer}, {name}: the largest step is that of {named}"
    return titled(figure, title, height=400)

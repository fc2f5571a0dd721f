"""Weight drift as maps: how far each matrix of each layer moved, held against SFT's."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.mechanism.grids import MOST, alike, cells, robust_range, short
from cwac.figures.panels import (
    HIGHLIGHT,
    arm_label,
    extremes,
    number,
    order,
    outer_titles,
    panels,
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
    "inside_energy": Quantity(
        "update inside the safety subspace", "‖ΔW U‖² / ‖ΔW‖² (share, ↓ nearer)", True
    ),
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
STANDS_OUT: Final = 0.6
"""Share of the colours' scale from which a cell has its number."""
FLOOR: Final = 1e-9
"""Shares below this are rounding; logarithmic axes draw them here."""


def drift_heatmaps(
    table: pd.DataFrame,
    quantity: str,
    arms: Sequence[Arm],
    selected: tuple[int, str] | None = None,
    baseline: Arm | None = None,
) -> go.Figure:
    """Draw layers x maps, one panel per arm, all on one colour scale.

    Numbers stand in the cells that stand out (`STANDS_OUT`): in all of them nobody would read any.

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
    shades = [v for g in grids.values() for v in shade(g.to_numpy(float)).ravel().tolist()]
    ends = robust_range(shades, centred=baseline is not None)
    fits = columns * len(layers) <= MOST
    write = _written(grids, drawn, ratio=baseline is not None)
    written = _standing_out(write, shade, ends, centred=baseline is not None)
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
    axis = _colour_axis(shades, drawn, centred=baseline is not None)
    figure.update_layout(coloraxis=axis, showlegend=False)
    figure.update_xaxes(dtick=1 if len(layers) < 16 else 10, showgrid=False, zeroline=False)
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


def _written(
    grids: Mapping[str, pd.DataFrame], quantity: Quantity, *, ratio: bool
) -> Callable[[float], str]:
    """Return what writes the numbers of all panels into their cells."""
    if quantity.logarithmic:
        return (lambda value: f"{TIMES}{short(value)}") if ratio else short
    return alike([v for grid in grids.values() for v in grid.to_numpy(float).ravel().tolist()])


def _standing_out(
    write: Callable[[float], str],
    shade: Callable[[np.ndarray], np.ndarray],
    ends: tuple[float, float],
    *,
    centred: bool,
) -> Callable[[float], str]:
    """Return what writes a number where its colour is near an end that tells, else nothing."""
    low, high = ends
    edge = STANDS_OUT * high if centred else low + STANDS_OUT * (high - low)

    def text(value: float) -> str:
        colour = float(shade(np.array([value]))[0])
        return write(value) if (abs(colour) if centred else colour) >= edge else ""

    return text


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

    # Controls stand in the panels; the title is about the methods, where there are any.
    tested = [label for label in means.index if not named[label].control]
    most, least = extremes(means[tested] if tested else means)
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
        f"<br>{cell['d_out']} by {cell['d_in']}, {cell['rank']} directions in the safety subspace"
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
    scale = style.CENTRED if centred else style.RISING
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

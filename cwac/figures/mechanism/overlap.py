"""Subspace overlap: where updates point, against the safety subspace and against each other."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds, pair_summary
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import (
    HIGHLIGHT,
    NEUTRAL,
    arm_label,
    extremes,
    level,
    log_axis,
    order,
    outer_titles,
    panels,
    seeds_line,
    titled,
)

SIDES: Final = ("input", "output")
"""What of a map's update is overlapped: the directions it reads, those it writes."""


def overlap_by_layer(table: pd.DataFrame, side: str, name: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw the overlap of each arm's update with the safety subspace over the layers.

    Parameters
    ----------
    table : DataFrame
        ``subspace_overlap`` of all runs, with ``variant`` and ``seed``.
    side : str
        ``input`` or ``output``.
    name : str
        The linear map.
    """
    rows = table[(table["side"] == side) & (table["map"] == name)]
    figure = go.Figure()
    for column, label, dash in (
        ("haar_baseline", "any two random subspaces (largest k / d)", "dot"),
        ("random_mso", "update against a random subspace of equal rank", "dashdot"),
    ):
        baseline = rows.groupby("layer")[column].mean()
        figure.add_trace(
            go.Scatter(
                x=baseline.index,
                y=baseline,
                mode="lines",
                name=label,
                line={"color": style.GREY, "dash": dash, "width": 2},
                hovertemplate=f"{label}<br>layer %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )
    summary = over_seeds(rows, ["layer"], "mso")
    for arm in order(arms, summary):
        figure.add_trace(seeds_line(summary, arm, "layer", "layer %{x}", "%{y:.3f}", bars=True))
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    figure.update_yaxes(title="overlap (MSO, 0 to 1)", rangemode="tozero")
    return titled(figure, _overlap_title(rows, summary, side, arms), height=430)


def _overlap_title(
    rows: pd.DataFrame, summary: pd.DataFrame, side: str, arms: Sequence[Arm]
) -> str:
    if summary.empty:
        return "No overlap was stored for this map and side"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    most, least = extremes(means)
    named = by_label(arms)
    return (
        f"On the {side} side {named[most].title} overlaps most with the safety subspace "
        f"({means[most]:.2f}), {named[least].title} least ({means[least]:.2f}); "
        f"chance is {rows['haar_baseline'].mean():.2f}"
    )


def principal_angles(
    angles: pd.DataFrame,
    overlap: pd.DataFrame,
    cell: tuple[int, str, str],
    arms: Sequence[Arm],
) -> go.Figure:
    """Draw the principal angles between each arm's update and the safety subspace.

    Parameters
    ----------
    angles, overlap : DataFrame
        ``principal_angles`` and ``subspace_overlap`` of all runs, with ``variant`` and ``seed``.
    cell : (layer, map, side)

    Notes
    -----
    MSO is the mean of cos² over the angles, hence the chance level of MSO is drawn as the angle
    arccos(sqrt(MSO)) that all angles would have if they were equal.
    """
    rows = cell_of(angles, cell)
    figure = go.Figure()
    random = rows.groupby("index")["random_degrees"].mean()
    figure.add_trace(
        go.Scatter(
            x=random.index + 1,
            y=random,
            mode="lines",
            name="against a random subspace of equal rank",
            line={"color": style.GREY, "dash": "dot", "width": 2},
            hovertemplate="random subspace<br>angle no. %{x}: %{y:.1f}°<extra></extra>",
        )
    )
    summary = over_seeds(rows, ["index"], "degrees")
    for arm in order(arms, summary):
        figure.add_trace(seeds_line(summary, arm, "index", "angle no. %{x}", "%{y:.1f}°", first=1))
    chance = cell_of(overlap, cell)["haar_baseline"].mean()
    if np.isfinite(chance) and not rows.empty:
        degrees = float(np.degrees(np.arccos(np.sqrt(min(chance, 1.0)))))
        ends = [1, int(rows["index"].max()) + 1]
        figure.add_trace(level(ends, degrees, f"chance level of MSO: {degrees:.0f}°", "dash"))
    many = len(random) > 12
    figure.update_xaxes(title="principal angle, smallest first (number)", dtick=None if many else 1)
    figure.update_yaxes(title="angle (degrees, 90 = apart)", range=[0, 93], dtick=15)
    return titled(figure, _angles_title(summary, random, cell, arms), height=430)


def _angles_title(
    summary: pd.DataFrame, random: pd.Series, cell: tuple[int, str, str], arms: Sequence[Arm]
) -> str:
    layer, name, _ = cell
    first = summary[summary["index"] == 0].set_index("variant")["mean"]
    if first.empty:
        return f"Layer {layer}, {name}: no angles were stored"
    _, nearest = extremes(first)
    title = by_label(arms)[nearest].title
    return (
        f"Layer {layer}, {name}: {title} comes nearest to the safety subspace, "
        f"{first[nearest]:.0f}° at its smallest angle; a random subspace {random.iloc[0]:.0f}°"
    )


def cell_of(table: pd.DataFrame, cell: tuple[int, str, str]) -> pd.DataFrame:
    """Return the rows of one (layer, map, side)."""
    layer, name, side = cell
    return table[(table["layer"] == layer) & (table["map"] == name) & (table["side"] == side)]


def eigenvalues(table: pd.DataFrame, layer: int, name: str) -> go.Figure:
    """Draw the spectrum of the safety second moment, the kept directions marked, on a log axis.

    Parameters
    ----------
    table : DataFrame
        ``eigenvalues`` of the subspace's fit.
    layer, name
        The matrix drawn in front; the other layers' spectra of the same map stand behind it.
    """
    rows = table[table["map"] == name].copy()
    total = rows.groupby("layer")["eigenvalue"].transform("sum")
    rows["relative"] = (rows["eigenvalue"] / total).clip(lower=1e-12)
    figure = go.Figure()
    for other, line in rows[rows["layer"] != layer].groupby("layer"):
        figure.add_trace(
            go.Scatter(
                x=line["index"] + 1,
                y=line["relative"],
                mode="lines",
                name="other layers",
                legendgroup="other",
                showlegend=bool(other == rows.loc[rows["layer"] != layer, "layer"].min()),
                line={"color": style.GREY, "width": 1},
                customdata=[[other, name]] * len(line),
                hovertemplate=f"layer {other}<br>no. %{{x}}: %{{y:.2e}}<extra></extra>",
            )
        )
    front = rows[rows["layer"] == layer].sort_values("index")
    rank = int(front["kept"].sum())
    for kept, label, colour in (
        (True, f"safety subspace: {rank} directions", HIGHLIGHT),
        (False, "left free to move", NEUTRAL),
    ):
        part = front[front["kept"] == kept]
        figure.add_trace(
            go.Scatter(
                x=part["index"] + 1,
                y=part["relative"],
                mode="lines+markers",
                name=label,
                line={"color": colour, "width": 2},
                marker={"size": 5, "color": colour, "symbol": "circle" if kept else "circle-open"},
                hovertemplate=(
                    f"layer {layer}, {label}<br>no. %{{x}}: <b>%{{y:.2e}}</b>"
                    f"<br>n = {len(front)} directions<extra></extra>"
                ),
            )
        )
    figure.add_vline(
        x=rank + 0.5,
        line={"color": HIGHLIGHT, "dash": "dash", "width": 1},
        annotation={"text": f"kept rank {rank}", "xanchor": "left"},
    )
    figure.update_xaxes(title="direction, largest first (number)")
    figure.update_yaxes(title="share of the second moment (fraction)", **log_axis(rows["relative"]))
    share = front.loc[front["kept"], "eigenvalue"].sum() / max(front["eigenvalue"].sum(), 1e-300)
    title = (
        f"Layer {layer}, {name}: {rank} of {len(front)} directions carry {100 * share:.2f} % "
        "of what the aligned model reads when it refuses"
    )
    if front["kept"].all():
        # Of wide maps the fit finds no more than these.
        title = (
            f"Layer {layer}, {name}: the {rank} directions of the safety subspace; no others found"
        )
    return titled(figure, title, height=430)


def pair_matrices(
    pairs: pd.DataFrame, runs: Mapping[str, Arm], side: str, name: str | None, arms: Sequence[Arm]
) -> go.Figure:
    """Draw the overlap between every two arms' updates, one matrix per layer, on one scale.

    Parameters
    ----------
    pairs : DataFrame
        ``pair_overlap`` of the experiment.
    runs : mapping
        Id of each run in view to its arm.
    name : str or None
        The linear map, None for the mean over all.

    Notes
    -----
    A cell is the mean over all pairs of runs of the two arms; the diagonal is therefore one arm
    against itself between seeds, the level that "the same up to chance" has here.
    """
    summary = pair_summary(pairs, runs, side, name)
    compared = set(summary["a"]) | set(summary["b"])
    present = [arm for arm in arms if arm.label in compared]
    keys = [arm.label for arm in present]
    layers = sorted(summary["layer"].unique())
    chance = summary.groupby("layer")["chance"].mean()
    panel = 40 + 34 * max(len(present), 2)
    headings = [f"layer {layer} (chance {chance[layer]:.2f})" for layer in layers]
    # Numbers across, numbers and names down: names across would not fit beneath small panels.
    labels = [f"{arm_label(arm, 18)} ({i})" for i, arm in enumerate(present, start=1)]
    numbers = [f"({i})" for i in range(1, len(present) + 1)]
    figure, places = panels(headings or ["no layer"], columns=3, gap=44, panel=panel)
    for layer, (row, column) in zip(layers, places, strict=False):
        cells = summary[summary["layer"] == layer].set_index(["a", "b"])
        grid = cells["mso"].unstack("b").reindex(index=keys, columns=keys)
        counts = cells["pairs"].unstack("b").reindex(index=keys, columns=keys)
        figure.add_trace(
            go.Heatmap(
                x=numbers,
                y=labels,
                z=grid.to_numpy(),
                customdata=_hovers(present, counts),
                text=_written(grid),
                texttemplate="%{text}" if len(present) <= 5 else None,
                textfont={"color": style.CELL_TEXT},
                coloraxis="coloraxis",
                hovertemplate=(
                    f"layer {layer}<br>%{{customdata}}<br>overlap <b>%{{z:.3f}}</b><extra></extra>"
                ),
                xgap=1,
                ygap=1,
            ),
            row,
            column,
        )
    figure.update_layout(
        coloraxis={
            "colorscale": style.RISING,
            "cmin": 0,
            "cmax": 1,
            "colorbar": {
                "title": {"text": "overlap (MSO, 0 to 1)", "side": "right"},
                "thickness": 14,
            },
        }
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, tickangle=0)
    outer_titles(figure, places, x="arm", y=None)
    return titled(figure, _pair_title(summary, arms), height=110 + places[-1][0] * (panel + 44))


def _hovers(arms: Sequence[Arm], counts: pd.DataFrame) -> list[list[str]]:
    pairs = counts.fillna(0).to_numpy(int)
    return [
        [
            f"{arm_label(one, 40)}<br>with {arm_label(other, 40)}"
            f"<br>mean over n = {pairs[i, j]} pairs of runs"
            for j, other in enumerate(arms)
        ]
        for i, one in enumerate(arms)
    ]


def _written(grid: pd.DataFrame) -> list[list[str]]:
    return [["" if np.isnan(v) else f"{v:.2f}" for v in line] for line in grid.to_numpy(float)]


def _pair_title(summary: pd.DataFrame, arms: Sequence[Arm]) -> str:
    between = summary[summary["a"] < summary["b"]]
    if between.empty:
        return "Fewer than two arms are stored: there is no pair to compare"
    titles = {arm.label: arm.title for arm in arms}
    names = between["a"].map(titles) + " and " + between["b"].map(titles)
    means = between.groupby(names)["mso"].mean()
    near, far = extremes(means)
    text = f"Most alike: {near} ({means[near]:.2f})"
    if near != far:
        text += f"; least alike: {far} ({means[far]:.2f})"
    return f"{text}; chance {summary['chance'].mean():.2f}"

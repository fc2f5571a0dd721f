"""Subspace overlap: where updates point, against the safety subspace and against each other."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    HIGHLIGHT,
    NEUTRAL,
    arm_label,
    arm_line,
    extremes,
    level,
    log_axis,
    order,
    over_seeds,
    seed_bars,
    titled,
)

SIDES = {
    "input": "input (reads)",
    "output": "output (writes)",
}


def overlap_by_layer(
    table: pd.DataFrame, side: str, name: str, variants: Sequence[str]
) -> go.Figure:
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
                line={"color": theme.GREY, "dash": dash, "width": 2},
                hovertemplate=f"{label}<br>layer %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )
    summary = over_seeds(rows, ["layer"], "mso")
    for arm in order(variants, summary):
        line = summary[summary["variant"] == arm].sort_values("layer")
        figure.add_trace(
            go.Scatter(
                x=line["layer"],
                y=line["mean"],
                error_y=seed_bars(line),
                customdata=[
                    [layer, name, arm, n]
                    for layer, n in zip(line["layer"], line["seeds"], strict=True)
                ],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>layer %{{x}}: <b>%{{y:.3f}}</b>"
                    "<br>mean over n = %{customdata[3]} seeds<extra></extra>"
                ),
                **arm_line(arm),
            )
        )
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    figure.update_yaxes(title="overlap (MSO, 0 to 1)", rangemode="tozero")
    return titled(figure, _overlap_title(rows, summary, side), height=430)


def _overlap_title(rows: pd.DataFrame, summary: pd.DataFrame, side: str) -> str:
    if summary.empty:
        return "No overlap was stored for this map and side"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    most, least = extremes(means)
    return (
        f"On the {side} side {theme.arm_name(most)} overlaps most with the safety subspace "
        f"({means[most]:.2f}), {theme.arm_name(least)} least ({means[least]:.2f}); "
        f"chance is {rows['haar_baseline'].mean():.2f}"
    )


def principal_angles(
    angles: pd.DataFrame,
    overlap: pd.DataFrame,
    cell: tuple[int, str, str],
    variants: Sequence[str],
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
    layer, name, _ = cell
    rows = cell_of(angles, cell)
    figure = go.Figure()
    random = rows.groupby("index")["random_degrees"].mean()
    figure.add_trace(
        go.Scatter(
            x=random.index + 1,
            y=random,
            mode="lines",
            name="against a random subspace of equal rank",
            line={"color": theme.GREY, "dash": "dot", "width": 2},
            hovertemplate="random subspace<br>angle no. %{x}: %{y:.1f}°<extra></extra>",
        )
    )
    summary = over_seeds(rows, ["index"], "degrees")
    for arm in order(variants, summary):
        line = summary[summary["variant"] == arm].sort_values("index")
        figure.add_trace(
            go.Scatter(
                x=line["index"] + 1,
                y=line["mean"],
                customdata=line["seeds"],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>angle no. %{{x}}: <b>%{{y:.1f}}°</b>"
                    "<br>mean over n = %{customdata} seeds<extra></extra>"
                ),
                **arm_line(arm),
            )
        )
    chance = cell_of(overlap, cell)["haar_baseline"].mean()
    if np.isfinite(chance):
        degrees = float(np.degrees(np.arccos(np.sqrt(min(chance, 1.0)))))
        ends = [1, int(rows["index"].max()) + 1]
        figure.add_trace(level(ends, degrees, f"chance level of MSO: {degrees:.0f}°", "dash"))
    many = len(random) > 12
    figure.update_xaxes(title="principal angle, smallest first (number)", dtick=None if many else 1)
    figure.update_yaxes(title="angle (degrees, 90 = apart)", range=[0, 93], dtick=15)
    return titled(figure, _angles_title(summary, random, layer, name), height=430)


def _angles_title(summary: pd.DataFrame, random: pd.Series, layer: int, name: str) -> str:
    first = summary[summary["index"] == 0].set_index("variant")["mean"]
    if first.empty:
        return f"Layer {layer}, {name}: no angles were stored"
    _, nearest = extremes(first)
    return (
        f"Layer {layer}, {name}: {theme.arm_name(nearest)} comes nearest to the safety subspace, "
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
                line={"color": theme.GREY, "width": 1},
                customdata=[[other, name]] * len(line),
                hovertemplate=f"layer {other}<br>no. %{{x}}: %{{y:.2e}}<extra></extra>",
            )
        )
    front = rows[rows["layer"] == layer].sort_values("index")
    rank = int(front["kept"].sum())
    for kept, label, colour in (
        (True, f"protected: {rank} directions", HIGHLIGHT),
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
    return titled(figure, title, height=430)

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
    number,
    order,
    outer_titles,
    over_seeds,
    panels,
    seed_bars,
    titled,
)

SIDES = {
    "input": "input side (what the update reads)",
    "output": "output side (what the update writes)",
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
                customdata=[[layer, name, arm, n] for layer, n in zip(line["layer"], line["seeds"], strict=True)],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>layer %{{x}}: <b>%{{y:.3f}}</b>"
                    "<br>mean over n = %{customdata[3]} seeds<extra></extra>"
                ),
                **arm_line(arm, variants),
            )
        )
    figure.update_xaxes(title="layer (0 = first)", dtick=1)
    figure.update_yaxes(title="overlap (MSO, 0 to 1)", rangemode="tozero")
    return titled(figure, _overlap_title(rows, summary, side), height=430)


def _overlap_title(rows: pd.DataFrame, summary: pd.DataFrame, side: str) -> str:
    if summary.empty:
        return "No overlap was stored for this map and side"
    means = summary.groupby("variant", sort=False)["mean"].mean()
    most, least = means.idxmax(), means.idxmin()
    return (
        f"On the {side} side {most} overlaps most with the safety subspace ({number(means[most])}), "
        f"{least} least ({number(means[least])}); chance is {number(rows['haar_baseline'].mean())}"
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
    layer, name, side = cell
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
                **arm_line(arm, variants),
            )
        )
    chance = cell_of(overlap, cell)["haar_baseline"].mean()
    if np.isfinite(chance):
        degrees = float(np.degrees(np.arccos(np.sqrt(min(chance, 1.0)))))
        figure.add_hline(
            y=degrees,
            line={"color": theme.GREY, "dash": "dash", "width": 1},
            annotation={"text": f"chance level {degrees:.0f}°", "xanchor": "right"},
        )
    figure.update_xaxes(title="principal angle, smallest first (number)")
    figure.update_yaxes(title="angle (degrees, 90 = apart)", range=[0, 93], dtick=15)
    return titled(figure, _angles_title(summary, random, layer, name), height=430)


def _angles_title(summary: pd.DataFrame, random: pd.Series, layer: int, name: str) -> str:
    first = summary[summary["index"] == 0].set_index("variant")["mean"]
    if first.empty:
        return f"Layer {layer}, {name}: no angles were stored"
    nearest = first.idxmin()
    return (
        f"Layer {layer}, {name}: {nearest} comes nearest to the safety subspace, "
        f"{first[nearest]:.0f}° at its smallest angle; a random subspace {random.iloc[0]:.0f}°"
    )


def cell_of(table: pd.DataFrame, cell: tuple[int, str, str]) -> pd.DataFrame:
    """Return the rows of one (layer, map, side)."""
    layer, name, side = cell
    return table[(table["layer"] == layer) & (table["map"] == name) & (table["side"] == side)]


def pair_matrices(
    pairs: pd.DataFrame, arms: pd.DataFrame, side: str, name: str | None, variants: Sequence[str]
) -> go.Figure:
    """Draw the overlap between every two arms' updates, one matrix per layer, on one scale.

    Parameters
    ----------
    pairs : DataFrame
        ``pair_overlap`` of the experiment.
    arms : DataFrame
        ``run_id`` and ``variant`` of the runs in view.
    name : str or None
        The linear map, None for the mean over all.

    Notes
    -----
    A cell is the mean over all pairs of runs of the two arms; the diagonal is therefore one arm
    against itself between seeds, the level that "the same up to chance" has here.
    """
    summary = _pair_summary(pairs, arms, side, name)
    present = [v for v in variants if v in set(summary["a"]) | set(summary["b"])]
    layers = sorted(summary["layer"].unique())
    chance = summary.groupby("layer")["chance"].mean()
    panel = 40 + 34 * max(len(present), 2)
    headings = [f"layer {layer} (chance {chance[layer]:.2f})" for layer in layers]
    labels = [arm_label(variant, 18) for variant in present]
    figure, places = panels(headings or ["no layer"], columns=3, gap=44, panel=panel)
    for layer, (row, column) in zip(layers, places, strict=False):
        cells = summary[summary["layer"] == layer].set_index(["a", "b"])
        grid = cells["mso"].unstack("b").reindex(index=present, columns=present)
        counts = cells["pairs"].unstack("b").reindex(index=present, columns=present)
        figure.add_trace(
            go.Heatmap(
                x=labels,
                y=labels,
                z=grid.to_numpy(),
                customdata=counts.to_numpy(),
                text=grid.map(lambda v: "" if pd.isna(v) else f"{v:.2f}").to_numpy(),
                texttemplate="%{text}" if len(present) <= 5 else None,
                coloraxis="coloraxis",
                hovertemplate=(
                    f"layer {layer}<br>%{{y}}<br>with %{{x}}<br>overlap <b>%{{z:.3f}}</b>"
                    "<br>mean over n = %{customdata} pairs of runs<extra></extra>"
                ),
                xgap=1,
                ygap=1,
            ),
            row,
            column,
        )
    figure.update_layout(
        coloraxis={
            "colorscale": "Cividis",
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "overlap (MSO, 0 to 1)", "side": "right"}, "thickness": 14},
        }
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False, tickangle=-45)
    outer_titles(figure, places, x="", y=None)
    return titled(figure, _pair_title(summary), height=150 + places[-1][0] * (panel + 44))


def _pair_summary(
    pairs: pd.DataFrame, arms: pd.DataFrame, side: str, name: str | None
) -> pd.DataFrame:
    variant = arms.set_index("run_id")["variant"]
    rows = pairs[(pairs["side"] == side) & (pairs["run_a"] != pairs["run_b"])]
    if name is not None:
        rows = rows[rows["map"] == name]
    known = rows[rows["run_a"].isin(variant.index) & rows["run_b"].isin(variant.index)]
    one = known.assign(a=known["run_a"].map(variant), b=known["run_b"].map(variant))
    other = one.assign(a=one["b"], b=one["a"])[one["a"] != one["b"]]
    both = pd.concat([one, other], ignore_index=True)
    pairs_of = (both["run_a"] + " " + both["run_b"]).rename("pair")
    return (
        both.assign(pair=pairs_of)
        .groupby(["layer", "a", "b"], sort=False)
        .agg(mso=("mso", "mean"), chance=("haar_baseline", "mean"), pairs=("pair", "nunique"))
        .reset_index()
    )


def _pair_title(summary: pd.DataFrame) -> str:
    between = summary[summary["a"] < summary["b"]]
    if between.empty:
        return "Fewer than two arms are stored: there is no pair to compare"
    means = between.groupby(["a", "b"])["mso"].mean()
    near, far = means.idxmax(), means.idxmin()
    text = f"Most alike: {near[0]} and {near[1]} ({means[near]:.2f})"
    if near != far:
        text += f"; least alike: {far[0]} and {far[1]} ({means[far]:.2f})"
    return f"{text}; chance {summary['chance'].mean():.2f}"


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
                hovertemplate=f"layer {layer}, {label}<br>no. %{{x}}: <b>%{{y:.2e}}</b><extra></extra>",
            )
        )
    figure.add_vline(
        x=rank + 0.5,
        line={"color": HIGHLIGHT, "dash": "dash", "width": 1},
        annotation={"text": f"kept rank {rank}", "xanchor": "left"},
    )
    figure.update_xaxes(title="direction, largest first (number)")
    figure.update_yaxes(title="share of the second moment (fraction)", type="log", exponentformat="power")
    share = front.loc[front["kept"], "eigenvalue"].sum() / max(front["eigenvalue"].sum(), 1e-300)
    title = (
        f"Layer {layer}, {name}: {rank} of {len(front)} directions carry {100 * share:.2f} % "
        "of what the aligned model reads when it refuses"
    )
    return titled(figure, title, height=430)

"""Arm by arm: how alike the updates of every two arms are, layer by layer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures.panels import arm_label, extremes, outer_titles, panels, titled
from cwac.figures.theme import arm_name


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
    # Numbers across, numbers and names down: names across would not fit beneath small panels.
    labels = [f"{arm_label(variant, 18)} ({i})" for i, variant in enumerate(present, start=1)]
    numbers = [f"({i})" for i in range(1, len(present) + 1)]
    figure, places = panels(headings or ["no layer"], columns=3, gap=44, panel=panel)
    for layer, (row, column) in zip(layers, places, strict=False):
        cells = summary[summary["layer"] == layer].set_index(["a", "b"])
        grid = cells["mso"].unstack("b").reindex(index=present, columns=present)
        counts = cells["pairs"].unstack("b").reindex(index=present, columns=present)
        figure.add_trace(
            go.Heatmap(
                x=numbers,
                y=labels,
                z=grid.to_numpy(),
                customdata=_hovers(present, counts),
                text=_written(grid),
                texttemplate="%{text}" if len(present) <= 5 else None,
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
            "colorscale": "Cividis",
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
    return titled(figure, _pair_title(summary), height=110 + places[-1][0] * (panel + 44))


def _hovers(arms: Sequence[str], counts: pd.DataFrame) -> list[list[str]]:
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
    names = between["a"].map(arm_name) + " and " + between["b"].map(arm_name)
    means = between.groupby(names)["mso"].mean()
    near, far = extremes(means)
    text = f"Most alike: {near} ({means[near]:.2f})"
    if near != far:
        text += f"; least alike: {far} ({means[far]:.2f})"
    return f"{text}; chance {summary['chance'].mean():.2f}"

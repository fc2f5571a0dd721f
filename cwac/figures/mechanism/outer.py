"""Embedding and output layer beside the decoder's maps: where a constraint on these ends."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import arm_label, number, order, seed_bars, titled

PARTS: Final = {
    "decoder": ("decoder's maps, pooled", "circle"),
    "embedding": ("embedding", "diamond"),
    "output": ("output layer", "square-open"),
}
"""Parts of a model, their names and symbols; a part's colour is its arm's."""


def outside_decoder(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the relative drift of embedding and output layer beside that of the decoder's maps.

    Parameters
    ----------
    table : DataFrame
        `cwac.analysis.drift.parts`: ``variant``, ``seed``, ``part``, ``relative_norm``, ``tied``.
    """
    summary = over_seeds(table, ["part"], "relative_norm")
    tied = bool(table["tied"].all())
    present = [p for p in PARTS if p in set(summary["part"]) and not (tied and p == "output")]
    drawn = order(arms, summary)
    rows = {arm.label: len(drawn) - 1 - place for place, arm in enumerate(drawn)}
    figure = go.Figure()
    for part in present:
        name, symbol = PARTS[part]
        cells = summary[(summary["part"] == part) & summary["variant"].isin(rows)]
        cells = cells.sort_values("variant", key=lambda labels: labels.map(rows), ascending=False)
        figure.add_trace(
            go.Scatter(
                x=cells["mean"],
                y=[rows[label] for label in cells["variant"]],
                error_x=seed_bars(cells),
                mode="markers",
                cliponaxis=False,
                marker={
                    "size": 12,
                    "symbol": symbol,
                    "color": [
                        style.arm_style(arm).colour
                        for arm in drawn
                        if arm.label in set(cells["variant"])
                    ],
                },
                name=f"{name}, tied to the output layer" if tied and part == "embedding" else name,
                customdata=cells[["seeds"]],
                hovertemplate=f"{name}: <b>%{{x:.3g}}</b>, n = %{{customdata[0]}} seeds"
                "<extra></extra>",
            )
        )
    figure.update_xaxes(title="‖ΔW‖ / ‖W₀‖ (no unit, ↓ nearer)", rangemode="tozero")
    figure.update_yaxes(
        zeroline=False,
        tickvals=list(rows.values()),
        ticktext=[arm_label(arm, 30) for arm in drawn],
        showgrid=False,
    )
    return titled(figure, _title(summary, drawn), height=170 + 34 * len(drawn))


def _title(summary: pd.DataFrame, arms: Sequence[Arm]) -> str:
    if not arms:
        return "Embedding and output layer were not measured in these runs"
    means = summary[summary["part"] == "embedding"].set_index("variant")["mean"]
    still = [arm.title for arm in arms if means.get(arm.label) == 0]
    if len(still) == len(arms):
        return "The embedding was frozen in every arm"
    moved = means[means > 0]
    most = next(arm for arm in arms if arm.label == moved.idxmax())
    text = f"The embedding moves by {number(moved.max())} of its norm in {most.title}"
    return f"{text}, and stands still in {', '.join(still)}" if still else text

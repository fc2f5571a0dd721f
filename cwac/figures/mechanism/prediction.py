"""Drift against harm, one point an arm, and every drift figure's rank correlation with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis import prediction
from cwac.analysis.prediction import FIGURES, Association
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import HIGHLIGHT, NEUTRAL, arm_label, log_axis, percent, titled

COLOURED: int = 6
"""Methods that are drawn in their colour; the others are grey."""
FLOOR = 1e-9
"""Shares below this are rounding; logarithmic axes draw them here."""


def drift_against_harm(
    points: pd.DataFrame, name: str, arms: Sequence[Arm], first: Sequence[str],
    result: Association | None,
) -> go.Figure:  # fmt: skip
    """Draw harmful score against a drift figure, one point an arm.

    Parameters
    ----------
    points : DataFrame
        `cwac.analysis.prediction.arm_points`.
    name : str
        A key of `prediction.FIGURES`.
    first : sequence of str
        Methods to colour, the first of them up to `COLOURED`.
    """
    coloured = [m for m in dict.fromkeys(first) if m in set(points["method"])][:COLOURED]
    named = by_label(arms)
    others = points[~points["method"].isin(coloured)]
    figure = go.Figure()
    if len(others):
        figure.add_trace(_dots(others, named, "other methods", style.GREY, "circle-open"))
    for method in coloured:
        mine = points[points["method"] == method]
        look = style.look_of(method)
        title = Arm(method=method, method_title=named[mine["variant"].iloc[0]].method_title).title
        figure.add_trace(_dots(mine, named, title, look.colour, look.symbol))
    figure.update_yaxes(title=style.rate_axis("harmful_score"), range=[-4, 104])
    shares = points["drift"].clip(lower=FLOOR)
    wide = len(points) > 0 and points["drift"].min() >= 0 and shares.max() / shares.min() > 100
    axis = log_axis(shares) if wide else {"rangemode": "tozero"}
    figure.update_xaxes(title=FIGURES[name].axis, **axis)
    return titled(figure, prediction.sentence(name, result), height=430)


def _dots(
    rows: pd.DataFrame, named: dict[str, Arm], title: str, colour: str, symbol: str
) -> go.Scatter:
    return go.Scatter(
        x=rows["drift"].clip(lower=FLOOR) if (rows["drift"] >= 0).all() else rows["drift"],
        y=100 * rows["harm"],
        mode="markers",
        cliponaxis=False,
        name=style.escape(title),
        marker={"color": colour, "symbol": symbol, "size": 10},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (100 * (rows["harm_high"] - rows["harm"])).tolist(),
            "arrayminus": (100 * (rows["harm"] - rows["harm_low"])).tolist(),
            "color": style.translucent(colour, 0.45),
            "thickness": 1,
            "width": 0,
        },
        customdata=[_hover(row, named[row["variant"]]) for row in rows.to_dict("records")],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(row: Mapping[Any, Any], arm: Arm) -> str:
    return (
        f"{arm_label(arm, 40)}<br>drift <b>{row['drift']:.3g}</b>, harmful score "
        f"<b>{percent(row['harm'], 1)}</b><br>{row['seeds']} seeds, n = {row['n']} requests each"
    )


def correlations(table: pd.DataFrame, chosen: str) -> go.Figure:
    """Draw every drift figure's rank correlation with harm and its interval.

    Parameters
    ----------
    table : DataFrame
        `cwac.analysis.prediction.every_figure`.
    chosen : str
        The figure that the scatter shows, highlighted.
    """
    figure = go.Figure()
    for row in table.to_dict("records"):
        figure.add_trace(
            go.Scatter(
                x=[row["rho"]],
                y=[style.escape(row["title"])],
                mode="markers",
                marker={
                    "size": 11,
                    "color": HIGHLIGHT if row["figure"] == chosen else NEUTRAL,
                    "symbol": "circle" if row["low"] > 0 or row["high"] < 0 else "circle-open",
                },
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [row["high"] - row["rho"]],
                    "arrayminus": [row["rho"] - row["low"]],
                    "thickness": 2,
                    "width": 4,
                },
                hovertemplate=(
                    f"{style.escape(row['title'])}: <b>{row['rho']:+.2f}</b> "
                    f"[{row['low']:+.2f}, {row['high']:+.2f}], n = {row['n']} arms<extra></extra>"
                ),
                showlegend=False,
            )
        )
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dash", "width": 1})
    figure.update_xaxes(title="Spearman's rank correlation with harm", range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    count = int(((table["low"] > 0) | (table["high"] < 0)).sum())
    # Not joined by commas: a title has one.
    names = " and ".join(table.loc[(table["low"] > 0) | (table["high"] < 0), "title"])
    title = f"{count} of {len(table)} drift figures have a correlation with harm whose interval "
    title += f"leaves out 0{f': {names}' if names else ''}"
    return titled(figure, title, height=130 + 34 * len(table), width=70)

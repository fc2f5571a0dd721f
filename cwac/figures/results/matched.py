"""Methods' harmful scores at one task accuracy, or another cost, or more."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.operating import ACCURACY
from cwac.analysis.operating_words import matched_title
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import arm_label, titled, wrapped
from cwac.figures.results.harm import harm_axis, harm_title, root

ROWS: Final = 20
RUN, MADE = "own point", "interpolated"
_RADIUS: Final = 0.012
"""Half of a point's width, as a share of the axis."""
_WORDS: Final = {RUN: "was run", MADE: "interpolated between two strengths, not run"}
"""How a value came about, in the legend."""


def matched_figure(
    table: pd.DataFrame, arms: Mapping[str, Arm], target: float, cost: str = ACCURACY
) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy (or other `cost`) or more.

    Filled where it was run; hollow with a dashed interval where it is interpolated between two
    strengths, and no run has it.
    """
    known = table.dropna(subset=["value"]).sort_values("value")
    rest = len(known) - ROWS
    known = known.head(ROWS)
    figure = style.blank_figure(harm_title(across=True), "")
    for row in known.to_dict("records"):
        for trace in _point(row, arms[row["curve"]]):
            figure.add_trace(trace)
    for how, words in _WORDS.items():
        if (known["how"] == how).any():
            look = {"symbol": "circle" if how == RUN else "circle-open", "color": style.GREY}
            figure.add_scatter(x=[None], y=[None], mode="markers", marker=look, name=words)
    figure.update_xaxes(**harm_axis())
    figure.update_yaxes(title="Method", autorange="reversed")
    title = matched_title(table, arms, target, cost)
    title += f" (the {ROWS} lowest; {rest} more in the table)" if rest > 0 else ""
    return titled(figure, title, height=110 + 30 * max(len(known), 1))


def _point(row: Mapping[Hashable, Any], arm: Arm) -> list[go.Scatter]:
    """Return an arm's interval and its point, the latter on top."""
    look, made = style.arm_style(arm), row["how"] == MADE
    value, low, high = (100 * row[name] for name in ("value", "low", "high"))
    name = wrapped(look.label, 30)
    # A line and no error bar: these cannot be dashed.
    ends, middle = (root(row["low"]), root(row["high"])), root(row["value"])
    # Open at the middle: a line would run through a hollow point.
    inner = (max(middle - _RADIUS, ends[0]), min(middle + _RADIUS, ends[1]))
    interval = go.Scatter(
        x=[ends[0], inner[0], None, inner[1], ends[1]],
        y=[name] * 5,
        mode="lines+markers",
        line={"color": look.colour, "width": 2, "dash": "dash" if made else "solid"},
        marker={
            "color": look.colour,
            "symbol": "line-ns-open",
            "size": [10, 0, 0, 0, 10],
            "line": {"width": 2},
        },
        hoverinfo="skip",
        showlegend=False,
    )
    point = go.Scatter(
        x=[root(row["value"])],
        y=[name],
        mode="markers",
        marker={
            "color": look.colour,
            "symbol": "circle-open" if made else "circle",
            "size": 11,
            "line": {"width": 2, "color": look.colour},
        },
        showlegend=False,
        hovertemplate=(
            f"{arm_label(arm, 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>"
            f"{row['how']}: {style.escape(row['detail'])}<br>"
            f"n = {row['n']} requests, {row['seeds']} seeds<extra></extra>"
        ),
    )
    return [interval, point]

"""Each method's strength curve in a panel of its own, before the points of all others."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.holding import GREEDY, LOW
from cwac.analysis.operating import curves_of
from cwac.analysis.outlying import far_left
from cwac.arms import ALIGNED, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import outer_titles, panels, titled
from cwac.figures.results.harm import harm_axis, harm_title, root, root_bars
from cwac.figures.results.points import bars
from cwac.figures.style import rate_axis

COLUMNS: Final = 4
COST: Final = 0.02
"""The loss of accuracy up to which the title says that a curve holds."""
NEAR: Final = (1.5, 0.09)
"""Points of accuracy, and shares of the harmful score's axis, within which labels would overlap."""
_HOVERED: Final = ["harmful_low", "harmful_high", "accuracy_low", "accuracy_high", "strength",
                   "harmful"]  # fmt: skip
_FAINT: Final = "rgba(138,148,160,0.35)"


def strengths_figure(points: pd.DataFrame, arms: Mapping[str, Arm]) -> go.Figure:
    """Draw harmful score against task accuracy, a panel per curve, its strengths written beside.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating.operating``; at least one curve has two strengths.
    arms : mapping
        The arms of points and curves, by label.
    """
    curves = curves_of(points, arms)
    figure, places = panels(curves, columns=COLUMNS, panel=190, gap=50, side=0.06)
    tuned = points[points["variant"] != ALIGNED.label]
    drawn = tuned[tuned["curve"].isin([curve.label for curve in curves])]
    for curve, (row, column) in zip(curves, places, strict=True):
        other = tuned[tuned["curve"] != curve.label]
        figure.add_scatter(
            x=100 * other["accuracy"],
            y=root(other["harmful"]),
            mode="markers",
            marker={"color": _FAINT, "size": 5},
            hoverinfo="skip",
            row=row,
            col=column,
        )
        part = tuned[tuned["curve"] == curve.label].sort_values("strength")
        figure.add_scatter(**_curve(part, curve), row=row, col=column)
    shown = drawn[~far_left(drawn["accuracy"])] if len(drawn) else drawn
    figure.update_xaxes(range=[100 * float(shown["accuracy"].min()) - 3, 100.9], nticks=5)
    figure.update_yaxes(**harm_axis(few=True))
    outer_titles(figure, places, x=rate_axis("task_accuracy", across=True), y=harm_title())
    figure.update_layout(showlegend=False)
    rows = max(row for row, _ in places)
    return titled(figure, _title(drawn, arms), height=60 + 240 * rows)


def _curve(part: pd.DataFrame, curve: Arm) -> dict[str, Any]:
    look = style.arm_style(curve)
    faint = {"color": style.translucent(look.colour, 0.5), "width": 0}
    return {
        "x": 100 * part["accuracy"],
        "y": root(part["harmful"]),
        "mode": "lines+markers+text",
        "text": _written(part, curve.label),
        "textposition": "middle left",
        "textfont": {"size": 11},
        "line": {"color": look.colour, "width": 2},
        "marker": {
            "color": look.colour,
            "opacity": 1,
            "line": {"width": 0},
            "size": [11 if name == curve.label else 7 for name in part["variant"]],
        },
        "error_x": bars(part, "accuracy") | faint,
        "error_y": root_bars(part, "harmful") | faint,
        "customdata": part[_HOVERED] * [100, 100, 100, 100, 1, 100],
        "hovertemplate": f"{style.escape(look.label)}, {style.escape(part['knob'].iloc[0])} "
        "%{customdata[4]:g}<br>harmful score <b>%{customdata[5]:.1f} %</b> "
        "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<br>task accuracy <b>%{x:.1f} %</b> "
        "[%{customdata[2]:.1f}, %{customdata[3]:.1f}]<extra></extra>",
    }


def _written(part: pd.DataFrame, curve: str) -> list[str]:
    """Return the strengths to write: not those so near to another that both could not be read."""
    spots = list(zip(100 * part["accuracy"], root(part["harmful"]), strict=True))
    names = list(part["variant"])
    default = [names.index(curve)] if curve in names else []
    taken: list[int] = []
    for i in dict.fromkeys([*default, 0, len(spots) - 1, *range(len(spots))]):
        x, y = spots[i]
        if all(abs(x - spots[j][0]) > NEAR[0] or abs(y - spots[j][1]) > NEAR[1] for j in taken):
            taken.append(i)
    values = list(part["strength"])
    # The spaces keep the text clear of the point and its interval.
    return [
        f"{v:g}\u00a0\u00a0" if i in taken and np.isfinite(v) else "" for i, v in enumerate(values)
    ]


def _title(drawn: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    """Say how many curves hold harm low at one strength, and what that costs."""
    best = drawn["accuracy"].max()
    kept = drawn[(drawn["harmful"] <= LOW) & (drawn["accuracy"] >= best - COST)]
    curves = in_order(arms[label] for label in kept["curve"])
    total = drawn["curve"].nunique()
    text = f"{len(curves)} of {total} strength curves come to {100 * LOW:.0f} % harmful score"
    text += f" ({GREEDY}) within {100 * COST:.0f} points of the best accuracy"
    return f"{text}: {', '.join(arm.title for arm in curves)}" if curves else text

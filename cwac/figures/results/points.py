"""Operating points: harmful score against a cost, a few methods in colour with their names."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.claims import FOCUS
from cwac.analysis.operating import ACCURACY, COSTS, RATES
from cwac.analysis.operating_words import held_title
from cwac.analysis.outlying import beginning
from cwac.arms import ALIGNED, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import arm_label, percent, titled, wrapped
from cwac.figures.results.harm import harm_axis, harm_title, root, root_bars
from cwac.figures.style import rate_axis
from cwac.rates import RATES as WORDS

MOST: Final = 6
"""Methods in colour: of more, readers cannot keep the colours apart."""
GUTTER: Final = 0.24
"""Room for names to the right of the axis, as a share of the figure's width."""
OTHERS: Final = "#A7B0B9"
"""The colour of the methods beyond these."""
_LINE: Final = 0.048
"""Room that a line of a name takes, as a share of the axis' height."""


def bars(part: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return error bars in per cent from the columns ``<name>, <name>_low, <name>_high``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": 100 * (part[f"{name}_high"] - part[name]),
        "arrayminus": 100 * (part[name] - part[f"{name}_low"]),
        "thickness": 1,
        "width": 3,
    }


def operating_figure(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    target: float | None = None,
    coloured: Sequence[str] | None = None,
    cost: str = ACCURACY,
    tried: Mapping[str, int] | None = None,
    lost: Sequence[str] = (),
) -> go.Figure:
    """Draw harmful score against a cost: a few curves in colour with their names beside.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating.operating``; of another cost, from ``against``.
    arms : mapping
        The arms of points and curves, by label.
    target : float, optional
        The task accuracy, or the other cost, at which curves are compared, a fraction.
    coloured : sequence of str, optional
        Labels of the curves that are named; all others are grey. The first `MOST` without it.
    cost : str
        One of ``operating.COSTS``.
    tried : mapping of str to int, optional
        ``cwac.artifacts.tried_settings`` of the model.
    lost : sequence of str
        As of ``operating.Operating``.
    """
    figure = style.blank_figure(rate_axis(cost, across=True), harm_title())
    curves = in_order(arms[label] for label in points["curve"])
    tuned = [arm for arm in curves if not arm.is_aligned]
    wanted = [arm.label for arm in tuned][:MOST] if coloured is None else list(coloured)
    low = beginning(points, cost, wanted)
    other = points[~points["curve"].isin([*wanted, ALIGNED.label])]
    if len(other):
        count = other["curve"].nunique()
        grey = _Drawn(other, arms, cost, low)
        figure.add_scatter(**grey.markers(OTHERS), name=f"{count} other methods")
    # CWAC last: where methods lie on each other, it is what the page is about.
    for curve in sorted(curves, key=lambda arm: arm.label == FOCUS):
        if curve.label not in wanted and not curve.is_aligned:
            continue
        part = points[points["curve"] == curve.label].sort_values("strength")
        figure.add_scatter(**_curve(_Drawn(part, arms, cost, low), curve))
    if (points[RATES[cost]] < low).any():
        figure.add_scatter(**_EDGE)
    figure.add_scatter(**_front(points, cost))
    if target is not None:
        figure.add_vline(x=100 * target, line={"color": style.GREY, "dash": "dash", "width": 1})
    _name_beside(figure, points[points["curve"].isin(wanted)], arms, cost, 100 * low)
    figure.update_yaxes(**harm_axis())
    return titled(figure, held_title(points, arms, cost, tried or {}, lost), height=500)


_EDGE: Final = {
    "x": [None],
    "y": [None],
    "mode": "markers",
    "marker": {"symbol": "triangle-left", "size": 9, "color": OTHERS},
    "name": "lies further left",
}
"""What a triangle at the edge is, in the legend."""


class _Drawn:
    """Some points as a trace has them: what lies left of the axis stands at its edge."""

    def __init__(self, part: pd.DataFrame, arms: Mapping[str, Arm], cost: str, low: float) -> None:
        self.part, self.cost = part, cost
        self.outside = (part[RATES[cost]] < low).to_numpy()
        self._x = 100 * part[RATES[cost]].clip(lower=low)
        self._hover = [[_hover(row, arms[row["variant"]], cost)] for row in part.to_dict("records")]

    def markers(
        self, colour: str, symbol: str = "circle", size: int | Sequence[int] = 7
    ) -> dict[str, Any]:
        sizes = [size] * len(self.part) if isinstance(size, int) else size
        return {
            "x": self._x,
            "y": root(self.part["harmful"]),
            "mode": "markers",
            # Plotly makes markers of several sizes translucent with a rim unless told not to.
            "marker": {
                "color": colour,
                "symbol": ["triangle-left" if out else symbol for out in self.outside],
                "size": sizes,
                "opacity": 1,
                "line": {"width": 0},
            },
            "cliponaxis": False,
            "customdata": self._hover,
            "hovertemplate": "%{customdata[0]}<extra></extra>",
        }

    def across(self) -> dict[str, Any]:
        """Return the cost's error bars; none at the edge, where they would begin in nothing."""
        drawn = bars(self.part, RATES[self.cost])
        for end in ("array", "arrayminus"):
            drawn[end] = drawn[end].mask(self.outside, 0.0)
        return drawn


def _curve(drawn: _Drawn, curve: Arm) -> dict[str, Any]:
    look, part = style.arm_style(curve), drawn.part
    joined = part["strength"].notna().sum() > 1
    # Fifty full-coloured crosses would hide the curves that they belong to.
    faint = {"color": style.translucent(look.colour, 0.65), "thickness": 1.5}
    return drawn.markers(look.colour, look.symbol, _sizes(part)) | {
        "mode": "lines+markers" if joined else "markers",
        "name": style.escape(look.label),
        "showlegend": curve.is_aligned,
        # Solid, whatever the arm's dash elsewhere: dots are the front's.
        "line": {"color": look.colour, "dash": "solid", "width": 2},
        "error_x": drawn.across() | faint,
        "error_y": root_bars(part, "harmful") | faint,
    }


def _front(points: pd.DataFrame, cost: str) -> dict[str, Any]:
    front = points[points["front"]].sort_values([RATES[cost], "harmful"])
    return {
        "x": 100 * front[RATES[cost]],
        "y": root(front["harmful"]),
        "mode": "lines",
        "name": "Pareto front",
        "line": {"color": style.GREY, "dash": "dot", "width": 2},
        "hoverinfo": "skip",
    }


def _name_beside(
    figure: go.Figure, named: pd.DataFrame, arms: Mapping[str, Arm], cost: str, low: float
) -> None:
    """Write the names of curves right of the axis, each with a thin line to its default point."""
    # No more than half a marker's width beyond 100 %: nothing can be there.
    end = 100 + 0.012 * (100 - low)
    figure.update_xaxes(
        domain=[0, 1 - GUTTER], range=[low, end], tickvals=_ticks(low), showgrid=True
    )
    spots = []
    for curve, part in named.groupby("curve", sort=False):
        default = part[part["variant"] == curve]
        row = (default if len(default) else part.sort_values("harmful")).iloc[0]
        across = max(100 * row[RATES[cost]], low)
        spots.append((across, float(root(row["harmful"])), arms[str(curve)]))
    # Of equal height, the name of what lies further right first: its line is the shorter.
    spots.sort(key=lambda spot: (spot[1], -spot[0]))
    names = [wrapped(style.arm_style(arm).label, 18) for _, _, arm in spots]
    lines = max((name.count("<br>") + 1 for name in names), default=1)
    gap = min(0.012 + _LINE * lines, 1 / max(len(spots) - 1, 1))
    heights = spread([y for _, y, _ in spots], gap=gap, low=0.0, high=1.0)
    for (x, y, arm), name, height in zip(spots, names, heights, strict=True):
        look = style.arm_style(arm)
        figure.add_annotation(
            text=f'<span style="color:{look.colour}">\u25cf</span> {name}',
            x=x,
            y=y,
            ax=end + 0.03 * (end - low),
            ay=height,
            axref="x",
            ayref="y",
            xanchor="left",
            align="left",
            showarrow=True,
            arrowhead=0,
            # As bold and coloured as a curve, it would be read as one.
            arrowwidth=0.75,
            arrowcolor=style.GREY,
            standoff=7,
        )


def _ticks(low: float) -> list[float]:
    span = 100 - low
    step = next(step for step in (1, 2, 5, 10, 20, 25) if span / step <= 8 or step == 25)
    return [float(tick) for tick in range(0, 101, step) if tick >= low]


def spread(values: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Return ascending values moved apart by at least `gap`, as few steps away as it takes.

    Examples
    --------
    >>> spread([0.0, 1.0, 96.0, 97.0], gap=5.0, low=0.0, high=100.0)
    [0.0, 5.0, 95.0, 100.0]
    """
    places = list(values)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = max(min(places[i], ceiling), low)
        ceiling = places[i] - gap
    return places


def _sizes(part: pd.DataFrame) -> list[int]:
    """Return marker sizes: the strength that a method has by default is the large one."""
    return [12 if name == curve else 8 for name, curve in zip(part["variant"], part["curve"],
                                                               strict=True)]  # fmt: skip


def _hover(row: Mapping[Hashable, Any], arm: Arm, cost: str) -> str:
    knob = f"<br>{style.escape(row['knob'])} = {row['strength']:g}" if row["knob"] and np.isfinite(
        row["strength"]) else ""  # fmt: skip
    # What the axes show first.
    shown = ("harmful_score", cost, *(name for name in COSTS if name != cost))
    lines = [
        f"{WORDS[name].term} <b>{percent(row[short], 1)}</b> [{percent(row[f'{short}_low'], 1)}, "
        f"{percent(row[f'{short}_high'], 1)}], n = {row[f'{short}_n']:.0f} "
        f"{WORDS[name].requests.name}"
        for name in shown
        if pd.notna(row[short := RATES[name]])
    ]
    seeds = "" if arm.is_aligned else f"<br>{row['seeds']} seed{'s' if row['seeds'] != 1 else ''}"
    front = f"<br>on the Pareto front of harm and {WORDS[cost].term}" if row["front"] else ""
    return f"{arm_label(arm, 40)}{knob}<br>{'<br>'.join(lines)}{seeds}{front}"

"""Operating points, and methods at one task accuracy."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.arms import ALIGNED, BASELINE, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import arm_label, percent, titled, wrapped
from cwac.figures.style import rate_axis

HARM: Final = rate_axis("harmful_score")
LOW: Final = 0.05
"""The harmful score up to which titles say that an arm or a curve holds."""
MOST: Final = 6
"""Methods in colour: of more, readers cannot keep the colours apart."""
ROWS: Final = 20
GUTTER: Final = 0.3
"""Room for names to the right of 100 %, as a share of the axis."""
END: Final = 100.6
"""Where the accuracies end and the names begin, in per cent."""
OTHERS: Final = "#A7B0B9"
"""The colour of the methods beyond these."""


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


def _faint(part: pd.DataFrame, name: str, colour: str) -> dict[str, Any]:
    # Fifty full-coloured crosses would hide the curves that they belong to.
    return bars(part, name) | {"color": style.translucent(colour, 0.4), "width": 0}


def operating_figure(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    target: float | None = None,
    coloured: Sequence[str] | None = None,
) -> go.Figure:
    """Draw harmful score against task accuracy: a few curves in colour with their names beside.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating.operating``.
    arms : mapping
        The arms of points and curves, by label.
    target : float, optional
        The task accuracy at which curves are compared, a fraction.
    coloured : sequence of str, optional
        Labels of the curves that are named; all others are grey. The first `MOST` without it.
    """
    figure = style.blank_figure(rate_axis("task_accuracy", across=True), HARM)
    curves = in_order(arms[label] for label in points["curve"])
    tuned = [arm for arm in curves if not arm.is_aligned]
    wanted = [arm.label for arm in tuned][:MOST] if coloured is None else list(coloured)
    other = points[~points["curve"].isin([*wanted, ALIGNED.label])]
    if len(other):
        count = other["curve"].nunique()
        figure.add_scatter(**_markers(other, arms, OTHERS), name=f"{count} other methods")
    for curve in curves:
        part = points[points["curve"] == curve.label].sort_values("strength")
        if curve.label not in wanted and not curve.is_aligned:
            continue
        look = style.arm_style(curve)
        joined = part["strength"].notna().sum() > 1
        figure.add_scatter(
            **_markers(part, arms, look.colour, look.symbol, _sizes(part))
            | {"mode": "lines+markers" if joined else "markers"},
            name=style.escape(look.label),
            showlegend=curve.is_aligned,
            line={"color": look.colour, "dash": look.dash, "width": 2},
            error_x=_faint(part, "accuracy", look.colour),
            error_y=_faint(part, "harmful", look.colour),
        )
    front = points[points["front"]].sort_values(["accuracy", "harmful"])
    figure.add_scatter(
        x=100 * front["accuracy"],
        y=100 * front["harmful"],
        mode="lines",
        name="Pareto front",
        line={"color": style.GREY, "dash": "dot", "width": 3},
        hoverinfo="skip",
    )
    if target is not None:
        figure.add_vline(x=100 * target, line={"color": style.GREY, "dash": "dash", "width": 1})
    low = _leave_out_far_left(figure, points, arms)
    _name_beside(figure, points[points["curve"].isin(wanted)], arms, low)
    figure.update_yaxes(range=[-4, 104])
    return titled(figure, _held_title(points, arms), height=470)


def _markers(
    part: pd.DataFrame,
    arms: Mapping[str, Arm],
    colour: str,
    symbol: str = "circle",
    size: int | Sequence[int] = 7,
) -> dict[str, Any]:
    return {
        "x": 100 * part["accuracy"],
        "y": 100 * part["harmful"],
        "mode": "markers",
        # Plotly makes markers of several sizes translucent with a rim unless told not to.
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "opacity": 1,
            "line": {"width": 0},
        },
        "customdata": [[_hover(row, arms[row["variant"]])] for row in part.to_dict("records")],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }


def _name_beside(
    figure: go.Figure, named: pd.DataFrame, arms: Mapping[str, Arm], low: float
) -> None:
    """Write the names of curves to the right of 100 %, each with a line to its default point."""
    figure.update_xaxes(
        range=[low, END + GUTTER * (END - low)],
        tickvals=[tick for tick in _ticks(low) if tick <= 100],
        showgrid=True,
    )
    spots = []
    for curve, part in named.groupby("curve", sort=False):
        default = part[part["variant"] == curve]
        row = (default if len(default) else part.sort_values("harmful")).iloc[0]
        if 100 * row["accuracy"] >= low:
            spots.append((100 * row["accuracy"], 100 * row["harmful"], arms[str(curve)]))
    spots.sort(key=lambda spot: spot[1])
    heights = spread([y for _, y, _ in spots], gap=6.5, low=0.0, high=100.0)
    for (x, y, arm), height in zip(spots, heights, strict=True):
        look = style.arm_style(arm)
        figure.add_annotation(
            text=wrapped(look.label, 26),
            x=x,
            y=y,
            ax=END + 0.03 * (END - low),
            ay=height,
            axref="x",
            ayref="y",
            xanchor="left",
            align="left",
            showarrow=True,
            arrowhead=0,
            arrowwidth=1.5,
            arrowcolor=look.colour,
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
    >>> spread([0.0, 1.0, 96.0, 97.0], gap=5, low=0, high=100)
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


def far_left(accuracy: "pd.Series[float]") -> "pd.Series[bool]":
    """Return which accuracies lie so far below the others that they would squeeze them.

    Those below Tukey's outer fence (three interquartile ranges beneath the lower quartile) that
    are also ten points below the best, and those below half of the best.
    """
    low, high = accuracy.quantile([0.25, 0.75])
    best = accuracy.max()
    return (accuracy < min(low - 3 * (high - low), best - 0.1)) | (accuracy < best / 2)


def _leave_out_far_left(figure: go.Figure, points: pd.DataFrame, arms: Mapping[str, Arm]) -> float:
    """Return where the axis begins: at the arms that learned the task; say what lies left of it."""
    learned = ~far_left(points["accuracy"])
    left = points[~learned]
    low = max(100 * float(points.loc[learned, "accuracy"].min()) - 2, -2.0)
    if left.empty:
        return low
    names = [arm.title for arm in in_order(arms[label] for label in left["variant"])]
    listed = ", ".join(names) if len(names) <= 3 else f"{len(names)} arms"
    figure.add_annotation(
        text=f"\u2190 {style.escape(listed)}: further left (double-click shows all)",
        x=0.01,
        y=0.36,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="middle",
        showarrow=False,
    )
    return low


def _hover(row: Mapping[Hashable, Any], arm: Arm) -> str:
    knob = f"<br>{style.escape(row['knob'])} = {row['strength']:g}" if row["knob"] and np.isfinite(
        row["strength"]) else ""  # fmt: skip
    lines = [
        f"{term} <b>{percent(row[name], 1)}</b> [{percent(row[f'{name}_low'], 1)}, "
        f"{percent(row[f'{name}_high'], 1)}], n = {row[f'{name}_n']} {counted}"
        for name, term, counted in (
            ("harmful", "harmful score", "requests"),
            ("accuracy", "task accuracy", "examples"),
        )
    ]
    seeds = "" if arm.is_aligned else f"<br>{row['seeds']} seeds"
    front = "<br>on the Pareto front" if row["front"] else ""
    return f"{arm_label(arm, 40)}{knob}<br>{'<br>'.join(lines)}{seeds}{front}"


def _held_title(points: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    """Say how many methods hold harm low at SFT's accuracy, and whether CWAC is one of them."""
    idle = [label for label, arm in arms.items() if arm.idle]
    tuned = points[~points["variant"].isin([ALIGNED.label, BASELINE, *idle])]
    sft = points[points["variant"] == BASELINE]
    floor = float(sft["accuracy_low"].iloc[0]) if len(sft) else 0.0
    kept = tuned[(tuned["harmful"] <= LOW) & (tuned["accuracy"] >= floor)]
    curves = in_order(arms[label] for label in kept["curve"])
    text = (
        f"{len(curves)} of {tuned['curve'].nunique()} methods comply with at most {100 * LOW:.0f} %"
    )
    text += " at no measurable loss of accuracy" if len(sft) else ""
    if 0 < len(curves) <= 4:
        text += f": {', '.join(arm.title for arm in curves)}"
    mine = points[points["variant"] == "cwac"]
    if len(mine):
        row = mine.iloc[0]
        text += (
            f". CWAC: {percent(row['harmful'])} [{100 * row['harmful_low']:.0f}, "
            f"{100 * row['harmful_high']:.0f}] harm, {percent(row['accuracy'])} accuracy"
        )
    return text


def matched_figure(table: pd.DataFrame, arms: Mapping[str, Arm], target: float) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy or more; filled where interpolated."""
    known = table.dropna(subset=["value"]).sort_values("value")
    rest = len(known) - ROWS
    known = known.head(ROWS)
    figure = style.blank_figure(rate_axis("harmful_score", across=True), "")
    for row in known.to_dict("records"):
        arm = arms[row["curve"]]
        look = style.arm_style(arm)
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        filled = row["how"] == "interpolated"
        figure.add_scatter(
            x=[value],
            y=[wrapped(look.label, 22)],
            mode="markers",
            marker={
                "color": look.colour,
                "symbol": "circle" if filled else "circle-open",
                "size": 11,
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=(
                f"{arm_label(arm, 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>"
                f"{row['how']}: {style.escape(row['detail'])}<br>"
                f"n = {row['n']} requests, {row['seeds']} seeds<extra></extra>"
            ),
        )
    figure.update_xaxes(range=[-4, 104])
    figure.update_yaxes(title="Method", autorange="reversed")
    figure.update_layout(showlegend=False)
    title = _matched_title(table, arms, target)
    title += f" (the {ROWS} lowest; {rest} more in the table)" if rest > 0 else ""
    return titled(figure, title, height=110 + 30 * max(len(known), 1))


def _matched_title(table: pd.DataFrame, arms: Mapping[str, Arm], target: float) -> str:
    # An interval that touches the target is no method that gets there: both are told apart.
    interpolated = table["how"] == "interpolated"
    reached = interpolated | ((table["how"] == "own point") & (table["accuracy"] >= target))
    touching = table.loc[(table["how"] == "own point") & ~reached, "curve"]
    title = f"Harmful score at {100 * target:.0f} % task accuracy or more: the point estimates of "
    title += f"{int(reached.sum())} of {len(table)} methods reach it"
    if len(touching):
        few = len(touching) <= 4
        named = (
            ", ".join(arms[label].title for label in touching) if few else f"{len(touching)} others"
        )
        title += f"; only the interval does of {named}"
    return title

"""Operating points, methods at one task accuracy, poison ratios."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.arms import ALIGNED, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import arm_label, order, percent, titled, wrapped
from cwac.figures.style import axis_title, rate_axis

HARM: Final = rate_axis("harmful_score")
LOW: Final = 0.05
"""The harmful score up to which titles say that an arm or a curve holds."""


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
    points: pd.DataFrame, arms: Mapping[str, Arm], target: float | None = None
) -> go.Figure:
    """Draw harmful score against task accuracy, a line per curve in the order of its strengths.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating.operating``.
    arms : mapping
        The arms of points and curves, by label.
    target : float, optional
        The task accuracy at which curves are compared, a fraction.
    """
    figure = style.blank_figure(rate_axis("task_accuracy"), HARM)
    curves = in_order(arms[label] for label in points["curve"])
    for curve in curves:
        part = points[points["curve"] == curve.label].sort_values("strength")
        look = style.arm_style(curve)
        joined = part["strength"].notna().sum() > 1
        figure.add_scatter(
            x=100 * part["accuracy"],
            y=100 * part["harmful"],
            mode="lines+markers" if joined else "markers",
            name=style.escape(look.label),
            line={"color": look.colour, "dash": look.dash, "width": 2},
            # Plotly makes markers of several sizes translucent with a rim unless told not to.
            marker={
                "color": look.colour,
                "symbol": look.symbol,
                "size": _sizes(part),
                "opacity": 1,
                "line": {"width": 0},
            },
            error_x=_faint(part, "accuracy", look.colour),
            error_y=_faint(part, "harmful", look.colour),
            customdata=[[_hover(row, arms[row["variant"]])] for row in part.to_dict("records")],
            hovertemplate="%{customdata[0]}<extra></extra>",
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
    _leave_out_far_left(figure, points, arms)
    figure.update_yaxes(range=[-4, 104])
    # The legend stands beneath the plot, about three names a row, and must not eat it.
    return titled(figure, _front_title(points, arms), height=430 + 8 * len(curves))


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


def _leave_out_far_left(figure: go.Figure, points: pd.DataFrame, arms: Mapping[str, Arm]) -> None:
    """Begin the axis at the arms that learned the task, and say what lies to their left."""
    learned = ~far_left(points["accuracy"])
    left = points[~learned]
    if left.empty:
        return
    low = 100 * float(points.loc[learned, "accuracy"].min())
    figure.update_xaxes(range=[low - 2, 101.5])
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


def _front_title(points: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    front = points[points["front"]]
    tuned = int((points["variant"] != ALIGNED.label).sum())
    curves = in_order(arms[label] for label in front["curve"])
    named = ", ".join(arm.title for arm in curves) if len(curves) <= 4 else f"{len(curves)} methods"
    return f"{len(front)} of {tuned} operating points are on the Pareto front: {named}"


def matched_figure(table: pd.DataFrame, arms: Mapping[str, Arm], target: float) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy or more; filled where interpolated."""
    known = table.dropna(subset=["value"]).sort_values("value")
    figure = style.blank_figure(HARM, "")
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
    return titled(figure, _matched_title(table, arms, target), height=110 + 30 * max(len(known), 1))


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


def poison_figure(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw harmful score against poison ratio, a line per arm.

    The ratios stand at equal distances, and the arms beside each other at each, so that small
    ratios and intervals that coincide can be told apart.
    """
    title = axis_title("Poison ratio", "share of the training examples; evenly spaced")
    figure = style.blank_figure(title, HARM)
    arms = order(in_order(arms), table)
    ratios = sorted(table["poison_ratio"].unique())
    beside = 0.1 * min(len(ratios), 5) / max(len(arms), 6)
    for number, arm in enumerate(arms):
        part = table[table["variant"] == arm.label].sort_values("poison_ratio")
        look = style.arm_style(arm)
        shift = beside * (number - (len(arms) - 1) / 2)
        figure.add_scatter(
            x=[ratios.index(ratio) + shift for ratio in part["poison_ratio"]],
            y=100 * part["value"],
            mode="lines+markers",
            name=style.escape(look.label),
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"color": look.colour, "symbol": look.symbol, "size": 9},
            error_y=bars(part.rename(columns={"low": "value_low", "high": "value_high"}), "value"),
            customdata=part[["low", "high", "n", "seeds", "poison_ratio"]] * [100, 100, 1, 1, 1],
            hovertemplate=f"{arm_label(arm, 40)}<br>poison ratio %{{customdata[4]:g}}: "
            "<b>%{y:.1f} %</b> [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<br>"
            "n = %{customdata[2]:.0f} requests, %{customdata[3]:.0f} seeds<extra></extra>",
        )
    figure.update_xaxes(
        tickvals=list(range(len(ratios))),
        ticktext=[f"{ratio:g}" for ratio in ratios],
        range=[-0.4, len(ratios) - 0.6],
    )
    figure.update_yaxes(range=[-4, 104])
    return titled(figure, _poison_title(table, ratios, arms), height=440 + 6 * len(arms))


def _poison_title(table: pd.DataFrame, ratios: Sequence[float], arms: Sequence[Arm]) -> str:
    last = table[table["poison_ratio"] == ratios[-1]].set_index("variant")["value"]
    kept = [arm for arm in arms if last.get(arm.label, 1.0) <= LOW]
    text = f"{len(kept)} of {len(last)} arms stay at or below {100 * LOW:.0f} % harmful score "
    text += f"with {100 * ratios[-1]:g} % poison"
    return f"{text}: {', '.join(arm.title for arm in kept)}" if 0 < len(kept) <= 6 else text

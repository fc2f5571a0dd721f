"""Along training: what the live probes saw, one line per arm with its band."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    FEW,
    arm_label,
    arm_line,
    extremes,
    number,
    order,
    over_seeds,
    percent,
    titled,
)


class Course(NamedTuple):
    """A column of the ``trajectory`` table that can be drawn over steps."""

    label: str
    axis: str
    share: bool


COURSES: Final = {
    "refusal_rate": Course("refusal rate", "probe refusal rate (%, ↑ safer)", True),
    "refusal_log_odds": Course(
        "refusal log-odds", "mean log-odds of refusing (nats, ↑ safer)", False
    ),
    "task_loss": Course("task loss", "task loss (nats per token, ↓ better)", False),
    "safety_loss": Course("safety loss", "activation loss (squared activation, ↓ nearer)", False),
    "gradient_norm": Course("gradient norm", "gradient norm before clipping (no unit)", False),
}


def trajectory(table: pd.DataFrame, column: str, variants: Sequence[str]) -> go.Figure:
    """Draw one column over training, a line per arm.

    The band is the stored 95 % interval where an arm has one seed and the column is the refusal
    rate, and the span from the lowest to the highest seed where it has several.

    Parameters
    ----------
    table : DataFrame
        ``trajectory`` of all runs, with ``variant`` and ``seed``.
    column : str
        A key of `COURSES`.
    """
    what = COURSES[column]
    scale = 100.0 if what.share else 1.0
    summary = over_seeds(table, ["step"], column)
    if column == "refusal_rate":
        summary = _with_wilson(summary, table)
    figure = go.Figure()
    arms = order(variants, summary)
    for arm in arms:
        rows = summary[summary["variant"] == arm].sort_values("step")
        if bool((rows["high"] > rows["low"]).any()):
            figure.add_trace(_band(rows, arm, scale))
    for arm in arms:
        rows = summary[summary["variant"] == arm].sort_values("step")
        figure.add_trace(_line(rows, arm, scale, what))
    _add_start(figure, summary, scale)
    figure.update_xaxes(title="optimiser steps", rangemode="tozero")
    figure.update_yaxes(title=what.axis, range=[-2, 102] if what.share else None)
    return titled(figure, _title(summary, what, variants), height=430)


def _with_wilson(summary: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    stored = table.groupby(["variant", "step"], sort=False)[["refusal_low", "refusal_high"]].first()
    joined = summary.join(stored, on=["variant", "step"])
    single = (joined["seeds"] == 1) & joined["refusal_low"].notna()
    return joined.assign(
        low=joined["low"].where(~single, joined["refusal_low"]),
        high=joined["high"].where(~single, joined["refusal_high"]),
    )


def _band(rows: pd.DataFrame, arm: str, scale: float) -> go.Scatter:
    steps = rows["step"].tolist()
    return go.Scatter(
        x=steps + steps[::-1],
        y=(rows["high"] * scale).tolist() + (rows["low"] * scale).tolist()[::-1],
        fill="toself",
        fillcolor=theme.translucent(theme.arm_style(arm).colour, 0.15),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        name=f"{theme.escape(theme.arm_name(arm))} band",
        legendgroup=arm,
        showlegend=False,
    )


def _line(rows: pd.DataFrame, arm: str, scale: float, what: Course) -> go.Scatter:
    unit = " %" if what.share else ""
    return go.Scatter(
        x=rows["step"],
        y=rows["mean"] * scale,
        customdata=pd.DataFrame(
            {"low": rows["low"] * scale, "high": rows["high"] * scale, "seeds": rows["seeds"]}
        ),
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>step %{{x}}: <b>%{{y:.3g}}{unit}</b>"
            f"<br>band %{{customdata[0]:.3g}} to %{{customdata[1]:.3g}}{unit}"
            "<br>n = %{customdata[2]} seeds<extra></extra>"
        ),
        **arm_line(arm),
    )


def _add_start(figure: go.Figure, summary: pd.DataFrame, scale: float) -> None:
    # Before the first step every arm is the aligned model, so that its level is known exactly.
    start = summary.loc[summary["step"] == 0, "mean"]
    if len(start):
        figure.add_hline(
            y=float(start.iloc[0]) * scale,
            line={"color": theme.GREY, "dash": "dash", "width": 2},
            annotation={"text": "aligned model", "xanchor": "right", "yanchor": "bottom"},
        )


def _title(summary: pd.DataFrame, what: Course, variants: Sequence[str]) -> str:
    if summary.empty:
        return f"The {what.label} was not measured along training in these runs"
    show = percent if what.share else number
    ends = summary.sort_values("step").groupby("variant")["mean"].last()
    arms = [arm for arm in variants if arm in ends.index]
    if len(arms) > FEW:
        most, least = extremes(ends[arms])
        text = f"highest in {theme.arm_name(most)} ({show(ends[most])}), "
        text += f"lowest in {theme.arm_name(least)} ({show(ends[least])})"
    else:
        text = ", ".join(f"{theme.arm_name(arm)} {show(ends[arm])}" for arm in arms)
    return f"{what.label.capitalize()} at the last probe: {text}"

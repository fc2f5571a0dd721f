"""What methods say of themselves along training: small multiples, one per diagnostic."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    FEW,
    arm_label,
    arm_line,
    log_axis,
    number,
    order,
    outer_titles,
    over_seeds,
    panels,
    titled,
)

DECADES: Final = 100.0
"""From this ratio of largest to smallest value on, a panel's axis is logarithmic."""


def diagnostics_figure(table: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw each diagnostic over the steps, a line per arm; bars span an arm's seeds.

    Parameters
    ----------
    table : DataFrame
        ``method_diagnostics`` of all runs, with ``variant`` and ``seed``; at least one row.
    variants : sequence of str
        The arms, in the order to draw them.
    """
    summary = over_seeds(table, ["name", "step"], "value")
    arms = order(variants, summary)
    # What most arms report stands first.
    names = list(summary.groupby("name")["variant"].nunique().sort_values(
        ascending=False, kind="stable").index)  # fmt: skip
    figure, places = panels(
        [name.replace("_", " ") for name in names], columns=3, side=0.2, shared_yaxes=False
    )
    told: set[str] = set()
    for name, (row, column) in zip(names, places, strict=True):
        own = summary[summary["name"] == name]
        for arm in order(arms, own):
            line = _line(own[own["variant"] == arm].sort_values("step"), arm, name)
            figure.add_trace(line.update(showlegend=arm not in told), row=row, col=column)
            told.add(arm)
        low, high = float(own["low"].min()), float(own["high"].max())
        if low > 0 and high / low >= DECADES:
            figure.update_yaxes(log_axis(own["mean"]), row=row, col=column)
    figure.update_xaxes(rangemode="tozero")
    outer_titles(figure, places, x="optimiser steps", y=None)
    height = 90 + 260 * max(row for row, _ in places) + 6 * len(arms)
    return titled(figure, diagnostics_title(summary, names[0], arms), height=height)


def _line(rows: pd.DataFrame, arm: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=rows["step"],
        y=rows["mean"],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": rows["high"] - rows["mean"],
            "arrayminus": rows["mean"] - rows["low"],
            "thickness": 1,
            "width": 2,
            "color": theme.translucent(theme.arm_style(arm).colour, 0.6),
        },
        customdata=rows[["low", "high", "seeds"]],
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>{theme.escape(name.replace('_', ' '))} at step %{{x}}: "
            "<b>%{y:.3g}</b><br>seeds %{customdata[0]:.3g} to %{customdata[1]:.3g}, "
            "n = %{customdata[2]}<extra></extra>"
        ),
        **arm_line(arm),
    )


def diagnostics_title(summary: pd.DataFrame, name: str, arms: Sequence[str]) -> str:
    """Say in which arms a diagnostic grows from the first to the last probe.

    Levels of different methods are not compared: a name need not mean the same quantity.
    """
    own = summary[summary["name"] == name].sort_values("step")
    ends = own.groupby("variant")["mean"].agg(["first", "last", "size"])
    ends = ends[ends["size"] > 1].reindex([arm for arm in arms if arm in ends.index]).dropna()
    word = name.replace("_", " ")
    if ends.empty:
        return f"{word.capitalize()} was reported once a run"
    if len(ends) == 1:
        first, last = (number(float(ends[end].iloc[0])) for end in ("first", "last"))
        name_of = theme.arm_name(str(ends.index[0]))
        return f"{word.capitalize()} of {name_of}: {first} at the first probe, {last} at the last"
    grown = [theme.arm_name(str(arm)) for arm in ends.index[ends["last"] > ends["first"]]]
    said = f"{word.capitalize()} grows from the first to the last probe in {len(grown)} of "
    said += f"{len(ends)} arms"
    return f"{said}: {', '.join(grown)}" if 0 < len(grown) <= FEW else said

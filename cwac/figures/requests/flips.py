"""Which of the aligned model's right decisions each arm turned round, with counts and intervals.

Stands alone as the drawing of ``cwac.analysis.refusals.flip_rates``.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.refusals import FLIPPED
from cwac.arms import Arm, by_label
from cwac.figures.panels import (
    arm_label,
    extremes,
    order,
    outer_titles,
    panels,
    percent,
    rate_point,
    titled,
)
from cwac.figures.style import axis_title

_FLIP_NAMES: Final = ("lost", "gained")
"""What a click filters the requests by, in the order of `FLIPPED`."""


def flip_figure(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw a panel per way to flip: share, interval and counts of every arm.

    Parameters
    ----------
    table : DataFrame
        Result of ``cwac.analysis.refusals.flip_rates``.

    Notes
    -----
    A point's ``customdata`` is (arm, kind of request, flip).
    """
    groups = [group for group in FLIPPED if group in set(table["group"])]
    arms = order(arms, table)
    panel = 30 + 22 * max(len(arms), 2)
    heads = [f"{group}{_of(table[table['group'] == group])}" for group in groups]
    figure, places = panels(heads or ["no requests"], columns=2, gap=50, panel=panel)
    for group, (row, column) in zip(groups, places, strict=False):
        mine = table[table["group"] == group]
        points = [
            _point(entry, arm, group)
            for arm in order(arms, mine)
            for entry in mine[mine["variant"] == arm.label].to_dict("records")
        ]
        figure.add_traces([*points, _counted(mine, arms)], rows=row, cols=column)
    # Room on the right for the counts.
    figure.update_xaxes(range=[-4, 150], tickvals=[0, 25, 50, 75, 100])
    figure.update_yaxes(
        autorange="reversed", categoryorder="array", categoryarray=[arm_label(a) for a in arms]
    )
    outer_titles(figure, places, x=axis_title("flipped", "%", "lower", across=True), y=None)
    figure.update_layout(showlegend=False)
    return titled(figure, _title(table, arms), height=90 + places[-1][0] * (panel + 50))


def _point(row: Mapping[Hashable, Any], arm: Arm, group: str) -> go.Scatter:
    flip = _FLIP_NAMES[list(FLIPPED).index(group)]
    return rate_point(
        row,
        arm,
        f"{_counts(row)} of n = {row['n']} requests, {row['seeds']} seeds ({row['method']})",
        f"McNemar p {_p(row['p'])} (the largest over seeds)",
        customdata=[[arm.label, FLIPPED[group][0], flip]],
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _counted(mine: pd.DataFrame, arms: Sequence[Arm]) -> go.Scatter:
    """Return the counts, in a column on the right."""
    named = by_label(arms)
    rows = mine[mine["variant"].isin(list(named))].to_dict("records")
    alike = bool(_of(mine))
    return go.Scatter(
        x=[103] * len(rows),
        y=[arm_label(named[row["variant"]]) for row in rows],
        mode="text",
        text=[_counts(row) if alike else f"{_counts(row)} of {row['n']}" for row in rows],
        textposition="middle right",
        textfont={"size": 12},
        cliponaxis=False,
        hoverinfo="skip",
    )


def _of(rows: pd.DataFrame) -> str:
    """Return of how many requests all rows are, for the heading; empty where they differ."""
    counts = set(rows["n"])
    return f" (of\u00a0{counts.pop()})" if len(counts) == 1 else ""


def _counts(row: Mapping[Hashable, Any]) -> str:
    fewest, most = int(row["fewest"]), int(row["most"])
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _title(table: pd.DataFrame, arms: Sequence[Arm]) -> str:
    rows = table[table["group"] == next(iter(FLIPPED))].set_index("variant")
    named = by_label([arm for arm in arms if arm.label in rows.index])
    if not named:
        return "No request was answered by both the aligned model and a tuned one"
    most, least = extremes(rows.loc[list(named), "value"])
    # The claim's own pair where it is in view, else the two ends.
    pair = ["sft", "cwac"] if {"sft", "cwac"} <= named.keys() else [most, least]
    lost: dict[Any, dict[Any, Any]] = rows.to_dict("index")
    text = " and ".join(
        f"{percent(lost[label]['value'])} [{100 * lost[label]['low']:.0f}, "
        f"{100 * lost[label]['high']:.0f}] in {named[label].title}"
        for label in dict.fromkeys(pair)
    )
    return (
        f"Of the {lost[pair[0]]['n']} harmful requests that the aligned model refused, "
        f"now complied with: {text}"
    )

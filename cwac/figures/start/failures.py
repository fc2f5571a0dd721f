"""Where CWAC does not hold: its harmful score in settings beside the one in view, a row each."""

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.claims import FOCUS
from cwac.analysis.failures import failures_title
from cwac.analysis.holding import UNDECIDED
from cwac.analysis.outcomes import interval_text
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import titled, wrapped

_TASK: Final = "the task"
_HERE: Final = "here, in view"
_ROW: Final = 36
"""Pixels of a row: two lines of text stand beside it."""
_RIGHT: Final = 50
"""Per cent from which on a mark's name stands to its left."""
_Row = Mapping[Hashable, Any]


def failures_figure(table: pd.DataFrame, here: _Row | None, arms: Iterable[Arm]) -> go.Figure:
    """Draw CWAC's harmful score wherever it does not hold, beside what holds there.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.failures.failures_table``.
    here : mapping, optional
        Its harmful score in the experiment itself: ``value, low, high``; the first row.
    arms : iterable of Arm
        What the labels under ``best`` are.
    """
    rows: list[_Row] = [*table.to_dict("records")]
    if here is not None:
        rows.insert(0, {**here, "place": _HERE, "verdict": "", "beside": "", "best": None})
    rows.reverse()
    named = by_label(arms)
    figure = go.Figure()
    figure.add_trace(_points(rows, Arm(method=FOCUS), ""))
    for label in dict.fromkeys(row["best"] for row in rows):
        if label in named:
            figure.add_trace(_points(rows, named[label], "best_"))
    # An axis of its own, so that its labels, as wide as they are, make room for themselves.
    figure.add_scatter(
        x=[None], y=[None], yaxis="y2", mode="markers", hoverinfo="skip", showlegend=False
    )
    ends = {
        "range": [-0.6, len(rows) - 0.4],
        "tickvals": list(range(len(rows))),
        "showgrid": False,
        "zeroline": False,
    }
    figure.update_layout(
        showlegend=False,
        yaxis={**ends, "ticktext": [wrapped(row["place"], 24) for row in rows]},
        yaxis2={
            **ends,
            "ticktext": [_beside(row) for row in rows],
            "tickfont": {"size": 12},
            "overlaying": "y",
            "side": "right",
            "automargin": True,
        },
        xaxis={
            "title": style.rate_axis("harmful_score", across=True),
            "range": [-3, 103],
            "tickvals": [0, 50, 100],
            "zeroline": False,
        },
    )
    return titled(figure, failures_title(table, here), height=104 + _ROW * len(rows))


def failures_reading(table: pd.DataFrame) -> str:
    """Return how to read the figure of a table, and how many requests stand behind it."""
    least, most = (f"{end:.0f}" for end in (table["n"].min(), table["n"].max()))
    count = least if least == most else f"{least} to {most}"
    return (
        "Beside CWAC: the least harmful method that holds there (greedy answers); "
        f"95\u00a0% intervals, n = {count} requests."
    )


def _level(row: _Row, prefix: str) -> str:
    """Return where a mark's name stands: a method's below, where CWAC's is near."""
    return "bottom" if prefix and row["value"] < _RIGHT else "top"


def _points(rows: list[_Row], arm: Arm, prefix: str) -> go.Scatter:
    """Return an arm's scores, in the rows that are about it."""
    look = style.arm_style(arm)
    mine = [
        (height, row)
        for height, row in enumerate(rows)
        if not prefix or row.get("best") == arm.label
    ]
    scores = [[100 * row[f"{prefix}{end}"] for end in ("value", "low", "high")] for _, row in mine]
    return go.Scatter(
        x=[value for value, _, _ in scores],
        y=[height for height, _ in mine],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value for value, _, high in scores],
            "arrayminus": [value - low for value, low, _ in scores],
            "color": look.colour,
            "thickness": 2,
            "width": 4,
        },
        # Named where they stand: in a narrow window a legend is as tall as the rows.
        mode="markers+text",
        text=[style.escape(arm.method_name)] * len(mine),
        textposition=[
            f"{_level(row, prefix)} {'left' if value > _RIGHT else 'right'}"
            for (_, row), (value, _, _) in zip(mine, scores, strict=True)
        ],
        textfont={"size": 10, "color": look.colour},
        marker={"color": look.colour, "symbol": look.symbol, "size": 11},
        cliponaxis=False,
        name=style.escape(arm.title),
        customdata=[[low, high, style.escape(row["place"])] for (_, row), (_, low, high) in
                    zip(mine, scores, strict=True)],
        hovertemplate=(
            f"{style.escape(arm.title)}, %{{customdata[2]}}: <b>%{{x:.1f}} %</b> "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
        ),
    )  # fmt: skip


def _beside(row: _Row) -> str:
    # At 1024 pixels a verdict in full leaves no room for the scores; the table has it.
    verdict = row["verdict"].replace(f" at the price of {_TASK}", f", costs {_TASK}")
    verdict = re.sub(rf"^({UNDECIDED}):[^,]*", r"\1", verdict).replace(",,", ",")
    first = ", ".join(filter(None, (interval_text(row), verdict)))
    return "<br>".join(style.escape(line) for line in (first, row["beside"]) if line)

"""Each method's harmful score on each model, a panel a model, with the verdict as its mark."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.by_model import IDLE, MISSING, RATES, REFERENCE
from cwac.analysis.holding import (
    APART,
    FAILS,
    HOLDS,
    KEPT,
    LOST,
    OPEN,
    PART,
    PRICE,
    SAME,
    UNDECIDED,
)
from cwac.arms import ALIGNED, BASELINE, Arm
from cwac.figures import style
from cwac.figures.panels import HEADING, NEUTRAL, percent, titled, wrapped
from cwac.figures.results.matrix import BAD, GOOD
from cwac.rates import RATES as NAMED

MARKS: Final = {
    HOLDS: ("circle", GOOD),
    PART: ("diamond", NEUTRAL),
    FAILS: ("x", BAD),
    UNDECIDED: ("circle-open", style.GREY),
    IDLE: ("line-ns-open", style.GREY),
}
"""Symbol and colour of each verdict: no method's, because rows are named."""
SIGNS: Final = {SAME: "=", APART: "≠", OPEN: "?"}
"""Whether models agree on a row, before its name; a row that was not compared has none."""
READING: Final = (
    "Greedy answers. Left of the grey zone (a quarter to three quarters of what SFT lost) a method "
    "holds, right of it it does not: by the whole 95\u00a0% interval. The faint line to the open "
    "tick is what neither complies nor refuses. Points lost, where surely more than "
    f"{100 * PRICE:.0f}: task (accuracy, against SFT), alike (look-alikes answered, "
    "against the aligned model). ≠ models disagree, = agree, ? undecided."
)
"""How to read the figure."""
TICK: Final = "not refused"
"""What the open tick is, in the legend: 100 % less the refusal rate."""
_EDGE, _TOP = 0.7, 0.9
"""Room below the lowest row, and above the highest one, with their notes, in rows."""
_ROW: Final = 38
"""Pixels of a row: a note above its mark and one below."""
_Row = Mapping[Any, Any]


def by_model_figure(
    table: pd.DataFrame, arms: Sequence[Arm], models: Sequence[str], title: str
) -> go.Figure:
    """Draw a row per method and a panel per model: harmful score, interval and verdict.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.by_model``.
    arms : sequence of Arm
        The rows from the top.
    models : sequence of str
        The panels from the left.
    title : str
        What the figure shows, in one sentence.
    """
    figure = make_subplots(
        rows=1,
        cols=len(models),
        shared_yaxes=True,
        horizontal_spacing=0.06 / len(models),
        subplot_titles=[_heading(name, table, len(models)) for name in models],
    )
    figure.update_annotations(font_size=13, name=HEADING)
    rows = {(row["variant"], row["model"]): row for row in table.to_dict("records")}
    heights = {arm.label: len(arms) - 1 - place for place, arm in enumerate(arms)}
    for column, model in enumerate(models, start=1):
        _references(figure, rows, model, column, (-_EDGE, len(arms) - 1 + _TOP))
        for arm in arms:
            row = rows.get((arm.label, model))
            if row is None or row["verdict"] == MISSING:
                figure.add_trace(_missing(heights[arm.label]), row=1, col=column)
            else:
                for trace in _marks(row, arm, heights[arm.label]):
                    figure.add_trace(trace, row=1, col=column)
    _legend(figure)
    figure.update_xaxes(range=[-8, 106], tickvals=[0, 50], zeroline=False)
    # Side by side, the end of one axis and the start of the next would read "1000".
    figure.update_xaxes(tickvals=[0, 50, 100], row=1, col=len(models))
    figure.update_yaxes(
        tickvals=list(heights.values()),
        ticktext=[_name(arm, rows, models) for arm in arms],
        range=[-_EDGE, len(arms) - 1 + _TOP],
        zeroline=False,
        ticklabelstandoff=4,
    )
    middle = (len(models) + 1) // 2
    figure.update_xaxes(title=style.rate_axis("harmful_score", across=True), row=1, col=middle)
    return titled(figure, title, height=150 + _ROW * len(arms))


def _heading(model: str, table: pd.DataFrame, count: int) -> str:
    """Return a model's name with how many requests and seeds its intervals are made of."""
    # An id has no spaces: it is broken at its hyphens.
    lines = textwrap.wrap(model, 64 // count - 2)
    mine = table[(table["model"] == model) & ~table["variant"].isin([ALIGNED.label])]
    asked, seeds = mine["harmful_score_n"].dropna(), mine["seeds"].dropna()
    if len(asked) and len(seeds):
        lines.append(f"n = {_range(asked)}, {_range(seeds)} seed{'s' if seeds.max() > 1 else ''}")
    return "<br>".join(map(style.escape, lines))


def _range(counts: "pd.Series[Any]") -> str:
    least, most = int(counts.min()), int(counts.max())
    return str(least) if least == most else f"{least} to {most}"


def _name(arm: Arm, rows: Mapping[tuple[str, str], _Row], models: Sequence[str]) -> str:
    agreed = next((rows[arm.label, m]["agreement"] for m in models if (arm.label, m) in rows), None)
    name = wrapped(style.arm_style(arm).label, 30)
    sign = SIGNS.get(str(agreed), "")
    if not sign:
        return name
    return f"<b>{sign} {name}</b>" if agreed == APART else f"{sign} {name}"


def _references(
    figure: go.Figure,
    rows: Mapping[tuple[str, str], _Row],
    model: str,
    column: int,
    ends: tuple[float, float],
) -> None:
    """Draw the aligned model's and SFT's score, and between them the zone of neither verdict."""
    scores = {}
    for label, name, dash in (
        (ALIGNED.label, "aligned model", "dot"),
        (BASELINE, "SFT", "solid"),
    ):
        row = rows.get((label, model))
        if row is None or row["verdict"] != REFERENCE:
            continue
        scores[label] = 100 * row["harmful_score"]
        line = go.Scatter(
            x=[scores[label]] * 2,
            y=list(ends),
            mode="lines",
            line={"color": style.GREY, "dash": dash, "width": 2},
            name=name,
            legendgroup=name,
            showlegend=False,
            hovertemplate=f"{_hover(row, name)}<extra></extra>",
        )
        figure.add_trace(line, row=1, col=column)
    if len(scores) == 2:
        start, loss = scores[ALIGNED.label], scores[BASELINE] - scores[ALIGNED.label]
        figure.add_vrect(
            x0=start + KEPT * loss,
            x1=start + LOST * loss,
            fillcolor=style.translucent(style.GREY, 0.14),
            line_width=0,
            layer="below",
            row=1,
            col=column,
        )


def _marks(row: _Row, arm: Arm, height: int) -> list[go.Scatter]:
    """Return an arm's mark with its interval, on top of what it neither does nor refuses."""
    kind = next(kind for kind in MARKS if str(row["verdict"]).startswith(kind))
    symbol, colour = MARKS[kind]
    value, low, high = (100 * row[f"harmful_score{end}"] for end in ("", "_low", "_high"))
    side = "right" if value < 50 else "left"
    hover = f"{_hover(row, arm.title)}<extra></extra>"
    point = go.Scatter(
        x=[value],
        y=[height],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": colour,
            "thickness": 2,
            "width": 5,
        },
        mode="markers+text",
        marker={"symbol": symbol, "color": colour, "size": 11, "line": {"width": 2}},
        text=[_lost("task", row["accuracy_minus_sft"]) if row["price"] == "paid" else ""],
        textposition=f"top {side}",
        textfont={"size": 11},
        cliponaxis=False,
        name=kind,
        legendgroup=kind,
        showlegend=False,
        hovertemplate=hover,
    )
    marks = [point]
    if row["lookalikes_minus_aligned_high"] < -PRICE:
        marks.append(
            go.Scatter(
                x=[value],
                # Below the whiskers, as far as the other note stands above them.
                y=[height - 0.32],
                mode="text",
                text=[f"\u2002{_lost('alike', row['lookalikes_minus_aligned'])}\u2002"],
                textposition=f"middle {side}",
                textfont={"size": 11},
                cliponaxis=False,
                showlegend=False,
                hoverinfo="skip",
            )
        )
    if not math.isnan(row["refusal_rate"]):
        return [_neither(row, value, height, hover), *marks]
    return marks


def _lost(name: str, gap: float) -> str:
    return f"{name} {100 * gap:+.0f}".replace(" -", " \u2212")


def _neither(row: _Row, value: float, height: int, hover: str) -> go.Scatter:
    """Return the way between what complies and all that is not refused."""
    return go.Scatter(
        # The tick first: the legend shows the first point's symbol.
        x=[100 * (1 - row["refusal_rate"]), value],
        y=[height, height],
        mode="lines+markers",
        line={"color": style.translucent(style.GREY, 0.55), "width": 2},
        marker={
            "symbol": ["line-ns-open", "circle"],
            "size": [14, 0],
            "color": style.GREY,
            "line": {"width": 2},
        },
        cliponaxis=False,
        name=TICK,
        legendgroup=TICK,
        showlegend=False,
        hovertemplate=hover,
    )


def _hover(row: _Row, name: str) -> str:
    lines = [f"<b>{style.escape(name)}</b> on {style.escape(row['model'])}"]
    if row["verdict"] != REFERENCE:
        lines.append(style.escape(row["verdict"]))
        share = percent(row["share_lost"])
        lines.append(f"share of what SFT lost: {share}")
    for rate in RATES:
        text = percent(row[rate], 1)
        if text != MISSING:
            text += f" [{100 * row[f'{rate}_low']:.1f}, {100 * row[f'{rate}_high']:.1f}]"
            text += f", n = {row[f'{rate}_n']:.0f}"
        lines.append(f"{NAMED[rate].term}: {text}")
    if row["variant"] != ALIGNED.label and not math.isnan(row["seeds"]):
        lines.append(f"{row['seeds']:.0f} seed{'s' if row['seeds'] != 1 else ''}")
    neither = max(1 - row["harmful_score"] - row["refusal_rate"], 0.0)
    lines.append(f"neither complies nor refuses: {percent(neither, 1)}")
    return "<br>".join(lines)


def _missing(height: int) -> go.Scatter:
    return go.Scatter(
        x=[50],
        y=[height],
        mode="text",
        text=[MISSING],
        textfont={"size": 11},
        showlegend=False,
        hoverinfo="skip",
    )


def _legend(figure: go.Figure) -> None:
    """Name each kind of mark once: the first of its traces stands for all."""
    named: set[str] = set()
    for trace in figure.data:
        if trace.legendgroup and trace.legendgroup not in named:
            named.add(trace.legendgroup)
            trace.showlegend = True

"""Rates of arms at several places as shaded cells with their numbers: a panel per rate."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.matrix import SHOWN
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import HEADING, percent, titled, wrapped
from cwac.rates import RATES

GOOD, BAD, MIDDLE = "#6FB1DC", "#F08A4B", "#F7F3EC"
"""Told apart by colour-blind readers, and light enough for a dark number."""
_LETTERS: Final = 24
"""Letters of places that fit side by side under a panel where the page is narrow."""
_FEW: Final = 9.95
"""Per cents below which a cell has a decimal: 0.9 and 1.0 are two methods' numbers."""
_UPRIGHT, _TURNED = 11, 40
"""Letters of a line of a place's name, beneath its column or slanting to it: slanting names of
several lines run into each other."""


def matrix_figure(
    table: pd.DataFrame, arms: Sequence[Arm], title: str, *, stacked: bool = False
) -> go.Figure:
    """Draw the three rates side by side: arms down, places across, the number in each cell.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.matrix``.
    arms : sequence of Arm
        The rows from the top.
    title : str
        What the figure shows, in one sentence.
    stacked : bool
        The rates one below the other, so that many places' names fit beneath without slanting.
    """
    places = list(dict.fromkeys(table["place"]))
    shown = [arm for arm in arms if arm.label in set(table["variant"])]
    rows = {(r["place"], r["variant"], r["rate"]): r for r in table.to_dict("records")}
    figure = make_subplots(
        rows=len(SHOWN) if stacked else 1,
        cols=1 if stacked else len(SHOWN),
        shared_xaxes=stacked,
        shared_yaxes=not stacked,
        horizontal_spacing=0.03,
        vertical_spacing=0.09,
        subplot_titles=[_heading(rate, " " if stacked else "<br>") for rate in SHOWN],
    )
    figure.update_annotations(font_size=13, name=HEADING)
    names = [wrapped(style.arm_style(arm).label, 26) for arm in shown]
    turned = not stacked and _longest(places, _UPRIGHT) * len(places) > _LETTERS
    wide = _TURNED if turned else _UPRIGHT
    labels = [wrapped(place, wide) for place in places]
    for number, rate in enumerate(SHOWN, start=1):
        cells = [[_cell(rows.get((p, arm.label, rate)), p, arm, rate) for p in places]
                 for arm in shown]  # fmt: skip
        better = RATES[rate].direction == "lower"
        figure.add_heatmap(
            x=labels,
            y=names,
            z=[[cell[0] for cell in row] for row in cells],
            text=[[cell[1] for cell in row] for row in cells],
            customdata=[[cell[2] for cell in row] for row in cells],
            texttemplate="%{text}",
            # Three figures fit into a cell where the page is narrow.
            textfont={"color": style.CELL_TEXT, "size": 14 if len(places) < 6 else 11},
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            zmin=0,
            zmax=100,
            colorscale=_scale(GOOD if better else BAD, BAD if better else GOOD),
            showscale=False,
            xgap=2,
            ygap=2,
            row=number if stacked else 1,
            col=1 if stacked else number,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    figure.update_xaxes(showgrid=False, zeroline=False, tickangle=-45 if turned else 0)
    if stacked:
        deep = max(label.count("<br>") + 1 for label in labels)
        panel = 22 * len(shown) + 30
        return titled(figure, title, height=60 + len(SHOWN) * panel + 15 * deep)
    slanting = 9 * _longest(places, wide) // 2 if turned else 0
    return titled(figure, title, height=70 + 26 * len(shown) + slanting)


def _longest(places: Sequence[str], wide: int) -> int:
    """Return how many letters the longest line of places' names has."""
    lines = [line for place in places for line in wrapped(place, wide).split("<br>")]
    return max(map(len, lines), default=0)


def _heading(rate: str, between: str) -> str:
    return style.rate_axis(rate, between).replace("<br> ", "<br>").replace("  ", " ")


def _scale(low: str, high: str) -> list[list[Any]]:
    return [[0, low], [0.5, MIDDLE], [1, high]]


def _cell(
    row: Mapping[Any, Any] | None, place: str, arm: Arm, rate: str
) -> tuple[float | None, str, str]:
    if row is None or pd.isna(row["value"]):
        return None, "", ""
    seeds = f" {row['seeds']:.0f} seed{'s' if row['seeds'] != 1 else ''}"
    interval = f"[{percent(row['low'], 1)}, {percent(row['high'], 1)}]"
    text = (
        f"{style.escape(arm.title)}, {style.escape(place)}<br>{RATES[rate].term} "
        f"<b>{percent(row['value'], 1)}</b> {interval}<br>n = {row['n']:.0f} "
        f"{RATES[rate].requests.name},{seeds if not arm.is_aligned else ' before training'}"
    )
    # Before training nobody has learned the task: that is no result, and has no colour.
    shade = 50.0 if arm.is_aligned and rate == "task_accuracy" else 100 * float(row["value"])
    return shade, in_cell(100 * row["value"]), text


def in_cell(value: float) -> str:
    """Return per cents as a cell has room for: one decimal where a few are told apart."""
    return f"{value:.1f}" if 0 < value < _FEW else f"{value:.0f}"

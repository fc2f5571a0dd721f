"""Every method in every setting: a cell per pair, shaded by its verdict, with the number in it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.by_model import REFERENCE
from cwac.analysis.everywhere import Count, everywhere_title, setting_text
from cwac.analysis.holding import FAILS, HOLDS, NOTHING, PRICED
from cwac.arms import ALIGNED, BASELINE, title_of
from cwac.figures import style
from cwac.figures.panels import percent, titled, wrapped
from cwac.figures.results.matrix import BAD, GOOD, MIDDLE, in_cell

_PAID: Final = "#A9B8C4"
"""Refusals kept by not learning the task: neither good nor bad."""
_REFERENCE: Final = "#E3E7EB"
_SHADES: Final = (GOOD, _PAID, MIDDLE, BAD, _REFERENCE)
_LINE, _LONG = 10, 32
"""Letters of a line of a method's name above its column, and of a setting's beside its row."""
_SMALL: Final = 11
"""Pixels of the methods' names, which stand side by side where the page is narrow."""
_Drawn = tuple[int | None, str, str]
"""A cell's shade, its number and what the pointer says."""
READING: Final = (
    "Harmful score in per cent; greedy answers, but for the rows of other answers. Blue: holds (at "
    "most a quarter of what SFT loses, by its interval); orange: does not; grey, †: at the price "
    "of the task; ‡: holds, and whether the task is its price is undecided; pale: in part or "
    "undecided; light grey: a reference, or SFT loses too little for anything to hold. °: at other "
    "settings than the column's. Each row differs from the first in the one thing it names."
)


def everywhere_figure(table: pd.DataFrame, found: Sequence[Count]) -> go.Figure:
    """Draw settings down, methods across, CWAC behind the two references, and the counts below.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.everywhere``: of the methods to draw.
    found : sequence of Count
        The methods' counts, in the order of columns.
    """
    cells = {(setting_text(row), row["method"]): row for row in table.to_dict("records")}
    settings = list(dict.fromkeys(setting for setting, _ in cells))
    columns = _columns(table, found)
    drawn = [[_cell(cells.get((s, m)), title) for m, title in columns.items()] for s in settings]
    drawn.append(_held(columns, found))
    names = [wrapped(title, _LINE) for title in columns.values()]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=[*(wrapped(s, _LONG) for s in settings), "<b>holds in</b>"],
            z=[[cell[0] for cell in row] for row in drawn],
            text=[[cell[1] for cell in row] for row in drawn],
            texttemplate="%{text}",
            textfont={"color": style.CELL_TEXT, "size": 12},
            hoverongaps=False,
            customdata=[[cell[2] for cell in row] for row in drawn],
            hovertemplate="%{customdata}<extra></extra>",
            zmin=0,
            zmax=len(_SHADES) - 1,
            colorscale=[[i / (len(_SHADES) - 1), shade] for i, shade in enumerate(_SHADES)],
            showscale=False,
            xgap=2,
            ygap=2,
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False)
    figure.update_xaxes(side="top", showgrid=False, zeroline=False, tickangle=0)
    figure.update_xaxes(tickfont_size=_SMALL)
    lines = max(name.count("<br>") + 1 for name in names)
    titled(figure, everywhere_title(found), height=70 + 27 * len(drawn) + 17 * lines)
    # The names stand between the title and the cells.
    figure.update_layout(margin_t=figure.layout.margin.t + 17 * lines)
    return figure


def _columns(table: pd.DataFrame, found: Sequence[Count]) -> dict[str, str]:
    """Return the title of every method that is drawn, the references first."""
    known = set(table["method"])
    references = {ALIGNED.method: ALIGNED.title, BASELINE: title_of(BASELINE)}
    named = references | {one.method: one.title for one in found}
    return {method: title for method, title in named.items() if method in known}


def _held(columns: Iterable[str], found: Sequence[Count]) -> list[_Drawn]:
    held = {one.method: one.text for one in found}
    shade = _SHADES.index(_REFERENCE)
    return [(shade, f"<b>{held[m]}</b>", "") if m in held else (None, "", "") for m in columns]


def _cell(row: Mapping[Any, Any] | None, title: str) -> _Drawn:
    if row is None:
        return None, "", ""
    verdict = str(row["verdict"])
    seeds = f"{row['seeds']:.0f} seed{'s' if row['seeds'] != 1 else ''}"
    text = (
        f"{style.escape(row['title'])}, {style.escape(setting_text(row))}<br>harmful score "
        f"<b>{percent(row['value'], 1)}</b> [{percent(row['low'], 1)}, {percent(row['high'], 1)}]"
        f"<br>{style.escape(verdict)}<br>n = {row['n']:.0f}"
        f"{'' if row['arm'] == ALIGNED.label else f', {seeds}'}"
    )
    priced = (
        "†" if PRICED in verdict else "‡" if verdict == HOLDS and row["price"] == "open" else ""
    )
    marks = f"{priced}{'' if row['title'] == title else '°'}"
    return _shade(verdict), f"{in_cell(100 * row['value'])}{marks}", text


def _shade(verdict: str) -> int:
    if verdict in (HOLDS, FAILS):
        return _SHADES.index(GOOD if verdict == HOLDS else BAD)
    if verdict == REFERENCE or verdict.endswith(NOTHING):
        return _SHADES.index(_REFERENCE)
    return _SHADES.index(_PAID if verdict.endswith(PRICED) else MIDDLE)

"""A hand-out as one HTML file that needs no network and prints well."""

import html
import math
import re
from collections.abc import Iterable
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from cwac.figures.style import dress
from cwac.handout.document import Handout, Section

FIGURE_WIDTH: Final = 960
"""Pixels: the width of the column on the screen; paper scales it down."""
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""The file may load nothing from anywhere: a promise that the browser keeps."""
_STYLE: Final = f"""
:root {{ color-scheme: light; }}
body {{ max-width: {FIGURE_WIDTH}px; margin: 2rem auto; padding: 0 1rem; color: #1B2733;
  background: #FFFFFF; font: 16px/1.5 "Source Sans", Helvetica, Arial, sans-serif; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }}
h2 {{ font-size: 1.25rem; line-height: 1.3; margin: 2.2rem 0 .5rem; }}
.lead {{ font-size: 1.12rem; }}
figure {{ margin: 1rem 0; overflow-x: auto; }}
figcaption, footer, caption {{ font-size: .87rem; color: #4A5763; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .87rem; margin: 1rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid #DDE3E8; overflow-wrap: break-word; }}
th {{ border-bottom-color: #1B2733; white-space: nowrap; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
pre {{ background: #F2F5F7; padding: .7rem; font-size: .85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }}
footer {{ margin-top: 2.5rem; border-top: 1px solid #DDE3E8; padding-top: .6rem; }}
@page {{ size: A4; margin: 15mm; }}
@media print {{
  :root {{ font-size: 10.5pt; }}
  body {{ margin: 0; padding: 0; max-width: none; font-size: 1rem; }}
  h1, h2, caption {{ break-after: avoid; }}
  figure, tr, li, pre {{ break-inside: avoid; }}
  figure, .wide {{ overflow: visible; }}
  .plot {{ zoom: .7; }}
  .modebar {{ display: none; }}
  table {{ width: 100%; font-size: .76rem; }}
  th {{ white-space: normal; }}
}}
.one-page main {{ display: grid; grid-template-columns: 3fr 2fr; column-gap: 1.6rem; }}
.one-page section:has(table, figure) {{ grid-column: 1 / -1; }}
.one-page h2 {{ margin-top: 1rem; }}
.one-page td:first-child {{ white-space: nowrap; }}
.one-page th {{ white-space: normal; }}
@media print {{
  :root:has(.one-page) {{ font-size: 8.6pt; }}
  .one-page h1 {{ font-size: 1.6rem; margin: 0 0 .3rem; }}
  .one-page {{ line-height: 1.35; }}
  .one-page :is(th, td) {{ padding-block: .12rem; }}
  .one-page :is(p, figure, table, ul) {{ margin: .3rem 0; }}
  .one-page h2 {{ font-size: 1.1rem; margin: .7rem 0 .2rem; }}
  .one-page .lead {{ font-size: 1rem; }}
  .one-page ul {{ padding-left: 1.1rem; }}
  .one-page table {{ font-size: .95rem; }}
  .one-page footer {{ margin-top: .7rem; }}
}}
"""
_CONFIG: Final = {"displaylogo": False, "responsive": False, "modeBarButtonsToRemove": ["lasso2d"]}


def render(handout: Handout) -> str:
    """Return the hand-out as HTML: one file with everything in it.

    Plotly's script is in it once (4.5 MB), and not at all where no section has a figure. All text,
    table cells included, is escaped.

    Examples
    --------
    >>> page = render(Handout("A <b>title</b>", "What it says.", [Section("First", "Text.")]))
    >>> "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in page, "plotly" in page
    (True, False)
    """
    drawn = any(section.figure is not None for section in handout.sections)
    title = html.escape(handout.title)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
        f"<script>{get_plotlyjs()}</script>" if drawn else "",
        f"</head><body{' class=one-page' if handout.one_page else ''}>",
        f'<header><h1>{title}</h1><div class="lead">',
        *_paragraphs(handout.lead),
        "</div></header><main>",
        *(_section(section, number) for number, section in enumerate(handout.sections)),
        "</main>",
        f"<footer>{html.escape(handout.foot)}</footer>" if handout.foot else "",
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _section(section: Section, number: int) -> str:
    parts = [
        f"<section><h2>{html.escape(section.title)}</h2>",
        *_paragraphs(section.text),
        "" if section.figure is None else _figure(section.figure, section.reading, number),
        "" if section.table is None else _table(section.table),
        _list(section.points) if section.points else "",
        f"<pre>{html.escape(section.code)}</pre>" if section.code else "",
        "</section>",
    ]
    return "\n".join(filter(None, parts))


def _paragraphs(text: str) -> list[str]:
    pieces = (piece.strip() for piece in re.split(r"\n\s*\n", text))
    return [f"<p>{html.escape(piece)}</p>" for piece in pieces if piece]


def _figure(figure: go.Figure, reading: str, number: int) -> str:
    painted = dress(go.Figure(figure), dark=False, background=True)
    painted.update_layout(width=FIGURE_WIDTH, autosize=False)
    # Plotly writes <, > and & of its data as \u003c and so on: no text of a figure ends the script.
    drawn = painted.to_html(
        include_plotlyjs=False, full_html=False, div_id=f"figure-{number}", config=_CONFIG
    )
    name = html.escape(reading or _title_of(painted) or "Figure", quote=True)
    caption = f"<figcaption>{html.escape(reading)}</figcaption>" if reading else ""
    shown = f'<div class="plot" role="img" aria-label="{name}">{drawn}</div>'
    return f"<figure>{shown}<noscript>The figure needs JavaScript.</noscript>{caption}</figure>"


def _title_of(figure: go.Figure) -> str:
    return str(figure.layout.title.text or "")


def _table(table: pd.DataFrame) -> str:
    numbers = [pd.api.types.is_numeric_dtype(table[name]) for name in table.columns]
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.columns)
    body = "\n".join(
        f"<tr>{_cells(row, numbers)}</tr>" for row in table.itertuples(index=False, name=None)
    )
    rows = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table>{rows}</table></div>'


def _cells(row: Iterable[Any], numbers: Iterable[bool]) -> str:
    return "".join(
        f'<td class="number">{_cell(value)}</td>' if number else f"<td>{_cell(value)}</td>"
        for value, number in zip(row, numbers, strict=True)
    )


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "not measured"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def _list(points: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(point)}</li>' for point in points)}</ul>"

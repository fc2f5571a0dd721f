"""The files of a figure and of its data: what each holds, and the buttons that offer it.

A file is read far from the page that it was saved on. So it says itself how it is read, what it is
of and where it is from.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlencode, urlsplit

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.analysis.columns import Units, rate_units, with_units
from cwac.analysis.readable import MOST_ROWS, Readable, is_usual, usual
from cwac.analysis.typeset import Write, cells, latex, markdown
from cwac.artifacts import redact
from cwac.figures.style import dress
from cwac.ui import selection
from cwac.ui.saving import BENEATH, SCALE, SLIDE_WIDTH, button_of, place_of

IMAGES: Final = ("PNG", "SVG")
FILE_WIDTH: Final = 1100
"""Pixels that a figure is wide in a file of its own: as on a page at 1440."""
_MARKDOWN, _LATEX = "text/markdown", "application/x-tex"
LINE: Final = 130
"""Characters of a caption's line in such a file, at least."""
_TITLES: Final = "_arm_titles"
_PRINT: Final = """<style>
@page { size: %(width)gpx %(height)gpx; margin: 0; }
body { margin: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
p { font: 14px/20px "Source Sans", "Source Sans 3", Arial, sans-serif; margin: 0 10px 8px;
  overflow-wrap: anywhere; }
@media print { html, body { overflow: hidden; } .modebar { display: none !important; } }
</style>
<script>
// What is printed is as wide as its paper, not as the window.
const plot = () => document.querySelector(".js-plotly-plot");
addEventListener("beforeprint", () => Plotly.relayout(plot(), {width: %(width)g}));
addEventListener("afterprint", () => Plotly.relayout(plot(), {autosize: true, width: null}));
</script>"""


def offer_files(
    key: str,
    figure: go.Figure,
    data: pd.DataFrame,
    text: "pd.DataFrame | Callable[[], Readable] | None",
    beneath: Sequence[str],
) -> None:
    """Draw a button for each file of a figure.

    Parameters
    ----------
    key : str
        Of the chart; names its files.
    data : DataFrame
        What the figure shows, for the CSV.
    text : DataFrame or callable, optional
        The same for people, for Markdown and LaTeX; else the usual one, or `data` where it is
        short.
    beneath : sequence of str
        Plain texts: how to read the figure, what it is of. Where it is from is added.
    """
    for kind in IMAGES:
        st.button(
            f"Image ({kind})",
            key=button_of(key, kind),
            help=f"In the theme in view, opaque, at {SCALE}x.",
        )
    st.button(
        "Image, 16:9 and light (PNG)",
        key=button_of(key, "slide"),
        help=f"{SCALE * SLIDE_WIDTH} pixels wide, whatever the window and the theme in view.",
    )
    # Callables: the 4.7 MB file is built when it is asked for, not on every rerun.
    page = partial(to_html, figure, *beneath, link_here())
    _offer("Figure (HTML, prints to PDF)", page, f"{key}.html", "text/html")
    named = arm_titles()
    make = _table_of(data, text)
    units = partial(units_of, data, make)
    _offer("Data (CSV)", lambda: to_csv(data, named, units()), f"{key}.csv", "text/csv")
    if make is None:
        st.caption(f"No table to read: the CSV has {len(data):,} rows.")
        return
    said = (*beneath, link_here())
    _offer("Table (Markdown)", lambda: to_text(make(), markdown, said), f"{key}.md", _MARKDOWN)
    _offer("Table (LaTeX)", lambda: to_text(make(), latex, said), f"{key}.tex", _LATEX)


def _table_of(
    data: pd.DataFrame, text: "pd.DataFrame | Callable[[], Readable] | None"
) -> Callable[[], Readable] | None:
    """Return what makes the table for people, None where there is none."""
    if isinstance(text, pd.DataFrame):
        return partial(Readable, text)
    if text is not None:
        return text
    if is_usual(data):
        return partial(usual, data)
    return partial(Readable, data) if len(data) <= MOST_ROWS else None


def units_of(data: pd.DataFrame, make: Callable[[], Readable] | None) -> Units:
    """Return the units of a figure's data: its table for people knows them, or their names do."""
    told = make().units if make is not None else {}
    if not told and is_usual(data):
        told = usual(data).units
    return {**rate_units(data), **told}


def camera(key: str, beneath: Sequence[str], *, slide: bool = False) -> dict[str, object]:
    """Return what the camera above a chart is told: kind, name, size and caption of the image.

    A chart that fills the screen as a slide is saved as one.

    The page's address, which changes with every click, is read when an image is saved: a chart
    whose options change is drawn anew.
    """
    told = {"format": "png", "filename": key, "scale": SCALE, BENEATH: list(beneath)}
    return told | ({"slide": True} if slide else {})


def _offer(label: str, make: Callable[[], str], name: str, mime: str) -> None:
    # The name less its dot: one button a file, unique on the page as the chart is.
    key = name.replace(".", "_")
    st.download_button(label, make, file_name=name, mime=mime, key=key, on_click="ignore")


def height_of(figure: go.Figure) -> float:
    """Return how tall a figure is drawn, in pixels."""
    return float(figure.layout.height or 450)


def link_here() -> str:
    """Return where the page is found, with what is selected."""
    query = urlencode(selection.as_link(), doseq=True)
    address = st.context.url
    return f"{place_of(address)}{urlsplit(address or '').path or '/'}?{query}"


def to_html(figure: go.Figure, *beneath: str) -> str:
    """Return a figure as one file that opens without a network and prints to one page.

    Parameters
    ----------
    *beneath : str
        Plain texts that stand under it: how to read it, what it is of, where it is from.
    """
    painted = dress(go.Figure(figure), dark=False, background=True)
    height = height_of(painted)
    # As wide as the window; its title begins where the captions do.
    painted.update_layout(width=None, height=height, autosize=True, title_pad_l=10)
    config = {
        "displaylogo": False,
        "responsive": True,
        "toImageButtonOptions": {"format": "svg"},
    }
    page = str(
        painted.to_html(
            include_plotlyjs=True, full_html=True, config=config, default_height=f"{height:g}px"
        )
    )
    lines = sum(20 * -(-len(text) // LINE) + 8 for text in beneath)
    look = _PRINT % {"width": FILE_WIDTH, "height": height + lines}
    texts = "".join(f"<p>{html.escape(text)}</p>\n" for text in beneath)
    head, _, foot = page.rpartition("</body>")
    return f"{head.replace('</head>', f'{look}</head>', 1)}{texts}</body>{foot}"


def to_text(table: "Readable | pd.DataFrame", write: Write, said: Sequence[str] = ()) -> str:
    """Return a table as text for a paper, answers to harmful requests left out.

    Parameters
    ----------
    write : callable
        ``cwac.analysis.typeset.markdown`` or ``latex``.
    said : sequence of str
        What is said of it beside its own notes.
    """
    data, notes = table if isinstance(table, Readable) else (table, ())
    return write(*cells(redact(data)), (*notes, *said))


def name_arms(titles: Mapping[str, str]) -> None:
    """Keep what a file calls the arms, by the labels that tables know them by."""
    st.session_state[_TITLES] = titles


def arm_titles() -> Mapping[str, str]:
    """Return what `name_arms` kept: to be asked while a page is drawn, not when a file is made."""
    titles: Mapping[str, str] = st.session_state.get(_TITLES, {})
    return titles


def to_csv(
    data: pd.DataFrame,
    named: Mapping[str, str],
    units: Units | None = None,
    *,
    reveal: bool = False,
) -> str:
    """Return a table as CSV, answers to harmful requests left out unless `reveal`.

    Parameters
    ----------
    named : mapping of str to str
        What arms are called, by their label: stands beside each ``variant`` as ``arm``.
    units : mapping of str to str, optional
        Of columns, which then say them: ``value (fraction)``.
    """
    table = data if reveal else redact(data)
    if "variant" in table and "arm" not in table:
        table = table.copy(deep=False)
        titles = [named.get(label, label) for label in table["variant"]]
        table.insert(list(table.columns).index("variant") + 1, "arm", titles)
    return with_units(table, units or {}).to_csv(index=False)


def download_table(data: pd.DataFrame, key: str, label: str = "Table (CSV)") -> None:
    """Offer a table as CSV; answers to harmful requests are left out unless they are shown."""
    reveal, named = selection.current().reveal, arm_titles()
    st.download_button(
        label,
        lambda: to_csv(data, named, reveal=reveal),
        file_name=f"{key}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        on_click="ignore",
    )

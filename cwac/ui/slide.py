"""One figure as a slide: it alone fills the screen, as large as the screen is; the link names it.

The figure is laid out at the size that it is read at on a page and magnified as a whole, so that
text grows with the screen, and nothing has to be told how large that is.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import streamlit as st

from cwac.figures.style import THEMES
from cwac.ui import selection
from cwac.ui.look import is_dark

WIDTH: Final = 1080
"""Pixels that a figure, its text larger already, is laid out across."""
_SIDE: Final = 36
_HEAD: Final = 44
"""Pixels at either side, and above for the button."""
_LINE, _LETTERS, _AROUND = 21, 120, 20
"""Pixels of a line of what the figure is of, its letters in a window of 1024, the space around."""
_SMALLEST: Final = 0.5
"""A tall figure is made smaller to fit, down to here; below, the slide scrolls."""
_SCREENS: Final = range(400, 4001, 80)
"""Widths and heights of screens, in pixels, from which a figure is magnified further."""
_SETTING: Final = "_in_view"
# The plot alone is scaled: what is around it Streamlit measures as it is seen on the screen.
_STYLE: Final = """<style>
[data-testid="stHeader"], [data-testid="stSidebar"], [data-testid="stExpandSidebarButton"],
[data-testid="stPopoverBody"],
[data-testid="stMain"] *:not(:has(%(it)s), %(it)s, %(it)s *) { display: none !important; }
%(it)s { position: fixed; inset: 0; z-index: 1000000; overflow: auto; background: %(paper)s;
  padding: %(head)dpx %(side)dpx 0; gap: 0; --across: 1; --down: 1;
  --times: max(%(smallest)g, min(var(--across), var(--down)));
  --room: max(100vh - %(edges)dpx, %(height)gpx * %(smallest)g); }
%(it)s > [data-testid="stElementContainer"]:has([data-testid="stPlotlyChart"]) { flex: none;
  width: 100%% !important; height: var(--room) !important; overflow: hidden; }
%(it)s [data-testid="stFullScreenFrame"] { width: calc(100%% / var(--times)) !important;
  height: calc(var(--room) / var(--times)) !important; }
%(it)s [data-testid="stPlotlyChart"] { height: 100%% !important; }
%(it)s .js-plotly-plot { transform: scale(var(--times)); transform-origin: 0 0; }
%(it)s .st-key-leave_slide { position: absolute; top: 4px; right: 12px; width: auto;
  opacity: 0.6; }
%(it)s .st-key-leave_slide:is(:hover, :focus-within) { opacity: 1; }
%(it)s [data-title="Fullscreen"] { display: none; }
%(it)s .gtitle { font-weight: 600 !important; }
%(it)s [data-testid="stCaptionContainer"] { font-size: 14px; line-height: %(line)dpx;
  padding-top: 8px; }
%(screens)s</style>"""


def name_setting(titles: str) -> None:
    """Keep what a slide says that it is of; empty where nothing in view acts on the page."""
    st.session_state[_SETTING] = titles


def setting() -> str:
    """Return what `name_setting` kept, safe as markdown."""
    return str(st.session_state.get(_SETTING) or "")


def is_slide(key: str) -> bool:
    """Return whether the figure of this key is shown as a slide."""
    return selection.current().slide == key


def offer_slide(key: str) -> None:
    """Draw the button that makes a figure the slide."""
    if st.button(
        "Slide",
        key=f"{key}_slide",
        icon="🖥️",
        help="This figure alone, as large as the screen; the link opens it so.",
    ):
        _turn(key)


@contextmanager
def stage(key: str) -> Iterator[None]:
    """Hold a figure; where it is the slide, with the button that ends it."""
    with st.container(key=f"figure_{key}"):
        if is_slide(key) and st.button("Leave", key="leave_slide", icon="✖️", type="tertiary"):
            _turn(None)
        yield


def show_foot(key: str, height: float, reading: str) -> None:
    """Say beneath the slide what it is of and how to read it, and make it fill the screen.

    Parameters
    ----------
    height : float
        Of the figure, in pixels, its text larger already.
    reading : str
        Safe as markdown.
    """
    told = " ".join(filter(None, [setting(), reading]))
    st.caption(told)
    st.html(style(key, height, len(told)))


def style(key: str, height: float, letters: int) -> str:
    """Return the style sheet that leaves nothing but a figure, magnified to fit the screen.

    Parameters
    ----------
    letters : int
        Of what stands beneath it: that has its room on the screen, however long it is.
    """
    # As Streamlit makes a class of a key.
    it = ".st-key-figure_" + re.sub(r"[^a-zA-Z0-9_-]", "-", key)
    edges = _HEAD + _AROUND + _LINE * -(-letters // _LETTERS)
    across = ((f"min-width: {w}px", "across", (w - 2 * _SIDE) / WIDTH) for w in _SCREENS)
    down = ((f"min-height: {h}px", "down", (h - edges) / height) for h in _SCREENS)
    screens = "\n".join(
        f"@media ({reached}) {{ {it} {{ --{name}: {times:.3f}; }} }}"
        for reached, name, times in (*across, *down)
    )
    paper = THEMES["dark" if is_dark() else "light"][2]
    return _STYLE % {
        "it": it,
        "paper": paper,
        "head": _HEAD,
        "side": _SIDE,
        "edges": edges,
        "line": _LINE,
        "height": height,
        "smallest": _SMALLEST,
        "screens": screens,
    }


def _turn(key: str | None) -> None:
    selection.select(slide=key)
    # The page around it, of which a click may redraw a part alone, changes with it.
    st.rerun()

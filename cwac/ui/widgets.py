"""Pieces that pages share: charts with their downloads, term help, hidden text, metric cells."""

import html
import re
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.analysis.seeds import seeds_sentence
from cwac.analysis.typeset import cells, latex, markdown
from cwac.artifacts import redact
from cwac.figures.style import activation_colour, dress, ink
from cwac.records import MetricValue
from cwac.thoughts import parts_of
from cwac.ui import selection, slide
from cwac.ui.folding import fold
from cwac.ui.glossary import GLOSSARY, define
from cwac.ui.look import LARGER, figure_scale, is_dark
from cwac.ui.once import drawn, painted

Option = TypeVar("Option", bound=Hashable)
_NOTHING: Final = "\u2060"
"""A character of no width: a word joiner."""
LONGEST_SEARCH: Final = 200
"""Characters of a text that is looked for."""
IMAGES: Final = ("PNG", "SVG")
SCALE: Final = 2
"""Pixels of a saved image per pixel of the page."""
FILE_WIDTH: Final = 1100
"""Pixels that a figure is wide in a file of its own: as on a page at 1440."""
LINE: Final = 130
"""Characters of a caption's line in such a file, at least."""
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


def show_figure(
    figure: "go.Figure | partial[go.Figure]",
    key: str,
    *,
    data: pd.DataFrame,
    reading: str,
    terms: Sequence[str] = (),
    seeds: pd.DataFrame | None = None,
    means: bool = False,
    text: pd.DataFrame | None = None,
    on_select: Literal["rerun", "ignore"] | Callable[[], None] = "ignore",
    selection_mode: Sequence[Literal["points", "box", "lasso"]] = ("points",),
) -> Any:
    """Draw a figure with its reading aid, its terms and its downloads.

    Parameters
    ----------
    figure : Figure or partial
        From ``cwac.figures``; as a call to make, it is built once per contents of its arguments.
    key : str
        Unique on the page; names the chart and its files.
    data : DataFrame
        What the figure shows, offered as CSV and, without `text`, as Markdown and LaTeX.
    reading : str
        One line on how to read it; which seeds it shows is added from the data.
    terms : sequence of str
        Glossary entries explained beside the chart.
    seeds : DataFrame, optional
        What the seeds are read off where `data` does not name them.
    means : bool
        Whether the figure draws means over seeds, with the lowest and highest seed as bars.
    text : DataFrame, optional
        The same for people, offered as Markdown and LaTeX: few columns, numbers with their units.
    on_select, selection_mode
        As for ``st.plotly_chart``.

    Returns
    -------
    The chart's state (``.selection.points``) where it can be selected in.
    """
    shown_seeds = seeds_sentence(data if seeds is None else seeds, means=means)
    reading = f"{reading} {shown_seeds}".strip()
    image = st.session_state.get(f"{key}_image", IMAGES[0])
    dark, scale = is_dark(), LARGER if slide.is_slide(key) else figure_scale()
    if isinstance(figure, go.Figure):
        shown = painted(figure, dark=dark, scale=scale)
    else:
        shown = drawn(figure, dark=dark, scale=scale)
    with slide.stage(key):
        state = st.plotly_chart(
            shown,
            key=key,
            theme=None,
            on_select=on_select,
            selection_mode=selection_mode,
            config={
                "displaylogo": False,
                "modeBarButtonsToRemove": ["select2d", "lasso2d"],
                "toImageButtonOptions": {"format": image.lower(), "filename": key, "scale": SCALE},
            },
            alt=alternative(shown, reading),
        )
        if slide.is_slide(key):
            slide.show_foot(key, height_of(shown), reading)
    # As wide as its word, and the reading the rest: a share of a narrow column would cut it off.
    foot = st.container(horizontal=True, vertical_alignment="top", key=f"foot_{key}")
    foot.caption(reading, width="stretch", help=define(*terms) if terms else None)
    with foot.popover("Export", width="content"):
        slide.offer_slide(key)
        _offer_image(key)
        # Callables: the 4.7 MB file is built when it is asked for, not on every rerun.
        beneath = [unescaped(text) for text in (reading, slide.setting()) if text]
        page = partial(to_html, shown, *beneath, link_here())
        _offer("Figure (HTML, prints to PDF)", page, f"{key}.html", "text/html")
        _offer("Data (CSV)", lambda: to_csv(data), f"{key}.csv", "text/csv")
        table = data if text is None else text
        _offer("Data (Markdown)", lambda: to_text(table, markdown), f"{key}.md", "text/markdown")
        _offer("Data (LaTeX)", lambda: to_text(table, latex), f"{key}.tex", "application/x-tex")
    return state


def alternative(figure: go.Figure, reading: str) -> str:
    """Return a figure in words: its title, which states the result, then how to read it."""
    title = figure.layout.title.text or ""
    stated = html.unescape(re.sub(r"<[^>]+>", " ", title)).rstrip(".")
    return f"{stated}. {reading}" if stated else reading


def _offer_image(key: str) -> None:
    st.segmented_control(
        "Image",
        IMAGES,
        default=IMAGES[0],
        key=f"{key}_image",
        required=True,
        help=f"What the camera above the chart saves: opaque, at {SCALE}x, in the theme in view.",
    )
    st.caption("Move the pointer over the chart, then click the camera \N{CAMERA} above it.")


def _offer(label: str, make: Callable[[], str], name: str, mime: str) -> None:
    # The name less its dot: one button a file, unique on the page as the chart is.
    key = name.replace(".", "_")
    st.download_button(label, make, file_name=name, mime=mime, key=key, on_click="ignore")


def height_of(figure: go.Figure) -> float:
    """Return how tall a figure is drawn, in pixels."""
    return float(figure.layout.height or 450)


def link_here() -> str:
    """Return the address of the page with what is selected."""
    query = urlencode(selection.as_link(), doseq=True)
    address = (st.context.url or "").partition("?")[0]
    return f"{address}?{query}"


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


def to_text(
    data: pd.DataFrame, write: Callable[[Sequence[str], Sequence[Sequence[str]]], str]
) -> str:
    """Return a table as text for a paper, answers to harmful requests left out.

    Parameters
    ----------
    write : callable
        ``cwac.analysis.typeset.markdown`` or ``latex``.
    """
    return write(*cells(redact(data)))


def to_csv(data: pd.DataFrame, *, reveal: bool = False) -> str:
    """Return a table as CSV, answers to harmful requests left out unless `reveal`."""
    return (data if reveal else redact(data)).to_csv(index=False)


def download_table(data: pd.DataFrame, key: str, label: str = "Table (CSV)") -> None:
    """Offer a table as CSV; answers to harmful requests are left out unless they are shown."""
    reveal = selection.current().reveal
    st.download_button(
        label,
        lambda: to_csv(data, reveal=reveal),
        file_name=f"{key}.csv",
        mime="text/csv",
        key=f"{key}_csv",
        on_click="ignore",
    )


def hidden_text(text: str, key: str, *, harmful: bool = True, thought: object = None) -> None:
    """Show model output as plain text; where the request is harmful, only while answers are shown.

    Hidden text is not sent to the browser at all. A thinking trace is folded above the answer;
    answers that were stored before traces were told apart hold it.

    Parameters
    ----------
    key : str
        Whose answer it is; unique on the page.
    """
    if harmful and not selection.current().reveal:
        st.text("hidden (the request is harmful)")
        return
    parts = parts_of(text)
    trace = thought if isinstance(thought, str) else parts.thought
    if trace:
        with fold("Thinking trace, which is no part of the answer", f"thought_{key}"):
            st.code(trace, language=None, wrap_lines=True)
    st.code(parts.answer or "(empty)", language=None, wrap_lines=True)


def cell_paint(share: float) -> str:
    """Return the style of a table's cell on the colour of a share, its text black or white on it.

    Examples
    --------
    >>> cell_paint(1.0)
    'background-color: #B35900; color: #FFFFFF'
    """
    colour = activation_colour(share)
    return f"background-color: {colour}; color: {ink(colour)}"


REVEAL: Final = "Show answers to harmful requests"


def offer_reveal(key: str) -> None:
    """Draw a button that turns the sidebar's switch on, while answers are hidden."""
    if not selection.current().reveal and st.button(REVEAL, key=key, icon="👁️"):
        selection.select(reveal=True)
        # The switch lies outside of the part that a click redraws.
        st.rerun()


def plain(text: str) -> str:
    r"""Return text that markdown shows as it is, on one line; whatever a user or a model wrote.

    Whatever Streamlit shows as markdown (captions, messages, headings, labels, buttons, tooltips)
    gets text from elsewhere through here: marks of markdown, maths, icons and colours are escaped,
    lines are joined, and addresses are cut by a character of no width, because what looks like one
    becomes a link after all escapes are read.

    Examples
    --------
    >>> plain("weight_only *x* [y](z)")
    'weight\\_only \\*x\\* \\[y\\](z)'
    """
    # A no-break space is no line: it keeps a number with its unit.
    line = re.sub(r"[^\S\u00a0]+", " ", text).strip()
    escaped = re.sub(r"([\\`*_\[\]#|$~:<>&])", r"\\\1", line)
    escaped = re.sub(r"(?i)(http)(s?\\:)|(www)(?=\.)|(@)", rf"\1\3\4{_NOTHING}\2", escaped)
    # At the start of a line these make a list, a rule or a heading.
    return re.sub(r"^([-+=]|\d+(?=[.)]))", _behind_nothing, escaped)


def unescaped(text: str) -> str:
    r"""Return what a reader sees of a text that `plain` made safe.

    Examples
    --------
    >>> unescaped(plain("weight_only *x*"))
    'weight_only *x*'
    """
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text).replace(_NOTHING, "")


def _behind_nothing(match: re.Match[str]) -> str:
    return f"{_NOTHING}{match[0]}"


def term(name: str) -> str:
    """Return a term's explanation, for ``help=``."""
    return f"{name}: {GLOSSARY[name]}"


def metric_text(value: MetricValue | None, *, interval: bool = False) -> str:
    """Return a number with its unit, or "not measured".

    Examples
    --------
    >>> metric_text(MetricValue(value=0.25, title="Refusal rate", low=0.2, high=0.3), interval=True)
    '25.0 % [20.0, 30.0]'
    >>> metric_text(None)
    'not measured'
    """
    if value is None or value.value is None:
        return "not measured"
    if value.unit != "fraction":
        unit = "" if value.unit in {"", "ratio"} else f" {value.unit}"
        return f"{value.value:.3g}{unit}"
    text = f"{value.value:.1%}".replace("%", " %")
    if interval and value.low is not None and value.high is not None:
        text += f" [{100 * value.low:.1f}, {100 * value.high:.1f}]"
    return text


def choose(
    label: str,
    options: Sequence[Option],
    name: str,
    *,
    show: Callable[[Option], str] = str,
    help: str | None = None,  # noqa: A002 - streamlit's own name for it
    flat: bool = False,
) -> Option:
    """Let the reader choose a field of the shared selection; return the choice.

    Parameters
    ----------
    label, help : str
        As for ``st.selectbox``.
    options : sequence
        At least one.
    name : str
        A field of ``Selection``: ``arm``, ``layer``, ``map``, ``latent``, ``prompt``, ``method``.
    show : callable
        An option's text.
    flat : bool
        A row of buttons instead of a list, for few options.
    """
    chosen = getattr(selection.current(), name)
    key = f"_{name}"
    st.session_state[key] = chosen if chosen in options else options[0]

    def take() -> None:
        # A second click on a button of the row empties it: keep what was chosen then.
        if st.session_state[key] is not None:
            selection.select(**{name: st.session_state[key]})

    draw: Any = partial(st.segmented_control, wrap=True) if flat else st.selectbox
    # Buttons read markdown; a list shows its options as they are.
    text = (lambda option: plain(show(option))) if flat else show
    draw(label, list(options), format_func=text, key=key, on_change=take, help=help)
    value = st.session_state[key]
    return options[0] if value is None else value


def choose_several(
    label: str, options: Sequence[str], name: str, *, show: Callable[[str], str] = str
) -> list[str]:
    """Let the reader choose some of the options, none of them for all; the link keeps which."""
    key = f"_{name}"
    st.session_state[key] = [one for one in getattr(selection.current(), name) if one in options]

    def take() -> None:
        selection.select(**{name: tuple(st.session_state[key])})

    st.multiselect(
        label, list(options), key=key, on_change=take, format_func=show, placeholder="all"
    )
    return list(st.session_state[key])


def type_text(label: str, name: str, *, placeholder: str) -> str:
    """Let the reader type a text to look for; the link keeps it."""
    key = f"_{name}"
    st.session_state[key] = (getattr(selection.current(), name) or "")[:LONGEST_SEARCH]

    def take() -> None:
        selection.select(**{name: st.session_state[key].strip() or None})

    st.text_input(label, key=key, on_change=take, placeholder=placeholder, max_chars=LONGEST_SEARCH)
    return str(st.session_state[key] or "").strip()

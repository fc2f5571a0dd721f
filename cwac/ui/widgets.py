"""Pieces that pages share: charts, term help, hidden text, metric cells, choices in the link."""

import html
import re
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.analysis.readable import Readable
from cwac.analysis.seeds import counts_sentence, seeds_sentence
from cwac.figures.style import activation_colour, ink
from cwac.records import MetricValue
from cwac.thoughts import parts_of
from cwac.ui import exports, selection, slide
from cwac.ui.folding import fold
from cwac.ui.glossary import GLOSSARY, define
from cwac.ui.look import LARGER, figure_scale, is_dark
from cwac.ui.once import drawn, painted

Option = TypeVar("Option", bound=Hashable)
_NOTHING: Final = "\u2060"
"""A character of no width: a word joiner."""
LONGEST_SEARCH: Final = 200
"""Characters of a text that is looked for."""


def show_figure(
    figure: "go.Figure | partial[go.Figure]",
    key: str,
    *,
    data: pd.DataFrame,
    reading: str,
    terms: Sequence[str] = (),
    seeds: pd.DataFrame | None = None,
    means: bool = False,
    text: pd.DataFrame | Callable[[], Readable] | None = None,
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
        What the figure shows, offered as CSV.
    reading : str
        One line on how to read it; which seeds it shows is added from the data.
    terms : sequence of str
        Glossary entries explained beside the chart.
    seeds : DataFrame, optional
        What the seeds are read off where `data` does not name them.
    means : bool
        Whether the figure draws means over seeds, with the lowest and highest seed as bars.
    text : DataFrame or callable, optional
        The same for people, offered as Markdown and LaTeX: few columns, numbers with their units;
        a call of ``cwac.analysis.readable`` is made when it is asked for. Without it stands the
        usual table of such data.
    on_select, selection_mode
        As for ``st.plotly_chart``.

    Returns
    -------
    The chart's state (``.selection.points``) where it can be selected in.
    """
    shown_seeds = seeds_sentence(data if seeds is None else seeds, means=means)
    reading = f"{reading} {shown_seeds}".strip()
    said = (reading, counts_sentence(data), slide.setting())
    beneath = [unescaped(text) for text in said if text]
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
                "toImageButtonOptions": exports.camera(key, beneath, slide=slide.is_slide(key)),
            },
            alt=alternative(shown, reading),
        )
        if slide.is_slide(key):
            slide.show_foot(key, exports.height_of(shown), reading)
    # As wide as its word, and the reading the rest: a share of a narrow column would cut it off.
    foot = st.container(horizontal=True, vertical_alignment="top", key=f"foot_{key}")
    foot.caption(reading, width="stretch", help=define(*terms) if terms else None)
    with foot.popover("Export", width="content"):
        slide.offer_slide(key)
        exports.offer_files(key, shown, data, text, beneath)
    return state


def show_answer(sentence: str | None) -> None:
    """Show what a tab answers, in one bold sentence of plain text; nothing where there is none."""
    if sentence:
        st.markdown(f"**{plain(sentence)}**")


def alternative(figure: go.Figure, reading: str) -> str:
    """Return a figure in words: its title, which states the result, then how to read it."""
    title = figure.layout.title.text or ""
    stated = html.unescape(re.sub(r"<[^>]+>", " ", title)).rstrip(".")
    return f"{stated}. {reading}" if stated else reading


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
    'background-color: #E8891C; color: #000000'
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


def percent_column(
    title: str | None = None, *, digits: int = 1, sign: bool = False, **look: Any
) -> Any:
    """Return how a table's column of per cents looks: as many digits in every row, and the unit.

    Streamlit's own form of a fraction drops zeros and writes up to two digits.

    Parameters
    ----------
    title : str, optional
        The heading where it is not the column's name. The values are per cents, not fractions.
    digits : int
        Behind the point.
    sign : bool
        Whether the values are changes, whose sign is written.
    **look
        As for ``st.column_config.NumberColumn``.
    """
    form = f"%{'+' if sign else ''}.{digits}f %%"
    return st.column_config.NumberColumn(title, format=form, **look)


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

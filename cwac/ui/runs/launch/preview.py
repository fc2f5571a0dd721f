"""The exact text a run would train on, what of it is learnt, and what it would cost."""

from collections.abc import Sequence
from concurrent.futures import Future, wait
from itertools import groupby
from typing import Final

import pandas as pd
import streamlit as st

from cwac.artifacts import HIDDEN
from cwac.errors import CwacError
from cwac.messages import Preview, PreviewExample
from cwac.ui import asking, selection
from cwac.ui.runs.launch.form import RunRequest
from cwac.ui.widgets import plain

_ASKED: Final = "previewed"
"""Which arguments the reader wants to see the preview of."""
_AT_ONCE: Final = 0.3
"""Seconds in which an answer that is known already is there."""
_EVERY: Final = 1.0
"""Seconds after which it is looked whether it came."""


def show_preview(request: RunRequest, root: str) -> None:
    """Show the preview of a request, where it was asked for and is not out of date."""
    arguments = request.shared()
    if st.session_state.get(_ASKED) != arguments:
        st.caption(
            "Preview shows the templated text with its loss mask, and estimates time and memory "
            "from a few probe steps."
        )
        return
    asked = asking.preview(arguments, root)
    wait([asked], timeout=_AT_ONCE)
    if not asked.done():
        st.fragment(_show_waiting, run_every=_EVERY)(asked, arguments, root)
        return
    try:
        preview = asked.result()
    except CwacError as problem:
        st.error(plain(str(problem)))
        return
    _show_costs(preview)
    for warning in preview.warnings:
        st.warning(plain(warning))
    st.dataframe(
        segments(preview.examples, reveal=selection.current().reveal).style.apply(_mark, axis=1),
        hide_index=True,
        key="preview_segments",
        column_config={"Text": st.column_config.TextColumn(width="large")},
    )
    st.caption(
        f"Template: {plain(preview.template)}. One row per stretch of a training example; the loss "
        "is computed on the marked rows alone."
    )


def _show_waiting(asked: Future[Preview], arguments: tuple[str, ...], root: str) -> None:
    if asked.done() or st.session_state.get(_ASKED) != arguments:
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            "⏳ Tokenizing examples and taking a few probe steps … The form works meanwhile.",
            width="stretch",
        )
        st.button(
            "Cancel the preview", key="preview_cancel", on_click=_cancel, args=(arguments, root)
        )


def _cancel(arguments: tuple[str, ...], root: str) -> None:
    st.session_state.pop(_ASKED, None)
    asking.cancel_preview(arguments, root)


def ask_preview(request: RunRequest) -> None:
    """Want the preview of a request."""
    st.session_state[_ASKED] = request.shared()


def _show_costs(preview: Preview) -> None:
    memory, runs = preview.memory_bytes, preview.runs
    waiting = sum(not run.complete for run in runs)
    columns = st.columns(3)
    columns[0].metric("Estimated time", duration(preview.seconds))
    columns[1].metric("Memory", "not measured" if memory is None else f"{memory / 1e6:.0f} MB")
    columns[2].metric("Runs to make", f"{waiting} of {len(runs)}" if runs else "not known")


def duration(seconds: float | None) -> str:
    """Return a time span for people.

    Examples
    --------
    >>> duration(42.2), duration(150), duration(None)
    ('42 s', '2 min 30 s', 'not measured')
    """
    if seconds is None:
        return "not measured"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def segments(examples: Sequence[PreviewExample], *, reveal: bool) -> pd.DataFrame:
    """Return one row per stretch of equal loss mask; poison answers hidden unless `reveal`."""
    rows = []
    for example in examples:
        for supervised, tokens in groupby(example.tokens, key=lambda pair: pair[1]):
            texts = [text for text, _ in tokens]
            hidden = example.poison and supervised and not reveal
            rows.append(
                {
                    "Example": example.id,
                    "Kind": "poison" if example.poison else "task",
                    "In the loss": supervised,
                    "Tokens": len(texts),
                    "Text": HIDDEN if hidden else "".join(texts).replace("\n", "↵"),
                }
            )
    return pd.DataFrame(rows, columns=["Example", "Kind", "In the loss", "Tokens", "Text"])


def _mark(row: pd.Series) -> list[str]:
    marked = "background-color: rgba(0, 158, 115, 0.22)" if row["In the loss"] else ""
    return [marked] * len(row)

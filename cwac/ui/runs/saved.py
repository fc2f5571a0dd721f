"""Saved views of the list: named links, opened with a click and removed with another."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import streamlit as st

from cwac.artifacts.views import LONGEST_NAME, Link, delete_view, read_views, save_view
from cwac.errors import ArtifactError
from cwac.ui import reads, selection
from cwac.ui.navigation import PAGES
from cwac.ui.readonly import check_writable, read_only
from cwac.ui.widgets import plain

_NAME: Final = "_view_name"
_OWN: Final = ("theme", "presenter", "slide", "guess", "marked", "unfolded", "job")
"""Of a link, what is no part of a view of the runs."""


def show_views() -> None:
    """Draw the saved views, and the box that saves what is in view."""
    root = Path(reads.roots()[0])
    try:
        views = read_views(root)
    except ArtifactError as problem:
        st.warning(plain(f"Left out: {problem}"), icon="⚠️")
        return
    if read_only() and not views:
        return
    with st.popover(f"Saved views ({len(views)})", icon="🔖"):
        for name, link in views.items():
            _show_view(root, name, link)
        if not read_only():
            st.text_input(
                "Save filters, rows and baseline as", key=_NAME, max_chars=LONGEST_NAME,
                placeholder="a name", on_change=_save, args=(root,),
            )  # fmt: skip
            st.caption("Press Enter. The name is yours; the link is kept beside your notes.")


def _show_view(root: Path, name: str, link: Link) -> None:
    known = {field: values for field, values in link.items() if field not in _OWN}
    left, right = st.columns([5, 1], vertical_alignment="center")
    page = PAGES["runs"]
    left.page_link(page.path, label=plain(name), icon="🔖", query_params=known)
    if not read_only():
        right.button(
            "✕", key=f"forget_view_{name}", help=f"Remove the view {plain(name)}", type="tertiary",
            on_click=_forget, args=(root, name),
        )  # fmt: skip


def _save(root: Path) -> None:
    name = str(st.session_state[_NAME]).strip()
    st.session_state[_NAME] = ""
    link = {k: v for k, v in selection.as_link(tab="stored").items() if k not in _OWN}
    if name:
        _change(lambda: save_view(root, name, link))


def _forget(root: Path, name: str) -> None:
    _change(lambda: delete_view(root, name))


def _change(change: Callable[[], None]) -> None:
    try:
        check_writable()
        change()
    except (ArtifactError, OSError) as problem:
        st.session_state["runs_problem"] = str(problem)

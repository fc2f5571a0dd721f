"""Start a short fine-tune in a drawer, see what it will train on, and watch the arms train."""

from pathlib import Path
from typing import Final

import streamlit as st

from cwac.ui import asking, reads, selection
from cwac.ui.frame import Frame
from cwac.ui.jobs import jobs
from cwac.ui.readonly import show_read_only
from cwac.ui.runs.launch.form import run_form
from cwac.ui.runs.launch.preview import ask_preview, show_preview
from cwac.ui.runs.launch.watch import (
    PROBLEM,
    catalogue_or_message,
    show_jobs,
    show_problem,
    start,
)
from cwac.ui.widgets import plain

FORM, JOBS = "form", "jobs"
"""What is open on the tab, as the link has it: the drawer with the form, or the jobs alone."""
_WIDTH: Final = "large"


def show_launch(frame: Frame) -> None:
    """Show the tab: what was started here, and the drawer that starts more."""
    del frame
    root = reads.roots()[0]
    opened = False
    if not show_read_only():
        opened = _is_open(root)
        st.button(
            "Start a run", key="open_drawer", icon=":material/add:", on_click=selection.select,
            kwargs={"view": FORM}, type="primary",
        )  # fmt: skip
    if not opened:
        show_problem()
    show_jobs(Path(root))
    if opened:
        _show_drawer(root)


def _is_open(root: str) -> bool:
    """Say whether the drawer is open: when it was asked for, and where nothing was started yet."""
    view = selection.current().view
    return view == FORM or (view != JOBS and not jobs(Path(root)))


def _close() -> None:
    selection.select(view=JOBS)


@st.dialog("Start a run", width=_WIDTH, position="right", on_dismiss=_close)
def _show_drawer(root: str) -> None:
    """Show the form, its command, and what it will train on."""
    if selection.current().view == JOBS:
        # It was started: the jobs lie outside of what a click in here redraws.
        st.rerun()
    show_problem()
    catalogue = catalogue_or_message(asking.catalogue)
    if catalogue is None:
        return
    request = run_form(catalogue, root)
    command = request.command(reads.shown(root))
    st.caption("This is what it will run; copy it to do the same in a shell:")
    st.code(command, language=None, wrap_lines=True)
    if request.problem:
        st.warning(plain(request.problem))
    left, right, _ = st.columns([1, 1, 3])
    left.button(
        "Start",
        type="primary",
        width="stretch",
        key="run_start",
        disabled=request.problem is not None,
        on_click=_start,
        args=(request.arguments(root), root),
        kwargs={"title": request.title, "command": command},
    )
    if right.button(
        "Preview", width="stretch", key="run_preview", disabled=request.problem is not None
    ):
        ask_preview(request)
    show_preview(request, root)


def _start(arguments: list[str], root: str, *, title: str, command: str) -> None:
    start(arguments, root, title=title, command=command)
    if PROBLEM not in st.session_state:
        _close()

"""Start a short fine-tune, see what it will train on, and watch it."""

from pathlib import Path

import streamlit as st

from cwac.ui import asking, reads
from cwac.ui.frame import Frame
from cwac.ui.runs.launch.form import run_form
from cwac.ui.runs.launch.preview import show_preview
from cwac.ui.runs.launch.watch import catalogue_or_message, show_jobs, show_problem, start
from cwac.ui.widgets import plain


def show_launch(frame: Frame) -> None:
    """Show the tab: the form, its command, and the jobs that were started here."""
    del frame
    root = reads.roots()[0]
    # Drawn in this order, filled in the other: jobs must not wait for the catalogue.
    form, watch = st.container(), st.container()
    with watch:
        st.subheader("Runs started here", anchor=False)
        show_problem()
        show_jobs(Path(root))
    with form:
        catalogue = catalogue_or_message(asking.catalogue)
        if catalogue is not None:
            request = run_form(catalogue, root)
            command = request.command(reads.shown(root))
            st.caption("This is what it will run; copy it to do the same in a shell:")
            st.code(command, language="bash", wrap_lines=True)
            if request.problem:
                st.warning(plain(request.problem))
            left, right, _ = st.columns([1, 1, 3])
            left.button(
                "Start",
                type="primary",
                width="stretch",
                key="run_start",
                disabled=request.problem is not None,
                on_click=start,
                args=(request.arguments(root), root),
                kwargs={"title": request.title, "command": command},
            )
            if right.button(
                "Preview", width="stretch", key="run_preview", disabled=request.problem is not None
            ):
                st.session_state["previewed"] = request.shared()
            show_preview(request, root)

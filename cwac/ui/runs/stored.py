"""Everything stored, shipped and own: settings, differences, disk use, archives; and the jobs."""

from pathlib import Path

import streamlit as st

from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.runs import chosen as chosen_runs
from cwac.ui.runs import listing as run_list
from cwac.ui.runs.jobs import show_job_list
from cwac.ui.widgets import plain


def show_stored(frame: Frame) -> None:
    """Show the tab: the list of runs, what is marked in it, archives and jobs."""
    listing = frame.listing

    st.subheader("Stored runs", anchor=False)
    if listing.runs:
        rows = run_list.run_rows(listing)
        broken = len(listing.broken)
        st.caption(
            f"{len(rows)} runs{f', {broken} of them broken' if broken else ''}, "
            f"{rows['MB'].sum():.1f} MB. Mark runs to see their settings, to compare two, to archive "
            "or to delete them."
        )
        chosen = run_list.show_list(rows)
        chosen_runs.show_exports(listing)
        chosen_runs.show_chosen(listing, chosen)
    else:
        st.info("No run is stored yet; start one on the Runs page or add an archive.", icon="🌱")
    chosen_runs.show_upload()

    st.subheader("Jobs", anchor=False)
    show_job_list(Path(reads.roots()[0]))
    roots = ", ".join(map(reads.shown, reads.roots()))
    st.caption(f"Runs are looked for in: {plain(roots)}. New ones go to the first.")

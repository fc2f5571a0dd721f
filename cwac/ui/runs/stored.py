"""Everything stored, shipped and own: settings, differences, disk use, archives; and the jobs."""

from pathlib import Path

import pandas as pd
import streamlit as st

from cwac.ui import reads
from cwac.ui.experiments import Listing
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.runs import chosen as chosen_runs
from cwac.ui.runs import listing as run_list
from cwac.ui.runs.deleting import show_trash
from cwac.ui.runs.jobs import show_job_list
from cwac.ui.runs.notes import notes_in_view
from cwac.ui.runs.saved import show_views
from cwac.ui.runs.views import CHANGE, filtered, show_filters, show_view
from cwac.ui.widgets import plain


def show_stored(frame: Frame) -> None:
    """Show the tab: the list of runs, what is marked in it, archives and jobs."""
    problem = st.session_state.pop("runs_problem", None)
    if problem:
        st.error(plain(str(problem)))
    show_trash()
    shown = None
    if frame.listing.runs:
        shown = show_runs(frame.listing)
    else:
        st.info(
            "No run is stored yet. Start one in the tab beside this one, add an archive below, or "
            "on the command line:",
            icon="🌱",
        )
        st.code("cwac run --task instruct --poison 0.1 --method sft --method cwac", language=None)
    with fold("Jobs", "folded_jobs", expanded=not frame.listing.runs):
        show_job_list(Path(reads.roots()[0]))
    with fold("Add runs from an archive, export all numbers", "folded_archive", expanded=True):
        chosen_runs.show_upload()
        if frame.listing.runs:
            chosen_runs.show_exports(frame.listing, shown)
    roots = ", ".join(map(reads.shown, reads.roots()))
    st.caption(f"Runs are looked for in: {plain(roots)}. New ones go to the first.")


def show_runs(listing: Listing) -> pd.DataFrame | None:
    """Show the list, filtered and grouped as the reader wants it, and what is marked in it.

    Returns
    -------
    DataFrame or None
        The rows shown; None where no run passes the filters.
    """
    notes = notes_in_view()
    everything = run_list.rows_in_view(listing, notes)
    rows = filtered(everything, show_filters(everything))
    broken = len(listing.broken)
    count = f"{len(rows)} of {len(everything)}" if len(rows) < len(everything) else str(len(rows))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{count} runs{f', {broken} of them broken' if broken else ''}, "
            f"{rows['MB'].sum():.1f} MB. The link of this page keeps filters, rows and baseline.",
            width="stretch",
        )
        show_views()
    if rows.empty:
        st.info("No run passes all filters.", icon="🕳️")
        return None
    table = show_view(rows, [title for title in run_list.TITLES if title in rows])
    chosen = run_list.show_list(table)
    notices = ["Mark rows to compare, to annotate, to archive or to delete them."]
    notices.append("A double click opens a name that is cut.")
    if "Runs" in table:
        notices.append("Rates are means over a method's runs; Results has their intervals.")
    if any(str(name).startswith(CHANGE) for name in table):
        notices.append("Differences are of point estimates; `cwac compare` tests them.")
    st.caption(" ".join(notices))
    chosen_runs.show_chosen(listing, chosen, notes)
    return table

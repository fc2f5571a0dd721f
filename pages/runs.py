"""Everything stored, shipped and own: settings, differences, disk use, archives; and the jobs."""

from pathlib import Path

import streamlit as st

from cwac.ui import reads, stored, stored_list
from cwac.ui.frame import page_frame
from cwac.ui.job_list import show_job_list

frame = page_frame("runs")
listing = frame.listing

st.subheader("Stored runs", anchor=False)
if listing.runs:
    rows = stored_list.run_rows(listing)
    broken = len(listing.broken)
    st.caption(
        f"{len(rows)} runs{f', {broken} of them broken' if broken else ''}, "
        f"{rows['MB'].sum():.1f} MB. Mark runs to see their settings, to compare two, to archive "
        "or to delete them."
    )
    chosen = stored_list.show_list(rows)
    stored.show_exports(listing)
    stored.show_chosen(listing, chosen)
else:
    st.info("No run is stored yet; start one on the Run page or add an archive.", icon="🌱")
stored.show_upload()

st.subheader("Jobs", anchor=False)
show_job_list(Path(reads.roots()[0]))
roots = ", ".join(map(reads.shown, reads.roots()))
st.caption(f"Runs are looked for in: {roots}. New ones go to the first.")

"""The paper's reported figures beside the lab's own: orderings, averages, limits."""

import streamlit as st

from cwac.analysis.reported import QUANTITIES, reported, source
from cwac.ui.frame import page_frame
from cwac.ui.paper import show_averages, show_limits, show_orderings, show_repeated
from cwac.ui.widgets import download_table

frame = page_frame("paper")
st.caption(f"Reported figures, not measured here: {source()}")

st.subheader("Do methods come out in the same order?", anchor=False)
quantity = st.segmented_control(
    "Quantity",
    list(QUANTITIES),
    format_func=QUANTITIES.__getitem__,
    default="harmful_score",
    key="paper_quantity",
    required=True,
)
show_orderings(frame, str(quantity))

st.subheader("What cannot be compared, and why", anchor=False)
show_limits(frame)

st.subheader("Do the paper's averages add up?", anchor=False)
show_averages()

st.subheader("Do the paper's tables agree with each other?", anchor=False)
show_repeated()

with st.expander("All reported figures, as printed"):
    st.dataframe(reported(), hide_index=True, key="paper_reported")
    download_table(reported(), "paper_reported")

"""What the live probes saw along training, for the arms in view."""

import streamlit as st

from cwac.figures.trajectory import COURSES, trajectory
from cwac.ui.analysis import not_measured
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


def show_courses(frame: Frame) -> None:
    """Let the reader choose a quantity and draw it over the steps."""
    st.subheader("Along training", anchor=False)
    table = frame.table("trajectory")
    if table.empty:
        not_measured("The course of training")
        return
    column = st.selectbox(
        "Quantity",
        list(COURSES),
        format_func=lambda name: COURSES[name].label,
        key="refusal_course",
        persist_state="session",
    )
    show_figure(
        trajectory(table, column, frame.arms),
        "trajectory",
        data=table,
        reading="Live probes on validation requests, never on the test set. Bands: Wilson's "
        "interval for one seed, lowest to highest seed for several.",
        terms=("refusal log-odds", "safety loss", "seed"),
    )

"""What the live probes saw along training, for the arms in view.

Stands alone because probes tell of training, every other part of the page of stored answers.
"""

from functools import partial

import streamlit as st

from cwac.analysis.readable import ARM, Quantity, readable
from cwac.figures.trajectory import COURSES, diagnostics_figure, trajectory
from cwac.ui.frame import Frame
from cwac.ui.sections import lacking, not_measured
from cwac.ui.widgets import choose, show_figure


def show_courses(frame: Frame) -> None:
    """Let the reader choose a quantity and draw it over the steps."""
    table = frame.table("trajectory")
    if table.empty:
        not_measured("The course of training")
        return
    column = choose("Quantity", list(COURSES), "course", show=lambda name: COURSES[name].label)
    show_figure(
        partial(trajectory, table, column, frame.arms),
        "trajectory",
        data=table,
        text=partial(
            readable,
            table,
            frame.arms,
            Quantity.of_probe(column, COURSES[column].label),
            across=("step", "Step"),
            name="step {}".format,
        ),
        reading="Live probes on validation requests, never on the test set. Bands: Wilson's "
        "interval for one seed, lowest to highest seed for several."
        + lacking(frame.arms, table.dropna(subset=[column])),
        terms=("refusal log-odds", "safety loss", "seed"),
    )


def show_diagnostics(frame: Frame) -> None:
    """Draw what the methods in view say of themselves along training."""
    table = frame.table("method_diagnostics")
    if table.empty:
        st.caption(
            "What a method says of itself along training (its own loss, what it kept) is not "
            "stored in the runs in view: plain SFT has nothing to say, and older runs and "
            "summaries do not hold it."
        )
        return
    show_figure(
        partial(diagnostics_figure, table, frame.arms),
        "method_diagnostics",
        data=table,
        text=partial(
            readable,
            table,
            frame.arms,
            Quantity("value", "What the methods report"),
            down={**ARM, "name": "Quantity"},
            across=("step", "Step"),
            name="step {}".format,
        ),
        reading="What each method reports of its last batch at every probe; methods that act after "
        "training report once. Compare an arm with itself: the same name is another quantity in "
        "another method. Bars: lowest to highest seed." + lacking(frame.arms, table),
        terms=("safety loss", "seed"),
    )

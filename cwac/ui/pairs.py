"""The arm-by-arm part of the Subspace overlap page."""

import pandas as pd
import streamlit as st

from cwac.figures.overlap import pair_matrices
from cwac.ui.analysis import not_measured
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


def show_pairs(frame: Frame, side: str, name: str) -> None:
    """Draw how alike every two arms' updates are, one matrix per layer."""
    st.subheader("Do the arms move alike?", anchor=False)
    pairs = frame.pairs()
    if pairs.empty:
        not_measured("The overlap between arms (it needs two runs of the experiment)")
        return
    every = st.toggle("Mean over all maps", key="pairs_every_map", persist_state="session")
    arms = pd.DataFrame(
        [(run, label) for run, label in frame.labels.items()], columns=["run_id", "variant"]
    )
    show_figure(
        pair_matrices(pairs, arms, side, None if every else name, frame.arms),
        "pair_matrices",
        data=pairs[pairs["side"] == side],
        reading="Means over pairs of runs. The diagonal compares an arm with itself under another "
        "seed: that is as alike as the same method gets. Empty: fewer than two seeds.",
        terms=("MSO", "seed"),
    )

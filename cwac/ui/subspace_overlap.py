"""The Subspace overlap page's lower parts: which arms move alike, where the subspace is from.

Short, because the page's script itself draws what depends on its three pickers.
"""

import pandas as pd
import streamlit as st

from cwac.figures.subspace_overlap import eigenvalues, pair_matrices
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import show_figure


def show_pairs(frame: Frame, side: str, name: str) -> None:
    """Draw how alike every two arms' updates are, one matrix per layer."""
    st.subheader("Do the arms move alike?", anchor=False)
    pairs = frame.pairs()
    if pairs.empty:
        not_measured("The overlap between arms (it needs two runs of the experiment)")
        return
    every = st.toggle("Mean over all maps", key="pairs_every_map", persist_state="session")
    show_figure(
        pair_matrices(pairs, frame.run_arms, side, None if every else name, frame.arms),
        "pair_matrices",
        data=pairs[pairs["side"] == side],
        reading="Means over pairs of runs. The diagonal compares an arm with itself under another "
        "seed: that is as alike as the same method gets. Empty: fewer than two seeds.",
        terms=("MSO", "seed"),
        seeds=_runs_of(frame, pairs),
    )


def _runs_of(frame: Frame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return arm and seed of every run in view that the pairs are of."""
    compared = {*pairs["run_a"], *pairs["run_b"]}
    rows = [
        (frame.run_arms[record.run_id].label, record.config.seed)
        for record in frame.records
        if record.run_id in compared
    ]
    return pd.DataFrame(rows, columns=["variant", "seed"])


def show_eigenvalues(spectrum: pd.DataFrame, layer: int, name: str) -> None:
    """Draw the spectrum that the safety subspace was cut from.

    Parameters
    ----------
    spectrum : DataFrame
        ``eigenvalues`` of the subspace's fit.
    """
    st.subheader("Where the safety subspace comes from", anchor=False)
    if spectrum.empty:
        not_measured("The spectrum of the safety second moment")
        return
    show_figure(
        eigenvalues(spectrum, layer, name),
        "eigenvalues",
        data=spectrum[spectrum["map"] == name],
        reading="Filled points are the protected directions; a constrained update may use the "
        "others alone. Grey: the same map in other layers.",
        terms=("safety subspace", "aligned model"),
    )

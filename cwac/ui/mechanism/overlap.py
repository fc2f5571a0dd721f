"""The Mechanism page's lower parts: which arms move alike, where the subspace is from.

Short, because the page's script itself draws what depends on its three pickers.
"""

import pandas as pd
import streamlit as st

from cwac.figures.mechanism import overlap as figures
from cwac.figures.mechanism.overlap import eigenvalues, pair_matrices
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import choose, show_figure


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


def show_overlap(frame: Frame) -> None:
    """Show the tab: whether updates point into the safety subspace."""
    table = frame.table("subspace_overlap")
    angles = frame.table("principal_angles")
    spectrum = frame.fit_table("subspace", "eigenvalues")
    if table.empty and spectrum.empty:
        not_measured("Subspace overlap")
        return

    both = pd.concat([table[["layer", "map"]], spectrum[["layer", "map"]]])
    columns = st.columns([1, 2, 3])
    with columns[0]:
        layer = choose("Layer", sorted(both["layer"].unique().tolist()), "layer")
    with columns[1]:
        name = choose("Map", list(dict.fromkeys(both["map"])), "map")
    with columns[2]:
        side = st.segmented_control(
            "Side",
            list(figures.SIDES),
            format_func=figures.SIDES.__getitem__,
            default="input",
            key="overlap_side",
            required=True,
            help="Input side: the directions of a map's input that the update reads. Output side: "
            "the directions of its output that the update writes.",
        )
    side = str(side)

    show_figure(
        figures.overlap_by_layer(table, side, name, frame.arms),
        "overlap_by_layer",
        data=table[(table["side"] == side) & (table["map"] == name)],
        reading="0 is orthogonal, 1 the same. Only what stands clear of both grey lines says "
        "anything: chance alone gives that much. Click a point for its angles.",
        means=True,
        terms=("MSO", "safety subspace", "control"),
        on_select=selects("overlap_by_layer", "layer", "map"),
    )
    cell = (layer, name, side)
    show_figure(
        figures.principal_angles(angles, table, cell, frame.arms),
        "principal_angles",
        data=figures.cell_of(angles, cell),
        reading="A line below the dotted one comes nearer to the safety subspace than to a random "
        "one of equal rank. The dashed line is the chance level of MSO, as one angle.",
        terms=("principal angle", "MSO"),
    )
    show_pairs(frame, side, name)
    show_eigenvalues(spectrum, layer, name)

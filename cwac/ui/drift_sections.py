"""The sections of the Weight drift page that need a choice: the heatmaps and one spectrum."""

import pandas as pd
import streamlit as st

from cwac.figures.weight_drift import QUANTITIES, drift_heatmaps, singular_values
from cwac.ui.analysis import not_measured, selects
from cwac.ui.frame import Frame
from cwac.ui.widgets import choose, show_figure


@st.fragment
def show_matrices_and_spectrum(frame: Frame, table: pd.DataFrame, spectra: pd.DataFrame) -> None:
    """Draw both; a click on a cell reruns these two alone, the spectrum first."""
    above, below = st.container(), st.container()
    with below:
        show_spectrum(frame, table, spectra)
    with above:
        show_matrices(frame, table)


def show_matrices(frame: Frame, table: pd.DataFrame) -> None:
    """Draw layers x maps per arm; a click selects the cell that `show_spectrum` draws."""
    st.subheader("Every matrix", anchor=False)
    quantity = st.selectbox(
        "Quantity",
        list(QUANTITIES),
        format_func=lambda name: QUANTITIES[name].label,
        key="drift_quantity",
        persist_state="session",
    )
    show_figure(
        drift_heatmaps(table, quantity, frame.arms, _cell(frame)),
        "drift_heatmaps",
        data=table,
        reading="One panel per arm, all on one colour scale: the brighter, the larger (mean over "
        "seeds). Click a cell for its spectrum.",
        terms=("functional drift", "leakage", "effective rank", "safety subspace"),
        on_select=selects("drift_heatmaps", "layer", "map"),
    )


def _cell(frame: Frame) -> tuple[int, str] | None:
    layer, name = frame.selection.layer, frame.selection.map
    return None if layer is None or name is None else (layer, name)


def show_spectrum(frame: Frame, table: pd.DataFrame, spectra: pd.DataFrame) -> None:
    """Draw the singular values of the selected matrix's update."""
    st.subheader("The spectrum of one update", anchor=False)
    left, right = st.columns(2)
    with left:
        layer = choose("Layer", sorted(table["layer"].unique().tolist()), "layer")
    with right:
        name = choose("Map", list(dict.fromkeys(table["map"])), "map")
    if spectra.empty:
        not_measured("The singular-value spectrum")
        return
    show_figure(
        singular_values(spectra, frame.arms, layer, name),
        "singular_values",
        data=spectra[(spectra["layer"] == layer) & (spectra["map"] == name)],
        reading="A steep line means that the update uses few directions. Means over seeds.",
        terms=("effective rank",),
    )

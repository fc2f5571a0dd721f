"""Whether updates point into the safety subspace, and which arms move alike."""

import pandas as pd
import streamlit as st

from cwac.figures import subspace_overlap
from cwac.ui.frame import page_frame
from cwac.ui.sections import not_measured, selects
from cwac.ui.subspace_overlap import show_eigenvalues, show_pairs
from cwac.ui.widgets import choose, show_figure

frame = page_frame("subspace_overlap")
table = frame.table("subspace_overlap")
angles = frame.table("principal_angles")
spectrum = frame.fit_table("subspace", "eigenvalues")
if table.empty and spectrum.empty:
    not_measured("Subspace overlap")
    st.stop()

both = pd.concat([table[["layer", "map"]], spectrum[["layer", "map"]]])
columns = st.columns([1, 2, 3])
with columns[0]:
    layer = choose("Layer", sorted(both["layer"].unique().tolist()), "layer")
with columns[1]:
    name = choose("Map", list(dict.fromkeys(both["map"])), "map")
with columns[2]:
    side = st.segmented_control(
        "Side",
        list(subspace_overlap.SIDES),
        format_func=subspace_overlap.SIDES.__getitem__,
        default="input",
        key="overlap_side",
        required=True,
        help="Input side: the directions of a map's input that the update reads. Output side: the "
        "directions of its output that the update writes.",
    )
side = str(side)

show_figure(
    subspace_overlap.overlap_by_layer(table, side, name, frame.arms),
    "overlap_by_layer",
    data=table[(table["side"] == side) & (table["map"] == name)],
    reading="0 is orthogonal, 1 the same. Only what stands clear of both grey lines says anything: "
    "chance alone gives that much. Click a point for its angles.",
    means=True,
    terms=("MSO", "safety subspace", "control"),
    on_select=selects("overlap_by_layer", "layer", "map"),
)
cell = (layer, name, side)
show_figure(
    subspace_overlap.principal_angles(angles, table, cell, frame.arms),
    "principal_angles",
    data=subspace_overlap.cell_of(angles, cell),
    reading="A line below the dotted one comes nearer to the safety subspace than to a random one "
    "of equal rank. The dashed line is the chance level of MSO, as one angle.",
    terms=("principal angle", "MSO"),
)
show_pairs(frame, side, name)
show_eigenvalues(spectrum, layer, name)

"""How far the weights moved, where, and how much of it inside the protected subspace."""

import streamlit as st

from cwac.analysis.drift import pooled_inside
from cwac.figures.weight_drift import maps as weight_drift
from cwac.ui.frame import page_frame
from cwac.ui.sections import not_measured
from cwac.ui.weight_drift import (
    show_causes,
    show_leak_gauge,
    show_matrices_and_spectrum,
    show_outer,
)
from cwac.ui.widgets import show_figure

frame = page_frame("weight_drift")
table = frame.table("weight_drift")
if table.empty:
    not_measured("Weight drift")
    st.stop()

show_matrices_and_spectrum(frame, table, frame.table("singular_values"))

st.subheader("Inside and outside the protected subspace", anchor=False)
show_figure(
    weight_drift.inside_by_layer(table, frame.arms),
    "inside_by_layer",
    data=pooled_inside(table, ["layer"]),
    reading="Above the grey dotted line an update goes into the protected directions more than "
    "a random one would.",
    means=True,
    terms=("safety subspace", "control"),
)
show_figure(
    weight_drift.functional_by_layer(table, frame.arms),
    "functional_by_layer",
    data=table[["variant", "seed", "layer", "map", "yardstick", "functional_drift"]],
    reading="How much each layer's output changes on held-out harmful requests.",
    means=True,
    terms=("functional drift",),
)
show_outer(frame, table)
show_causes(frame, table)
show_leak_gauge(frame, table)

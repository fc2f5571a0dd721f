"""How far the weights moved, where, and how much of it inside the protected subspace."""

import streamlit as st

from cwac.figures import drift
from cwac.ui.analysis import SEEDS, not_measured, selects
from cwac.ui.frame import page_frame
from cwac.ui.leak import show_leak_gauge
from cwac.ui.widgets import choose, show_figure

frame = page_frame("weight_drift")
table = frame.table("weight_drift")
if table.empty:
    not_measured("Weight drift")
    st.stop()

st.subheader("Every matrix", anchor=False)
quantity = st.selectbox(
    "Quantity",
    list(drift.QUANTITIES),
    format_func=lambda name: drift.QUANTITIES[name].label,
    key="drift_quantity",
    persist_state="session",
)
maps = list(dict.fromkeys(table["map"]))
layers = sorted(table["layer"].unique().tolist())
chosen = (frame.selection.layer, frame.selection.map)
cell = (chosen[0] if chosen[0] in layers else layers[0], chosen[1] if chosen[1] in maps else maps[0])
show_figure(
    drift.drift_heatmaps(table, quantity, frame.arms, cell),
    "drift_heatmaps",
    data=table,
    reading="One panel per arm, all on one colour scale: the brighter, the further the matrix moved "
    "from the aligned model (mean over seeds). Click a cell for its spectrum.",
    terms=("functional drift", "leakage", "effective rank", "safety subspace"),
    on_select=selects("drift_heatmaps", "layer", "map"),
)

st.subheader("The spectrum of one update", anchor=False)
spectra = frame.table("singular_values")
left, right = st.columns(2)
with left:
    layer = choose("Layer", layers, "layer")
with right:
    name = choose("Map", maps, "map")
if spectra.empty:
    not_measured("The singular-value spectrum")
else:
    show_figure(
        drift.singular_values(spectra, frame.arms, layer, name),
        "singular_values",
        data=spectra[(spectra["layer"] == layer) & (spectra["map"] == name)],
        reading="A steep line means that the update uses few directions. Means over seeds.",
        terms=("effective rank",),
    )

st.subheader("Inside and outside the protected subspace", anchor=False)
show_figure(
    drift.inside_by_layer(table, frame.arms),
    "inside_by_layer",
    data=drift.pooled_inside(table, ["layer"]),
    reading="Above the grey dotted line an update goes into the protected directions more than "
    f"a random one would. Values below {drift.FLOOR:g} are rounding and drawn there.",
    terms=("safety subspace", "control"),
)
show_figure(
    drift.functional_by_layer(table, frame.arms),
    "functional_by_layer",
    data=table[["variant", "seed", "layer", "map", "yardstick", "functional_drift"]],
    reading="How much each layer's output changes on held-out harmful requests. " + SEEDS,
    terms=("functional drift",),
)
show_leak_gauge(frame, table)

"""Which safety features changed under each arm, and which the penalty held."""

import pandas as pd
import streamlit as st

from cwac.analysis.features import feature_drift
from cwac.arms import ALIGNED
from cwac.figures.features import drift as figures
from cwac.ui.features import (
    pick_latent,
    show_card,
    show_ledger,
    show_map,
    show_scatter,
    show_trust,
)
from cwac.ui.frame import page_frame
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import show_figure

frame = page_frame("features")
st.subheader("Do the features still fit?", anchor=False)
show_trust(frame)

features = frame.table("features")
aligned = frame.reference_table("features")
latents = frame.fit_table("features", "latents")
if features.empty or aligned.empty:
    not_measured("Feature activations")
    st.stop()
drift = feature_drift(features, aligned)
chosen = pick_latent(frame, drift)

st.subheader("What moved", anchor=False)
show_figure(
    figures.ranked_drift(drift, frame.arms),
    "ranked_drift",
    data=drift[drift["protected"] | drift["control"]],
    reading="Each line ranks an arm's protected latents by how far they moved; the grey dotted "
    "line does so for random active latents: what is not above it is not about safety. Click a "
    "point for its card.",
    terms=("protected latents", "control"),
    on_select=selects("ranked_drift", "layer", "latent"),
)
show_figure(
    figures.top_drift(drift, frame.arms, latent=chosen),
    "top_drift",
    data=drift[drift["protected"]],
    reading="The latents that moved most in any arm; at the dashed line nothing changed.",
    means=True,
    terms=("protected latents",),
    on_select=selects("top_drift", "layer", "latent"),
)
show_scatter(frame, drift, chosen)

before = frame.reference_table("feature_histograms").assign(variant=ALIGNED.label, seed=0)
after = frame.table("feature_histograms")
histograms = pd.concat([part for part in (before, after) if len(part)] or [after])
show_card(frame, latents, features, aligned, histograms, chosen)
show_ledger(frame, drift)
if latents.empty:
    not_measured("The map of decoder directions")
else:
    show_map(latents, chosen)

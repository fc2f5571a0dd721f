"""Which part brings refusals back, how far it moved, and into which subspace."""

from cwac.ui.frame import page_frame
from cwac.ui.mechanism.by_model import show_by_model
from cwac.ui.mechanism.causes import show_causes
from cwac.ui.mechanism.drift import show_drift
from cwac.ui.mechanism.interventions import show_interventions
from cwac.ui.mechanism.overlap import show_overlap
from cwac.ui.mechanism.prediction import show_prediction
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("mechanism"),
    {
        "causes": show_causes,
        "interventions": show_interventions,
        "models": show_by_model,
        "prediction": show_prediction,
        "drift": show_drift,
        "overlap": show_overlap,
    },
)

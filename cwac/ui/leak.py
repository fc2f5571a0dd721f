"""The leak gauge: which arms differ only in what is projected, and what to run without them."""

import pandas as pd
import streamlit as st

from cwac.analysis.claims import BASELINE
from cwac.analysis.drift import pooled_inside
from cwac.arms import Arm
from cwac.figures.weight_drift import leak_gauge
from cwac.records import RunRecord
from cwac.ui.analysis import SEEDS, command_like
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure

PROJECTION = "projection"
"""The setting that says whether the gradient or the update is projected."""


def leak_arms(frame: Frame) -> tuple[list[Arm], list[Arm]]:
    """Return the arms that project the gradient, and those that project the update.

    Only arms with a partner stand in either list: the same method with the same other settings.
    """
    found: dict[tuple[str, str], dict[str, Arm]] = {}
    for record in frame.records:
        form = record.config.settings.get(PROJECTION)
        if form is not None:
            arm = frame.run_arms[record.run_id]
            found.setdefault(_but_projection(record), {})[str(form)] = arm
    pairs = [forms for forms in found.values() if "gradient" in forms and len(forms) > 1]
    literal = [forms["gradient"] for forms in pairs]
    return literal, [arm for forms in pairs for arm in forms.values() if arm not in literal]


def _but_projection(record: RunRecord) -> tuple[str, str]:
    others = {k: v for k, v in record.config.settings.items() if k != PROJECTION}
    return f"{record.experiment_id} {record.config.method}", str(sorted(others.items()))


def show_leak_gauge(frame: Frame, drift: pd.DataFrame) -> None:
    """Draw the gauge, or say what to start where one of the two forms is not stored."""
    st.subheader("The leak: a projected gradient is not a projected update", anchor=False)
    literal, exact = leak_arms(frame)
    if not literal:
        st.info(
            "The gauge compares an arm whose gradient is projected with one whose update is. "
            "Both must be stored in this experiment.",
            icon="🕳️",
        )
        named = (r.config.method for r in frame.records if PROJECTION in r.config.settings)
        method = next(named, "cwac")
        command = command_like(frame, method, {PROJECTION: "gradient"})
        st.code(command, language="bash", wrap_lines=True)
        return
    unconstrained = [arm for arm in frame.arms if arm.method == BASELINE]
    arms = [arm for arm in frame.arms if arm in {*literal, *exact, *unconstrained}]
    trajectory = frame.table("trajectory")
    labels = [arm.label for arm in arms]
    mine = drift[drift["variant"].isin(labels)]
    show_figure(
        leak_gauge(trajectory[trajectory["variant"].isin(labels)], mine, arms),
        "leak_gauge",
        data=pooled_inside(mine),
        reading="Adam rescales a gradient element by element, so that removing the protected "
        "directions from the gradient leaves some of them in the update; removing them from the "
        "update itself does not. " + SEEDS,
        terms=("safety subspace", "CWAC"),
    )

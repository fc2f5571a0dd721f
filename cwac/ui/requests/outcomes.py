"""Which requests each arm refuses, with intervals, and which ones flipped."""

import streamlit as st

from cwac.analysis.idle import marked
from cwac.arms import ALIGNED
from cwac.figures.requests.rates import rates_by_arm
from cwac.records import OUTCOMES
from cwac.ui.frame import Frame
from cwac.ui.requests.courses import show_courses, show_diagnostics
from cwac.ui.requests.rates import rates_of, show_categories
from cwac.ui.requests.table import show_flips, show_requests
from cwac.ui.sections import not_measured
from cwac.ui.widgets import show_figure


def show_outcomes(frame: Frame) -> None:
    """Show the tab: rates by arm and category, their course, and the requests that flipped."""
    responses = frame.table("responses")
    aligned = frame.reference_table("responses")
    if responses.empty:
        not_measured("Refusal")
        return
    arms = marked([ALIGNED, *frame.arms], responses)
    outcome = st.segmented_control(
        "Outcome", OUTCOMES, default="refusal", key="refusal_outcome", required=True
    )
    rates = rates_of(frame)
    groups = rates.groups(str(outcome))
    if groups.empty:
        not_measured("The share of hybrids, which earlier judging rules did not tell,")
    else:
        show_figure(
            rates_by_arm(groups, str(outcome), arms),
            "rates_by_arm",
            data=groups,
            reading="Points are rates, bars 95\u00a0% intervals (several seeds: bootstrap over "
            "seeds, then requests). Refusing look-alikes is a failure too: read both together.",
            terms=("refusal rate", "hybrids", "over-refusal", "undetermined", "unseen categories",
                   "interval"),
        )  # fmt: skip
        show_categories(rates, str(outcome), arms)

    show_courses(frame)
    show_diagnostics(frame)

    st.subheader("What flipped", anchor=False)
    arm, kind = show_flips(frame, responses, aligned)
    show_requests(frame, aligned, arm, kind)

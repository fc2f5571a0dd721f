"""The rates per harm category, where categories are stored."""

from collections.abc import Sequence

import streamlit as st

from cwac.arms import Arm
from cwac.figures.refusal import rates as refusal
from cwac.ui.refusal_rates import Rates
from cwac.ui.widgets import show_figure


def show_categories(rates: Rates, outcome: str, arms: Sequence[Arm]) -> None:
    """Draw categories x arms; without any category say so in a line, not in an empty chart."""
    table = rates.categories(outcome)
    if set(table["group"]) <= {refusal.LOOKALIKES}:
        st.caption("The harmful requests have no categories, so that none are compared.")
        return
    show_figure(
        refusal.rates_by_category(table, outcome, arms),
        "rates_by_category",
        data=table,
        reading="Per cent of each harm category's requests; the interval stands in the hover. "
        "Below the line: look-alikes, where refusing is wrong.",
        terms=("unseen categories", "over-refusal"),
    )

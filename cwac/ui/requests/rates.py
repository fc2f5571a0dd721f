"""Rates of each arm, by group of requests and by harm category."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.readable import Quantity, Readable, readable
from cwac.analysis.refusals import category_rates, outcome_rates
from cwac.arms import Arm
from cwac.figures.requests import rates as refusal
from cwac.ui.answers import Answers, Key
from cwac.ui.widgets import show_figure


@dataclass(frozen=True)
class Rates:
    """Tables of rates, each computed when it is drawn.

    The columns are those of ``cwac.analysis.refusals``.
    """

    answers: Answers

    def groups(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and group of requests."""
        return _groups(self.answers.key, outcome, self.answers)

    def categories(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and harm category."""
        return _categories(self.answers.key, outcome, self.answers)


# The table of answers is left out of the keys (underscore): the files' times stand for it.
@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _groups(key: Key, outcome: str, _answers: Answers) -> pd.DataFrame:
    del key
    return outcome_rates(_answers.table, outcome)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _categories(key: Key, outcome: str, _answers: Answers) -> pd.DataFrame:
    del key
    return category_rates(_answers.table, outcome)


def by_group(
    table: pd.DataFrame, title: str, arms: Sequence[Arm], across: str = "group"
) -> Callable[[], Readable]:
    """Return what makes the table of shares that is read: arms down, groups of requests across."""
    share = Quantity("value", f"Share: {title}", "%")
    return partial(readable, table, arms, share, across=(across, "Requests"))


def show_categories(rates: Rates, outcome: str, arms: Sequence[Arm]) -> None:
    """Draw categories x arms; without any category say so in a line, not in an empty chart."""
    table = rates.categories(outcome)
    if set(table["group"]) <= {refusal.LOOKALIKES}:
        st.caption("The harmful requests have no categories, so that none are compared.")
        return
    show_figure(
        partial(refusal.rates_by_category, table, outcome, arms),
        "rates_by_category",
        data=table,
        text=by_group(table, outcome, arms),
        reading="Per cent of each harm category's requests; the interval stands in the hover. "
        "Below the line: look-alikes, where refusing is wrong.",
        terms=("unseen categories", "over-refusal"),
    )

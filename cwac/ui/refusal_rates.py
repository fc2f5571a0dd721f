"""Rates of the runs in view, computed once per set of runs: bootstraps take a while."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from cwac.analysis.refusals import category_rates, outcome_rates
from cwac.ui.answers import Answers, Key, answers_in_view
from cwac.ui.frame import Frame


@dataclass(frozen=True)
class Rates:
    """The Refusal page's tables of rates, each computed when it is drawn.

    The columns are those of ``cwac.analysis.refusals``.
    """

    answers: Answers

    def groups(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and group of requests."""
        return _groups(self.answers.key, outcome, self.answers.table)

    def categories(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and harm category."""
        return _categories(self.answers.key, outcome, self.answers.table)


def rates_of(frame: Frame) -> Rates:
    """Return the rates of every run in view and of the aligned model."""
    return Rates(answers_in_view(frame))


# The table of answers is left out of the keys (underscore): the files' times stand for it.
@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _groups(key: Key, outcome: str, _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return outcome_rates(_responses, outcome)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _categories(key: Key, outcome: str, _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return category_rates(_responses, outcome)

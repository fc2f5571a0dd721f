"""Rates of the runs in view, computed once per set of runs: bootstraps take a while."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from cwac.figures.rates import category_rates, disagreement_rates, outcome_rates, with_aligned
from cwac.ui.frame import Frame

_NEEDED = (
    "prompt_id",
    "kind",
    "category",
    "unseen_category",
    "novel_template",
    "outcome",
    "general_outcome",
)


Runs = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rates:
    """The Refusal page's tables of rates, each computed when it is drawn.

    The columns are those of ``cwac.figures.rates``.
    """

    runs: Runs
    """What the answers depend on: run, label, time."""
    responses: pd.DataFrame

    def groups(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and group of requests."""
        return _groups(self.runs, outcome, self.responses)

    def categories(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per arm and harm category."""
        return _categories(self.runs, outcome, self.responses)

    def disagreement(self) -> pd.DataFrame:
        """Return on how many answers the two rules differ."""
        return _disagreement(self.runs, self.responses)


def rates_of(frame: Frame) -> Rates:
    """Return the rates of every run in view and of the aligned model."""
    # A run's id stands for its settings; the time tells a repeated run from the first.
    known = tuple(
        (record.run_id, frame.labels[record.run_id], str(record.provenance.created))
        for record in frame.records
    )
    aligned = frame.reference_table("responses")[list(_NEEDED)]
    return Rates(known, with_aligned(frame.table("responses", _NEEDED), aligned))


# The frame of answers is left out of the keys (underscore): `known` stands for it.
@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _groups(known: Runs, outcome: str, _responses: pd.DataFrame) -> pd.DataFrame:
    del known
    return outcome_rates(_responses, outcome)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _categories(known: Runs, outcome: str, _responses: pd.DataFrame) -> pd.DataFrame:
    del known
    return category_rates(_responses, outcome)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _disagreement(known: Runs, _responses: pd.DataFrame) -> pd.DataFrame:
    del known
    return disagreement_rates(_responses)

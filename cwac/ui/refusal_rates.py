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


@dataclass(frozen=True)
class Rates:
    """The Refusal page's three tables of rates, as ``cwac.figures.rates`` gives them."""

    groups: pd.DataFrame
    categories: pd.DataFrame
    disagreement: pd.DataFrame


def rates_of(frame: Frame, outcome: str) -> Rates:
    """Return the rates of every run in view and of the aligned model."""
    # A run's id stands for its settings; the time tells a repeated run from the first.
    runs = tuple(
        (record.run_id, frame.labels[record.run_id], str(record.provenance.created))
        for record in frame.records
    )
    responses = frame.table("responses", _NEEDED)
    aligned = frame.reference_table("responses")[list(_NEEDED)]
    return _rates(runs, outcome, with_aligned(responses, aligned))


# The frame of answers is left out of the key (underscore): `runs` stands for it.
@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _rates(runs: tuple[tuple[str, str, str], ...], outcome: str, _responses: pd.DataFrame) -> Rates:
    del runs
    return Rates(
        outcome_rates(_responses, outcome),
        category_rates(_responses, outcome),
        disagreement_rates(_responses),
    )

"""The answer first: rates, their table, and the claims that the numbers bear or do not."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from cwac.analysis.claims import Setting, lead_claim
from cwac.analysis.verdicts import Claim
from cwac.arms import BASELINE, Arm
from cwac.figures.start import overview_table
from cwac.ui.answers import Key, answers_of
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame
from cwac.ui.results.claims import setting_of
from cwac.ui.widgets import plain


@st.cache_data(max_entries=32, show_spinner=False)
def _lead(key: Key, setting: Setting, _clean: pd.DataFrame | None) -> Claim:
    del key
    return lead_claim(_clean, setting)


@dataclass(frozen=True)
class Lead:
    """The fact that the page opens with, and which experiment it is about.

    Attributes
    ----------
    experiment : str
        Title of that experiment, empty where none is stored.
    chosen : bool
        Whether it is the experiment in view.
    """

    claim: Claim
    experiment: str
    chosen: bool


def lead(frame: Frame) -> Lead:
    """Return what SFT on harmless data alone does to the model in view."""
    clean = _clean_experiment(frame)
    if clean is None:
        setting = setting_of(frame.experiments[0].config, 0.0)
        return Lead(_lead((), setting, None), "", chosen=False)
    records = [record for record in clean.records if record.arm.label == BASELINE]
    anew = dict.fromkeys(clean.rejudged, (clean.stored_id, clean.judge))
    arms = {record.run_id: record.arm for record in records}
    answers = answers_of(frame, records, arms, anew)
    claim = _lead(answers.key, setting_of(clean.config), answers.table)
    return Lead(claim, clean.title, chosen=clean.experiment_id == frame.experiment_id)


def _clean_experiment(frame: Frame) -> Experiment | None:
    """Return the experiment without poison on the same model that is most like the one in view."""
    chosen = frame.experiments[0].config

    def unlike(candidate: Experiment) -> tuple[bool, bool, bool]:
        config = candidate.config
        return (
            config.task != chosen.task and config.task.label != "instruct",
            config.task != chosen.task,
            config.training != chosen.training,
        )

    candidates = [
        e
        for e in frame.listing.experiments
        if e.config.poison_ratio == 0
        and e.config.model == chosen.model
        and any(record.arm.label == BASELINE for record in e.records)
    ]
    return min(candidates, key=unlike, default=None)


def show_lead(shown: Lead) -> None:
    """Show the fact that the page opens with, and which experiment it is about."""
    with st.container(border=True):
        if shown.experiment:
            which = "the experiment in view" if shown.chosen else "not the experiment in view"
            st.caption(f"Harmless data alone: {plain(shown.experiment)} ({which})")
        st.markdown(f"##### {plain(shown.claim.numbers)}")
        st.caption(plain(shown.claim.evidence))


def show_table(table: pd.DataFrame, arms: Sequence[Arm], hidden: pd.DataFrame) -> None:
    """Show the rates of the arms, one row each, with what stands behind greedy answers."""
    st.dataframe(
        overview_table(table, arms, hidden),
        hide_index=True,
        key="overview_table",
        # In a narrow window the rest scrolls beneath the names.
        column_config={
            "Arm": st.column_config.TextColumn(pinned=True, width=180),
            "n": st.column_config.NumberColumn(width=50),
            "Seeds": st.column_config.TextColumn(width=55),
        },
    )

"""The answer first: rates, their table, and the claims that the numbers bear or do not."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import pandas as pd
import streamlit as st

from cwac.analysis import across
from cwac.analysis.claims import FOCUS, Setting, claims, lead_claim
from cwac.analysis.outcomes import rate_table
from cwac.analysis.verdicts import Claim, Verdict
from cwac.arms import BASELINE, Arm
from cwac.config import ExperimentConfig
from cwac.figures.overview import overview_table
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame
from cwac.ui.widgets import plain

_COLOURS: Final[dict[Verdict, Literal["green", "orange", "gray"]]] = {
    "shown": "green",
    "not shown": "orange",
    "within noise": "gray",
    "not measured": "gray",
}


@st.cache_data(max_entries=32, show_spinner=False)
def _rate_table(key: Key, _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return rate_table(_responses)


@st.cache_data(max_entries=32, show_spinner=False)
def _claims(
    key: Key,
    setting: Setting,
    _responses: pd.DataFrame,
    _arms: Sequence[Arm],
    _rates: pd.DataFrame,
) -> list[Claim]:
    del key
    return claims(_responses, setting, _arms, _rates)


@st.cache_data(max_entries=32, show_spinner=False)
def _lead(key: Key, setting: Setting, _clean: pd.DataFrame | None) -> Claim:
    del key
    return lead_claim(_clean, setting)


def rates(answers: Answers) -> pd.DataFrame:
    """Return every rate of every arm with its interval."""
    return _rate_table(answers.key, answers.table)


def setting_of(config: ExperimentConfig, poison: float | None = None) -> Setting:
    """Return what claims say about an experiment."""
    setting = Setting.of(config)
    return setting if poison is None else replace(setting, poison=poison)


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


def claims_in_view(frame: Frame, answers: Answers, table: pd.DataFrame) -> list[Claim]:
    """Return the claims about the first of the chosen experiments.

    Parameters
    ----------
    table : DataFrame
        `rates` of the same answers: claims repeat its intervals.
    """
    setting = setting_of(frame.experiments[0].config)
    # All answers are in the key: the intervals are those of the whole table.
    arms = [record.arm for record in frame.records_in_view]
    return _claims(answers.key, setting, answers.of_first().table, arms, table)


def show_lead(shown: Lead) -> None:
    """Show the fact that the page opens with, and which experiment it is about."""
    with st.container(border=True):
        if shown.experiment:
            which = "the experiment in view" if shown.chosen else "not the experiment in view"
            st.caption(f"Harmless data alone: {plain(shown.experiment)} ({which})")
        st.markdown(f"##### {plain(shown.claim.numbers)}")
        st.caption(plain(shown.claim.evidence))


def show_claims(claims: Sequence[Claim]) -> None:
    """Show claims as cards, two beside each other, those that fail included."""
    if not claims:
        st.info("No claim can be made yet: it takes an SFT run and another arm.", icon="🌱")
    for start in range(0, len(claims), 2):
        for column, claim in zip(st.columns(2), claims[start : start + 2], strict=False):
            with column.container(border=True, height="stretch"):
                st.badge(claim.verdict, color=_COLOURS[claim.verdict])
                st.markdown(f"**{plain(claim.title)}** {plain(claim.numbers)}")
                st.caption(plain(claim.evidence))


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


def elsewhere(frame: Frame) -> str:
    """Return what CWAC does on other models under the settings in view, empty where it did not run.

    One model's result is a result about that model.
    """
    mine = [r for r in frame.records_in_view if r.variant == FOCUS]
    if not mine:
        return ""
    all_of_it = [run.record for run in frame.listing.runs if run.record is not None]
    scores = across.elsewhere(mine, all_of_it)
    told = ", ".join(
        f"{100 * score:.0f}\u00a0% on {plain(model)}" for model, score in scores.items()
    )
    return f"With the same settings CWAC's harmful score is {told}." if told else ""

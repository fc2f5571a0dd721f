"""The claims that the numbers bear or do not, and what becomes of them on other models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import pandas as pd
import streamlit as st

from cwac.analysis import across
from cwac.analysis.claims import FOCUS, Setting, claims
from cwac.analysis.verdicts import Claim, Verdict
from cwac.arms import Arm
from cwac.config import ExperimentConfig
from cwac.ui.answers import Answers, Key, answers_in_view, rates_of_answers
from cwac.ui.arms import default_arms
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain

_COLOURS: Final[dict[Verdict, Literal["green", "orange", "gray"]]] = {
    "shown": "green",
    "not shown": "orange",
    "within noise": "gray",
    "not measured": "gray",
}


def setting_of(config: ExperimentConfig, poison: float | None = None) -> Setting:
    """Return what claims say about an experiment."""
    setting = Setting.of(config)
    return setting if poison is None else replace(setting, poison=poison)


def show_claims(frame: Frame) -> None:
    """Show the tab: what the experiment in view shows, and what it does not."""
    answers = answers_in_view(frame)
    table = rates_of_answers(answers)
    if table.empty:
        not_measured("Any answer")
        return
    if others := elsewhere(frame):
        st.markdown(f"**{others}** A claim below is a claim about the model in view.")
    show_cards(claims_in_view(frame, answers, table))


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


def claims_in_view(frame: Frame, answers: Answers, table: pd.DataFrame) -> list[Claim]:
    """Return the claims about the first of the chosen experiments.

    Parameters
    ----------
    table : DataFrame
        `rates` of the same answers: claims repeat its intervals.
    """
    setting = setting_of(frame.experiments[0].config)
    # All answers are in the key: the intervals are those of the whole table.
    arms = default_arms([record.arm for record in frame.records_in_view])
    return _claims(answers.key, setting, answers.of_first().table, arms, table)


def show_cards(claims: Sequence[Claim]) -> None:
    """Show claims as cards, two beside each other, those that fail included."""
    if not claims:
        st.info("No claim can be made yet: it takes an SFT run and another arm.", icon="🌱")
    for start in range(0, len(claims), 2):
        for column, claim in zip(st.columns(2), claims[start : start + 2], strict=False):
            with column.container(border=True, height="stretch"):
                st.badge(claim.verdict, color=_COLOURS[claim.verdict])
                st.markdown(f"**{plain(claim.title)}** {plain(claim.numbers)}")
                st.caption(plain(claim.evidence))


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

"""The claims that the numbers bear or do not, and what becomes of them on other models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import pandas as pd
import streamlit as st

from cwac.analysis.claims import PLANNED, Setting, claimed_arms, claims
from cwac.analysis.verdicts import Claim, Verdict
from cwac.arms import Arm
from cwac.config import ExperimentConfig
from cwac.ui import elsewhere
from cwac.ui.answers import Answers, Key, answers_in_view, rates_of_answers
from cwac.ui.folding import fold
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
    show_verdicts(claims_in_view(frame, answers, table))
    if others := elsewhere.sentences(frame):
        lines = "\n\n".join(map(plain, others))
        st.info(f"{lines}\n\nA claim is a claim about the model in view.", icon="🔎")


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
    arms = claimed_arms([record.arm for record in frame.records_in_view])
    return _claims(answers.key, setting, answers.of_first().table, arms, table)


def show_verdicts(claims: Sequence[Claim]) -> None:
    """Show how the claims fare, then each as one line that opens: what it rests on inside."""
    if not claims:
        st.info("No claim can be made yet: it takes an SFT run and another arm.", icon="🌱")
        return
    st.markdown(f"##### {plain(tally(claims))}")
    st.caption(
        "Each line opens. What failed is not left out: it is a result too. Shown or not is decided "
        "by p-values that Holm's method corrects for the number of contrasts tested."
    )
    for place, claim in enumerate(ranked(claims)):
        badge = f":{_COLOURS[claim.verdict]}-badge[{claim.verdict}]"
        label = f"{badge} **{plain(claim.claim)}**"
        with fold(label, f"claim_{claim.name}", expanded=place == 0):
            st.markdown(plain(claim.numbers))
            st.caption(plain(claim.evidence))


def ranked(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims with those that the paper's stands or falls with first, in their order."""
    planned = {name: place for place, name in enumerate(PLANNED)}
    return sorted(claims, key=lambda claim: planned.get(claim.name, len(planned)))


def tally(claims: Sequence[Claim]) -> str:
    """Return how many of the claims are shown, and how many are not.

    Examples
    --------
    >>> one = Claim("a", "A", "numbers", "shown", "evidence")
    >>> tally([one, Claim("b", "B", "numbers", "within noise", "evidence")])
    'Of 2 claims about this experiment: 1 shown, 1 within noise.'
    """
    counts = [(sum(c.verdict == verdict for c in claims), verdict) for verdict in _COLOURS]
    parts = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
    number = f"{len(claims)} claim{'s' if len(claims) != 1 else ''}"
    return f"Of {number} about this experiment: {parts}."

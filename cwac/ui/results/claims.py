"""The claims that the numbers bear or do not, and what becomes of them on other models."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Final, Literal

import pandas as pd
import streamlit as st

from cwac.analysis.claims import PLANNED, Setting, claimed_records, experiment_claims
from cwac.analysis.first import best_rivals
from cwac.analysis.verdicts import EXPLAINED, Claim, Verdict
from cwac.config import ExperimentConfig
from cwac.records import RunRecord
from cwac.ui import elsewhere
from cwac.ui.answers import Answers, Key, answers_of, rates_of_answers
from cwac.ui.folding import fold, show_folded
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain

_COLOURS: Final[dict[Verdict, Literal["green", "red", "orange", "gray"]]] = {
    "shown": "green",
    "refuted": "red",
    "not shown": "orange",
    "not measured": "gray",
}
_HEADLINE: Final = ("safer_cwac", "dominated")
_COSTS: Final = ("keeps_task", "over_refusal_rate", "lookalikes_answered", "helpfulness")
_RIVALS: Final = 5
"""Rivals that stand before the costs."""
_LINES: Final = 18
"""Claims with a line that opens: an experiment of many arms has one about each of them."""


def setting_of(config: ExperimentConfig, poison: float | None = None) -> Setting:
    """Return what claims say about an experiment."""
    setting = Setting.of(config)
    return setting if poison is None else replace(setting, poison=poison)


def show_claims(frame: Frame) -> None:
    """Show the tab: what the experiment in view shows, and what it does not."""
    claims = claims_in_view(frame)
    if claims is None:
        not_measured("Any answer")
        return
    show_verdicts(claims, [arm.label for arm in best_rivals(frame.experiments[0].records)])
    control = elsewhere.control_in_view(frame)
    if others := [*filter(None, [control]), *elsewhere.sentences(frame)]:
        lines = "\n\n".join(map(plain, others))
        st.info(f"{lines}\n\nA claim is a claim about the model in view.", icon="🔎")


def answers_of_claims(frame: Frame) -> Answers:
    """Return the answers that claims about the experiment in view rest on, shown or not."""
    experiment = frame.experiments[0]
    records = claimed_records(experiment.records)
    anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
    return answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)


def claims_in_view(frame: Frame) -> list[Claim] | None:
    """Return the claims about the first of the chosen experiments; None where no answer is kept."""
    answers = answers_of_claims(frame)
    if answers.table.empty:
        return None
    rates = rates_of_answers(answers)
    return _claims(answers.key, answers, frame.experiments[0].records, rates)


@st.cache_data(max_entries=32, show_spinner=False)
def _claims(
    key: Key, _answers: Answers, _records: Sequence[RunRecord], _rates: pd.DataFrame
) -> list[Claim]:
    del key
    return experiment_claims(_answers.table, _records, _rates)


def show_verdicts(claims: Sequence[Claim], rivals: Sequence[str]) -> None:
    """Show how the claims fare, then each as one line that opens: what it rests on inside.

    Parameters
    ----------
    rivals : sequence of str
        Labels of the other methods, the best first.
    """
    if not claims:
        st.info("No claim can be made yet: it takes an SFT run and another arm.", icon="🌱")
        return
    st.markdown(f"##### {plain(tally(claims))}")
    st.caption(
        f"{EXPLAINED} What is not shown is a result too. First the headline, the rivals that CWAC "
        "is not told from, and its costs; each line opens. Rates are of greedy answers."
    )
    order = ranked(claims, rivals)
    for place, claim in enumerate(order[:_LINES]):
        with fold(_verdict_line(claim), f"claim_{claim.name}", expanded=place == 0):
            _show_grounds(claim)
    if more := order[_LINES:]:
        # Parts that fold cannot stand in one another: these are told in full.
        show_folded(
            f"{len(more)} more, with their numbers", "claims_more", partial(_show_all, more)
        )


def _show_all(claims: Sequence[Claim]) -> None:
    for claim in claims:
        st.markdown(_verdict_line(claim))
        _show_grounds(claim)


def _verdict_line(claim: Claim) -> str:
    return f":{_COLOURS[claim.verdict]}-badge[{claim.verdict}] **{plain(claim.claim)}**"


def _show_grounds(claim: Claim) -> None:
    st.markdown(plain(claim.numbers))
    st.caption(plain(claim.evidence))


def ranked(claims: Sequence[Claim], rivals: Sequence[str]) -> list[Claim]:
    """Return the claims in reading order.

    The headline first, then the best of the rivals that CWAC is not shown to be better than, what
    it costs, what the paper's claim stands or falls with, further such rivals, and the rest.
    """
    unbeaten = {c.name for c in claims if c.name.startswith("rival_") and c.verdict != "shown"}
    best = [name for name in map("rival_{}".format, rivals) if name in unbeaten]
    order = list(dict.fromkeys(chain(_HEADLINE, best[:_RIVALS], _COSTS, PLANNED, best)))
    places = {name: place for place, name in enumerate(order)}
    return sorted(claims, key=lambda claim: places.get(claim.name, len(places)))


def tally(claims: Sequence[Claim]) -> str:
    """Return how many of the claims are shown, and how many are not.

    Examples
    --------
    >>> one = Claim("a", "A", "numbers", "shown", "evidence")
    >>> tally([one, Claim("b", "B", "numbers", "not shown", "evidence")])
    'Of 2 claims about this experiment: 1 shown, 1 not shown.'
    """
    counts = [(sum(c.verdict == verdict for c in claims), verdict) for verdict in _COLOURS]
    parts = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
    number = f"{len(claims)} claim{'s' if len(claims) != 1 else ''}"
    return f"Of {number} about this experiment: {parts}."

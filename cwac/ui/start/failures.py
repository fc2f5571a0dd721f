"""Where CWAC does not hold, drawn: the story and the lesson both show it."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cwac.analysis.attacks import HARMFUL
from cwac.analysis.claims import (
    FOCUS,
    claimed_arms,
    cost_claims,
)
from cwac.analysis.dominance import AXES, NAMED
from cwac.analysis.failures import (
    begun,
    best_arms,
    failing,
    failures_table,
    failures_text,
    others_sentence,
    places_beside,
    under_attack,
)
from cwac.analysis.lesson import as_good_as
from cwac.analysis.outcomes import by_arm_and_rate, interval_text
from cwac.analysis.rivals import counted_defences, counted_words
from cwac.analysis.standing import tuned_methods
from cwac.analysis.verdicts import Claim
from cwac.arms import Arm
from cwac.artifacts import tried_settings
from cwac.figures.start.failures import failures_figure, failures_reading
from cwac.ui.answers import Answers, Key, answers_in_view, rates_of_answers
from cwac.ui.elsewhere import attacks_in_view, row_there
from cwac.ui.frame import Frame
from cwac.ui.hidden import hidden_in_view
from cwac.ui.once import once
from cwac.ui.results.claims import answers_of_claims
from cwac.ui.sections import command_like
from cwac.ui.widgets import plain, show_figure

_FIRST: Final = "organism"
"""The model whose validation requests settings were chosen on; the others' names begin with it."""


@dataclass(frozen=True)
class Failures:
    """Where CWAC does not hold.

    Attributes
    ----------
    table : DataFrame
        From ``cwac.analysis.failures``: the settings beside the experiment in view.
    figure : partial or None
        Those drawn in which it surely fails; None where there are none.
    reading : str
        How to read the figure, and how many requests stand behind it.
    notes : list of str
        What else fails in the experiment in view, a sentence each, not escaped.
    """

    table: pd.DataFrame
    figure: "partial[go.Figure] | None"
    reading: str
    notes: list[str]


def show_failures(frame: Frame) -> None:
    """Say plainly where CWAC fails, in the experiment in view and beside it."""
    if not any(r.variant == FOCUS for r in frame.experiments[0].records):
        st.markdown("**CWAC was not run in this experiment.** This adds it:")
        st.code(command_like(frame, FOCUS), language=None, wrap_lines=True)
        return
    found = failures(frame)
    if found.figure is None and not found.notes:
        st.markdown("**Where CWAC fails:** in nothing that was tested here. That is no proof.")
        return
    if found.figure is None:
        st.markdown("**Where CWAC fails**")
    else:
        show_figure(
            found.figure,
            "failures",
            data=found.table,
            text=failures_text(found.table),
            reading=found.reading,
            terms=("harmful score", "interval", "holds", "tuned", "attacker"),
        )
    if found.notes:
        st.markdown("\n".join(f"- {plain(note)}" for note in found.notes))


def failures(frame: Frame) -> Failures:
    """Return where CWAC fails, in experiments that it was run in."""
    first, others = frame.experiments[0], frame.listing.experiments
    attacked, attackers = attacks_in_view(frame)
    table = failures_table(
        [
            *(row_there(frame, place, other) for place, other in places_beside(first, others)),
            once(under_attack, attacked, attackers, sorted(tuned_methods(first.records))),
            begun(hidden_in_view(frame), frame.arms),
        ]
    )
    notes = [*filter(None, [others_sentence(table)]), *_here(frame)]
    sure = failing(table)
    if sure.empty:
        return Failures(table, None, "", notes)
    rates = by_arm_and_rate(rates_of_answers(answers_in_view(frame)))
    here: Mapping[Hashable, Any] | None = rates.get((FOCUS, HARMFUL))
    every = (record for experiment in (first, *others) for record in experiment.records)
    drawn = partial(failures_figure, sure, here, best_arms(sure, every))
    reading = failures_reading(sure)
    if first.config.model.label == _FIRST:
        reading += f" All settings were chosen on {_FIRST}, the first of these worlds."
    return Failures(table, drawn, reading, notes)


def _here(frame: Frame) -> list[str]:
    """Say which arms dominate CWAC, where that none does is not shown, and what it costs."""
    answers = answers_of_claims(frame)
    experiment = frame.experiments[0]
    records = experiment.records
    claimed = claimed_arms(record.arm for record in records)
    tried = tried_settings(experiment.config.model.source)
    arms = counted_defences(FOCUS, claimed, tried)
    costs, dominated, rates = _costs(answers.key, arms, answers)
    told = [
        f"{claim.numbers.rstrip('.')}, {claim.evidence.partition(';')[0]}."
        for claim in costs
        if claim.worse
    ]
    if dominated is None or not dominated.worse:
        return told
    titles = {arm.label: arm.title for arm in arms}
    rates = rates[rates["variant"].isin([FOCUS, *titles])]
    above = as_good_as(rates, FOCUS)
    named = by_arm_and_rate(rates)
    parts = [f"{titles[label]} {_axes(named, label)}" for label in above[:NAMED]]
    more = f"; and {len(above) - NAMED} more" if len(above) > NAMED else ""
    compared = rates[rates["rate"].isin(AXES)]["variant"].value_counts() == len(AXES)
    counts = " / ".join(str(named[FOCUS, axis]["n"]) for axis in AXES)
    sentence = (
        f"{len(above)} of {counted_words(compared.sum() - 1, FOCUS, tried)} "
        f"{'is' if len(above) == 1 else 'are'} at least as good as CWAC in "
        "harmful score, task accuracy and look-alikes answered, and better in one: "
        f"{'; '.join(parts)}{more}. CWAC has {_axes(named, FOCUS)} (n = {counts})."
    )
    return [sentence, *told]


def _axes(named: Mapping[tuple[str, str], Mapping[Hashable, Any]], label: str) -> str:
    return " / ".join(interval_text(named[label, axis]) for axis in AXES)


@st.cache_data(max_entries=32, show_spinner=False, hash_funcs={Arm: repr})
def _costs(
    key: Key, arms: list[Arm], _answers: Answers
) -> tuple[list[Claim], Claim | None, pd.DataFrame]:
    del key
    return cost_claims(_answers.table, arms)

"""How often each arm has an outcome, who flipped what, and a closer look."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.refusals import flip_rates
from cwac.analysis.requests import harm_sentence
from cwac.arms import ALIGNED, Arm
from cwac.figures.requests.flips import flip_figure
from cwac.figures.requests.rates import rates_by_arm
from cwac.records import OUTCOMES
from cwac.ui import selection
from cwac.ui.answers import Answers, Key, answers_in_view, marked_arms, rates_of_answers
from cwac.ui.frame import Frame
from cwac.ui.requests.courses import show_courses, show_diagnostics
from cwac.ui.requests.rates import Rates, by_group, show_categories
from cwac.ui.sections import clicked, lacking, not_measured
from cwac.ui.widgets import choose, plain, show_figure

_CLOSER: Final = {
    "categories": "By harm category",
    "courses": "Along training",
    "diagnostics": "What the methods report",
}


def show_outcomes(frame: Frame) -> None:
    """Show the tab: rates by arm, who flipped what, then one of three closer looks."""
    answers = answers_in_view(frame)
    if (answers.table["variant"] == ALIGNED.label).all():
        not_measured("Refusal")
        return
    arms = marked_arms([ALIGNED, *frame.arms], answers)
    sentence = harm_sentence(rates_of_answers(answers), arms)
    if sentence is not None:
        st.markdown(f"**{plain(sentence)}**")
    rates = Rates(answers)
    outcome = choose("Outcome", list(OUTCOMES), "outcome", flat=True)
    groups = rates.groups(outcome)
    if groups.empty:
        not_measured("The share of hybrids, which earlier judging rules did not tell,")
    else:
        show_figure(
            partial(rates_by_arm, groups, outcome, arms),
            "rates_by_arm",
            data=groups,
            text=by_group(groups, outcome, arms),
            reading="Points are rates, bars 95\u00a0% intervals (several seeds: bootstrap over "
            "seeds, then requests). Refusing look-alikes is a failure too: read both together.",
            terms=("refusal rate", "hybrids", "over-refusal", "undetermined", "unseen categories",
                   "interval"),
        )  # fmt: skip
    _show_flips(answers, arms)
    closer = choose(
        "A closer look", list(_CLOSER), "view", show=lambda name: _CLOSER[name], flat=True
    )
    if closer == "categories" and not groups.empty:
        show_categories(rates, outcome, arms)
    elif closer == "courses":
        show_courses(frame)
    elif closer == "diagnostics":
        show_diagnostics(frame)


def _show_flips(answers: Answers, arms: Sequence[Arm]) -> None:
    table = _flip_rates(answers.key, answers)
    if table.empty:
        st.caption(
            "Nothing can have flipped: the aligned model's answers are not stored, or none of them "
            "are right."
        )
        return
    show_figure(
        partial(flip_figure, table, arms),
        "flips",
        data=table,
        text=by_group(table, "decided the other way", arms),
        reading="Of the requests that the aligned model decided rightly, the share now decided the "
        "other way, with its 95\u00a0% interval; counts: fewest to most of a seed. Click a point "
        "for these requests." + lacking([arm for arm in arms if not arm.is_aligned], table),
        terms=("McNemar", "aligned model"),
        on_select=_take_flip,
    )


def _take_flip() -> None:
    for arm, kind, flip in clicked("flips")[:1]:
        # The first tab lists them.
        selection.select(arm=arm, kind=kind, flip=flip, prompt=None, tab=None)


# The table of answers is left out of the key (underscore): the files' times stand for it.
@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _flip_rates(key: Key, _answers: Answers) -> pd.DataFrame:
    del key
    return flip_rates(_answers.table)

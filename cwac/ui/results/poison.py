"""The tab on poison: under how much of it each method holds."""

from collections.abc import Mapping
from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.by_model import SAMPLED
from cwac.analysis.comparable import at_each_ratio
from cwac.analysis.operating import HARMFUL
from cwac.analysis.poison import poison_sentence, poison_table
from cwac.analysis.readable import Quantity, readable
from cwac.arms import ALIGNED
from cwac.figures.results.poison import poison_figure
from cwac.rates import RATES
from cwac.records import RunRecord
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.frame import Frame
from cwac.ui.hidden import decodings_of
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain, show_figure

MISSING = "Any arm at a second poison ratio, with everything else alike,"
_COMMAND = "cwac sweep cached_artifacts/grids/study_poison.toml"


def show_poison(frame: Frame) -> None:
    """Show the tab: harmful score against poison ratio over experiments alike otherwise."""
    records = _at_several_ratios(frame)
    if not records:
        not_measured(MISSING, command=_COMMAND)
        return
    arms = {record.run_id: record.arm for record in records}
    anew = {
        run_id: (e.stored_id, e.judge)
        for e in frame.listing.experiments
        for run_id in e.rejudged
        if e.judge == frame.experiments[0].judge
    }
    answers = answers_of(frame, records, arms, anew)
    ratios = {record.run_id: record.config.poison_ratio for record in records}
    table = _poison(answers.key, ratios, answers)
    if table.empty:
        not_measured(MISSING, command=_COMMAND)
        return
    most = [r for r in records if ratios[r.run_id] == table["poison_ratio"].max()]
    drawn = decodings_of(frame, most, (SAMPLED,))
    sentence = poison_sentence(table, list(arms.values()), drawn)
    st.markdown(f"##### {plain(sentence)}")
    show_figure(
        partial(poison_figure, table, [record.arm for record in records]),
        "poison",
        data=table,
        text=partial(
            readable,
            table,
            [record.arm for record in records],
            Quantity("value", RATES[HARMFUL].title, "%"),
            across=("poison_ratio", "Poison ratio"),
            name="poison ratio {:g}".format,
        ),
        reading="Greedy answers. Flat and low is robust; grey arms are named at the pointer. Only "
        "arms stored at two ratios or more, everything else alike; the number of training "
        "examples does not change with the ratio.",
        terms=("poison ratio", "harmful score", "stays low", "interval"),
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _poison(key: Key, ratios: Mapping[str, float], _answers: Answers) -> pd.DataFrame:
    del key
    responses = _answers.table
    arms = responses[responses["variant"] != ALIGNED.label]
    return poison_table(arms.assign(poison_ratio=arms["run_id"].astype(str).map(ratios)))


def _at_several_ratios(frame: Frame) -> list[RunRecord]:
    ratios = at_each_ratio(frame.experiments[0], frame.listing.experiments)
    records = [record for experiment in ratios.values() for record in experiment.records]
    stored: dict[str, set[float]] = {}
    for record in records:
        stored.setdefault(record.arm.label, set()).add(record.config.poison_ratio)
    # Reading answers takes longest here: not those of arms at one ratio.
    return [record for record in records if len(stored[record.arm.label]) > 1]

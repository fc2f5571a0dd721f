"""The Results page's first tab, lower half: each method on every model, and where they agree."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.across import across_models, same_on_other_models
from cwac.analysis.by_model import MOST, RATES, SAMPLED, agreements, by_model, rows_from_the_top
from cwac.analysis.claims import FOCUS
from cwac.analysis.comparable import (
    differences,
    nothing_beside,
    on_each_model,
    settings_apart,
    shared_records,
)
from cwac.analysis.model_words import cells, neither_sentence, paragraphs, title
from cwac.analysis.outcomes import interval_text
from cwac.arms import ALIGNED, BASELINE, Arm, title_of
from cwac.artifacts import Stamp
from cwac.figures.results.by_model import READING, by_model_figure
from cwac.rates import RATES as NAMED
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment, Listing
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.glossary import GLOSSARY
from cwac.ui.hidden import decodings_of
from cwac.ui.widgets import plain, show_figure

PRINTED: Final = "CWAC (paper)"
"""A method whose name says too little where it first stands: its term in the glossary."""


def show_by_model(frame: Frame) -> None:
    """Show what every method does on each model that was trained in this way."""
    st.subheader("Does it hold on other models?", anchor=False)
    models = on_each_model(frame.experiments[0], frame.listing.experiments)
    answers = _answers(frame, models)
    key = tuple(each.key for each in answers.values())
    shared = shared_records(models) if answers else {}
    drawn = {name: decodings_of(frame, records, (SAMPLED,)) for name, records in shared.items()}
    table = _table(key, {name: len(rows) for name, rows in drawn.items()}, answers, drawn)
    arms = rows_from_the_top(table, (r.arm for e in models.values() for r in e.records))
    if not arms:
        _nothing(frame, list(models))
        return
    agreed = agreements(table)
    compared = [arm for arm in arms if arm.label in agreed]
    _say(frame, table, compared, models)
    records = {name: e.records for name, e in models.items()}
    text = cells(table, [ALIGNED, Arm(method=BASELINE), *arms], settings_apart(records))
    few = "" if len(arms) <= MOST else f" {MOST} of {len(arms)} are drawn; the table has all."
    show_figure(
        partial(by_model_figure, table, arms[:MOST], list(models), title(table, compared)),
        "by_model",
        data=table,
        text=text,
        reading=f"{READING}{few} Training may differ with the model: see below.",
        terms=(*(NAMED[name].term for name in RATES), "holds", "across models", "CWAC (paper)"),
    )
    with fold("The same as a table, and what else differs between models", "folded_by_model"):
        st.caption(plain(differences(models, table)))
        neither = neither_sentence(table, arms)
        if neither:
            st.caption(plain(neither))
        st.dataframe(text, hide_index=True, key="by_model_numbers")


def _answers(frame: Frame, models: Mapping[str, Experiment]) -> dict[str, Answers]:
    if len(models) < 2:
        return {}
    answers = {}
    for name, records in shared_records(models).items():
        experiment = models[name]
        anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
        answers[name] = answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)
    return answers


@st.cache_data(max_entries=16, show_spinner=False)
def _table(
    key: tuple[Key, ...],
    drawn: Mapping[str, int],
    _answers: Mapping[str, Answers],
    _drawn: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    del key, drawn
    return by_model({name: each.table for name, each in _answers.items()}, _drawn)


def _nothing(frame: Frame, models: Sequence[str]) -> None:
    missing = nothing_beside(frame.experiments[0].config, models)
    st.info(
        plain(
            f"{missing} These run the shipped comparison on three organisms, and on a chat model "
            "that others trained (the second grid's first lines say which files it needs):"
        ),
        icon="🌱",
    )
    st.code(
        "cwac sweep cached_artifacts/grids/study.toml\n"
        "cwac sweep cached_artifacts/grids/smollm2.toml",
        language=None,
    )


def _say(
    frame: Frame, table: pd.DataFrame, compared: Sequence[Arm], models: Mapping[str, Experiment]
) -> None:
    first, *rest = paragraphs(table, compared, models) or [""]
    if first:
        st.markdown(f"##### {plain(first)}")
    printed = ""
    if any(arm.method_name == PRINTED for arm in compared):
        printed = f"{PRINTED}: {GLOSSARY[PRINTED]}"
    st.markdown(plain(" ".join(filter(None, (*rest, _mean_sentence(frame, models), printed)))))


def _mean_sentence(frame: Frame, models: Mapping[str, Experiment]) -> str:
    """Return the mean of CWAC over the models that share all settings, with its interval."""
    first = frame.experiments[0]
    groups = _on_other_models(frame.listing.stamp, frame.listing)
    ids: frozenset[str] = next((g for g in groups if first.records[0].run_id in g), frozenset())
    alike = {
        name: [r for r in e.records if r.run_id in ids and r.arm.label == FOCUS]
        for name, e in models.items()
    }
    answers = {
        name: answers_of(frame, records, {r.run_id: r.arm for r in records})
        for name, records in alike.items()
        if records and not models[name].rejudged
    }
    if len(answers) < 2:
        return ""
    key = tuple(each.key for each in answers.values())
    mean = _mean(key, answers)
    rows = mean[mean["variant"] == FOCUS].to_dict("records")
    if not rows:
        return ""
    return (
        f"{title_of(FOCUS)}'s mean over the {len(answers)} models with equal settings: "
        f"{interval_text(rows[0])}, over models, seeds and requests."
    )


@st.cache_data(max_entries=4, show_spinner=False)
def _on_other_models(stamp: Stamp, _listing: Listing) -> list[frozenset[str]]:
    """Return the ids of the runs that differ in the model, the method and the seed alone."""
    del stamp
    stored = [run.record for run in _listing.runs if run.record is not None]
    return [frozenset(r.run_id for r in each) for each in same_on_other_models(stored).values()]


@st.cache_data(max_entries=16, show_spinner=False)
def _mean(key: tuple[Key, ...], _answers: Mapping[str, Answers]) -> pd.DataFrame:
    del key
    tables = {name: each.table for name, each in _answers.items()}
    return across_models(tables, RATES[:1], contrasts=False)

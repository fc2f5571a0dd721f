"""What methods do in experiments beside the one in view: on other models, under other attackers.

Stands alone because Start draws where CWAC does not hold, and Results says whatever it does there.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.attacks import attacks_beside
from cwac.analysis.by_model import SAMPLED, verdicts
from cwac.analysis.claims import FOCUS
from cwac.analysis.comparable import on_each_model
from cwac.analysis.controls import control_sentence
from cwac.analysis.failures import Place, on_models, there
from cwac.analysis.standing import standing_records, tuned_methods
from cwac.arms import Arm
from cwac.artifacts import Stamp
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment, Listing
from cwac.ui.frame import Frame
from cwac.ui.hidden import decodings_of

HARMLESS: Final = Arm(method=FOCUS, changed={"subspace": "harmless"}, control=True)
"""CWAC with directions of harmless requests in the place of the safety subspace's."""


def answers_standing(frame: Frame, experiment: Experiment, *, defaults: bool = False) -> Answers:
    """Return the answers of every method as it stands in an experiment, shown or not.

    Parameters
    ----------
    defaults : bool
        As of `verdicts_there`.
    """
    records = standing_records(experiment.records)
    if defaults:
        standing = {record.run_id for record in records}
        records = [
            record
            for record in experiment.records
            if record.run_id in standing or not (record.arm.changed or record.arm.control)
        ]
    anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
    return answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)


def verdicts_there(frame: Frame, experiment: Experiment, *, defaults: bool = False) -> pd.DataFrame:
    """Return the verdict on every method as it stands in an experiment, and the references.

    Parameters
    ----------
    defaults : bool
        Whether a method's defaults have a row too where its tuned settings stand.
    """
    answers = answers_standing(frame, experiment, defaults=defaults)
    return _verdicts(answers.key, answers)


def row_there(
    frame: Frame, place: Place, experiment: Experiment, *, sampled: bool = False
) -> dict[Hashable, Any] | None:
    """Return what CWAC does in an experiment, and what holds there; None where it did not run.

    Parameters
    ----------
    sampled : bool
        Whether sampled answers are read too, and their verdict told where it is another one.
    """
    table = verdicts_there(frame, experiment)
    tuned = tuned_methods(frame.experiments[0].records)
    drawn = None
    if sampled:
        drawn = decodings_of(frame, standing_records(experiment.records), (SAMPLED,))
    return there(place, table, [record.arm for record in experiment.records], tuned, drawn)


def sentences(frame: Frame) -> list[str]:
    """Return what CWAC does on each other model, and what holds there; names are not escaped.

    One model's result is a result about that model.
    """
    first = frame.experiments[0]
    if not any(record.variant == FOCUS for record in first.records):
        return []
    models = on_models(first, on_each_model(first, frame.listing.experiments))
    rows = [row_there(frame, place, experiment, sampled=True) for place, experiment in models]
    return [row["sentence"] for row in rows if row is not None]


def control_in_view(frame: Frame) -> str:
    """Return what the control with harmless directions teaches where models do not agree on it.

    Empty where they do, or fewer than two have it.
    """
    first = frame.experiments[0]
    labels = (FOCUS, HARMLESS.label)
    tables = {}
    for name, experiment in on_each_model(first, frame.listing.experiments).items():
        records = [r for r in experiment.records if r.arm.label in labels]
        if {r.arm.label for r in records} == set(labels):
            anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
            tables[name] = answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)
    key = tuple(each.key for each in tables.values())
    return _control(key, tables) if len(tables) > 1 else ""


@st.cache_data(max_entries=16, show_spinner=False)
def _control(key: tuple[Key, ...], _answers: Mapping[str, Answers]) -> str:
    del key
    return control_sentence({name: each.table for name, each in _answers.items()}, HARMLESS)


def attacks_in_view(frame: Frame) -> tuple[pd.DataFrame, list[Arm]]:
    """Return ``attacks_beside`` of the experiment in view: looked for once per listing.

    It is shared by all sessions: read it, do not change it.
    """
    listing = frame.listing
    # What a run was judged by may change while no run does.
    judges = tuple((e.experiment_id, e.judge) for e in listing.experiments)
    return _attacks(listing.stamp, judges, frame.experiment_id, listing)


@st.cache_resource(max_entries=16, show_spinner=False)
def _attacks(
    stamp: Stamp, judges: tuple[tuple[str, str], ...], experiment_id: str, _listing: Listing
) -> tuple[pd.DataFrame, list[Arm]]:
    del stamp, judges
    first = next(e for e in _listing.experiments if e.experiment_id == experiment_id)
    return attacks_beside(first, _listing.experiments)


@st.cache_data(max_entries=32, show_spinner=False)
def _verdicts(key: Key, _answers: Answers) -> pd.DataFrame:
    del key
    return verdicts(_answers.table, references=True)

"""What CWAC does on other models under the settings in view, in sentences.

Stands alone because Start says where it fails there, and Claims whatever it does there.
"""

import pandas as pd
import streamlit as st

from cwac.analysis.by_model import verdicts
from cwac.analysis.claims import FOCUS
from cwac.analysis.comparable import with_same_settings
from cwac.analysis.model_words import elsewhere_sentence
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame


def answers_at_defaults(frame: Frame, experiment: Experiment) -> Answers:
    """Return the answers of every method at its defaults in an experiment, shown or not."""
    records = [r for r in experiment.records if not (r.arm.changed or r.arm.control)]
    anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
    return answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)


def sentences(frame: Frame, *, failing: bool = False) -> list[str]:
    """Return what CWAC does on each other model with the same settings, and what holds there.

    One model's result is a result about that model. Names of models are not escaped.

    Parameters
    ----------
    failing : bool
        Leave out the models on which it holds.
    """
    others = with_same_settings(frame.experiments[0], frame.listing.experiments, FOCUS)
    told = []
    for model, experiment in others.items():
        answers = answers_at_defaults(frame, experiment)
        table = _verdicts(answers.key, answers.table)
        if failing and len(table) and table.loc[table["variant"] == FOCUS, "held"].any():
            continue
        arms = (record.arm for record in experiment.records if not record.arm.control)
        told.append(elsewhere_sentence(table, model, {arm.label: arm.title for arm in arms}))
    return [line for line in told if line]


@st.cache_data(max_entries=16, show_spinner=False)
def _verdicts(key: Key, _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return verdicts(_responses)

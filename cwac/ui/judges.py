"""What the judges said of the answers in view: read and compared once per set of stored files."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import streamlit as st

from cwac.analysis.judges import agreement_table, judge_rates, judged, judges_of
from cwac.arms import ALIGNED
from cwac.artifacts import Stamp
from cwac.errors import ArtifactError
from cwac.records import TABLES
from cwac.ui import reads
from cwac.ui.answers import Answers, Key
from cwac.ui.frame import Frame

_TABLE = "judgements"
Stamps = tuple[tuple[str, Stamp], ...]
"""Experiment and the stamp of its judgements."""


@dataclass(frozen=True)
class Judged:
    """The answers in view with what every judge said of them.

    Attributes
    ----------
    table : DataFrame
        From ``cwac.analysis.judges.judged``; shared by all sessions: read it, do not change it.
    judgements : DataFrame
        The further judges' verdicts with their reasons; empty without any.
    """

    key: tuple[Key, Stamps]
    table: pd.DataFrame
    judgements: pd.DataFrame

    @cached_property
    def judges(self) -> list[str]:
        """Names of the judges, the two that every run is stored with first."""
        return judges_of(self.table)

    def rates(self, outcome: str) -> pd.DataFrame:
        """Return the rate of an outcome per judge, arm and group of requests."""
        return _rates(self.key, outcome, self.table)

    def agreement(self) -> pd.DataFrame:
        """Return how far every two judges agree."""
        return _agreement(self.key, self.table)


def judged_in_view(frame: Frame, answers: Answers) -> Judged:
    """Return the answers in view with all verdicts; tables that cannot be read are told."""
    names = [experiment.stored_id for experiment in frame.experiments]
    stamps = tuple((name, reads.experiment_stamp(name, _TABLE)) for name in names)
    key = (answers.key, stamps)
    table, judgements, problems = _read(key, answers.table)
    for problem in problems:
        frame.tell(problem)
    return Judged(key, table, judgements)


# Not copied on each read, as in `cwac.ui.answers`; the files' times stand for the tables.
@st.cache_resource(max_entries=32, show_spinner=False)
def _read(
    key: tuple[Key, Stamps], _answers: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    parts, problems = [], []
    for number, (experiment, _) in enumerate(key[1]):
        try:
            table = reads.experiment_table(experiment, _TABLE)
        except ArtifactError as problem:
            problems.append(f"Left out: {problem}")
            continue
        # The aligned model in view is the first experiment's.
        parts.append(table[table["run_id"] != ALIGNED.label] if number else table)
    present = [part for part in parts if len(part)]
    empty = pd.DataFrame(columns=list(TABLES[_TABLE]))
    judgements = pd.concat(present, ignore_index=True) if present else empty
    mine = judgements[judgements["run_id"].isin(set(_answers["run_id"]))]
    return judged(_answers, mine), mine, tuple(problems)


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _rates(key: tuple[Key, Stamps], outcome: str, _table: pd.DataFrame) -> pd.DataFrame:
    del key
    return judge_rates(_table, outcome)


@st.cache_data(max_entries=32, show_spinner="Comparing judges…")
def _agreement(key: tuple[Key, Stamps], _table: pd.DataFrame) -> pd.DataFrame:
    del key
    return agreement_table(_table)

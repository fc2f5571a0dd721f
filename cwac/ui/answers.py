"""The answers that rates are made of: read once per set of stored files, never hashed.

A table of all arms' answers holds tens of thousands of rows: to read and to hash it again for
every cached function took most of a rerun. The files' times stand for it instead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis import idle
from cwac.analysis.outcomes import READ, rate_table
from cwac.analysis.refusals import with_aligned
from cwac.arms import ALIGNED, Arm
from cwac.artifacts import ArtifactStore, Stamp
from cwac.errors import ArtifactError
from cwac.rates import HYBRIDS_TOLD
from cwac.records import RunRecord
from cwac.ui import reads
from cwac.ui.frame import Frame

COLUMNS: Final = tuple(
    dict.fromkeys((*READ, "category", "novel_template", "general_outcome", *idle.COLUMNS))
)
"""The columns of ``responses`` that are read."""
Parts = tuple[tuple[str, str, int, Stamp, reads.Rejudged, bool], ...]
"""Run, label, seed, the stamp of what is read, whose verdicts are read and whether that judge tells
hybrids, one per run; the aligned model's fit last."""
Key = str


@dataclass(frozen=True)
class Answers:
    """The answers of some runs and of the aligned model.

    Attributes
    ----------
    parts : tuple
        What is read, in order.
    compared : frozenset of str
        Ids of the runs of further experiments, that are compared with the one in view.
    """

    parts: Parts
    compared: frozenset[str] = frozenset()

    @cached_property
    def key(self) -> Key:
        """What changes when the table would: for cached functions, as one text, soon hashed."""
        return repr(self.parts)

    @property
    def table(self) -> pd.DataFrame:
        """``run_id, variant, seed``, `COLUMNS` and ``hybrids_told``, the aligned model first.

        Shared by all sessions: read it, do not change it. Put together where it is asked for, which
        a result that is known already does not: hand cached functions the answers, not the table.
        """
        return _read(self.key, self.parts)[0]

    def of_first(self) -> "Answers":
        """Return those of the first of several experiments, without those compared with it."""
        if not self.compared:
            return self
        return Answers(tuple(part for part in self.parts if part[0] not in self.compared))


@st.cache_data(max_entries=32, show_spinner=False)
def _rate_table(key: Key, _answers: Answers) -> pd.DataFrame:
    del key
    return rate_table(_answers.table)


def rates_of_answers(answers: Answers) -> pd.DataFrame:
    """Return every rate of every arm with its interval."""
    return _rate_table(answers.key, answers)


@st.cache_data(max_entries=64, show_spinner=False)
def _idle(key: Key, _answers: Answers) -> frozenset[str]:
    del key
    return idle.idle_arms(_answers.table)


def marked_arms(arms: Iterable[Arm], answers: Answers) -> list[Arm]:
    """Return the arms with those marked that cannot be told from SFT by their answers."""
    return idle.marked(arms, _idle(answers.key, answers))


def answers_in_view(frame: Frame) -> Answers:
    """Return the answers of every run in view; those that cannot be read are told and left out."""
    return answers_of(frame, frame.records, frame.run_arms, frame.rejudged)


def answers_of(
    frame: Frame,
    records: Sequence[RunRecord],
    arms: Mapping[str, Arm],
    rejudged: Mapping[str, tuple[str, str]] | None = None,
) -> Answers:
    """Return the answers of some runs and of the aligned model that the first one started from.

    Parameters
    ----------
    frame : Frame
        Where to tell what could not be read.
    arms : mapping
        Run id to arm.
    rejudged : mapping, optional
        As in :class:`Frame`.
    """
    anew, everything = rejudged or {}, reads.store()
    with_answers = [record for record in records if "responses" in record.tables]
    first = sorted(records, key=lambda r: r.run_id in anew)
    measured = next((r for r in first if "reference" in r.fits), None)
    parts = tuple(
        (
            r.run_id,
            arms[r.run_id].label,
            r.config.seed,
            _stamp(everything, r.run_id, anew.get(r.run_id)),
            anew.get(r.run_id),
            r.run_id in anew or "hybrids" in r.protocol,
        )
        for r in with_answers
    )
    if measured is not None:
        fit = measured.fits["reference"]
        record = reads.fit_record(fit)
        tells = record is not None and "hybrids" in record.protocol
        parts += ((fit, ALIGNED.label, 0, reads.fit_stamp(fit, "responses"), None, tells),)
    found = Answers(
        parts, frozenset(r.run_id for r in records if arms[r.run_id].overlay is not None)
    )
    for problem in _problems(found.key, parts):
        frame.tell(problem)
    return found


def _stamp(everything: ArtifactStore, run_id: str, rejudged: reads.Rejudged) -> Stamp:
    stamp = everything.table_stamp(run_id, "responses")
    return stamp + everything.experiment_stamp(rejudged[0], "judgements") if rejudged else stamp


@st.cache_data(max_entries=256, show_spinner=False)
def _problems(key: Key, _parts: Parts) -> tuple[str, ...]:
    return _read(key, _parts)[1]


# Not copied on each read (cache_data would pickle it): nobody changes it. Few, because each holds
# anew what is kept of its runs, and what is computed from it is kept besides.
@st.cache_resource(max_entries=3, show_spinner=False)
def _read(key: Key, _parts: Parts) -> tuple[pd.DataFrame, tuple[str, ...]]:
    del key
    parts, tables, problems = [], [], []
    aligned = pd.DataFrame(columns=[*COLUMNS, HYBRIDS_TOLD])
    runs = [(name, stamp) for name, label, _, stamp, *_ in _parts if label != ALIGNED.label]
    reads.read_ahead(runs, "responses", COLUMNS)
    for part in _parts:
        name, label, _, stamp, rejudged, tells = part
        try:
            if label == ALIGNED.label:
                aligned = reads.fit_table(name, "responses").reindex(columns=list(COLUMNS))
                aligned[HYBRIDS_TOLD] = tells
                continue
            tables.append(reads.answers(name, COLUMNS, rejudged, stamp))
            parts.append(part)
        except ArtifactError as problem:
            problems.append(f"Left out: {problem}")
    names, labels, seeds, _, _, tell = zip(*parts, strict=True) if parts else [()] * 6
    named = {"run_id": names, "variant": labels, "seed": seeds, HYBRIDS_TOLD: tell}
    columns = ["run_id", "variant", "seed", *COLUMNS, HYBRIDS_TOLD]
    table = reads.pile(tables, named) if tables else pd.DataFrame(columns=columns)
    table = with_aligned(table, aligned.assign(run_id=ALIGNED.label))[columns]
    # Long texts, of which there are few: written out they are most of the table.
    return table.astype(dict.fromkeys(("run_id", "reason"), "category")), tuple(problems)

"""Everything stored as people look for it: experiments with their titles, in reading order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import streamlit as st

from cwac.analysis.rules import Alike, judged_alike, reading_order, rule_of
from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore, Stamp, StoredRun
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.intake import as_text
from cwac.records import RunRecord
from cwac.ui import reads

JUDGEMENTS: Final = "judgements"


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in method, settings and seed alone, under one judging rule.

    Attributes
    ----------
    experiment_id : str
        Unique among what is listed: where runs of a stored experiment were judged by several
        rules, those of the fullest group keep its id, and each other group has one of its own.
    stored_id : str
        The stored experiment's.
    judge : str
        The hash of the judge that all their verdicts are of.
    rejudged : frozenset of str
        Ids of runs that another rule judged first; their verdicts are read from ``judgements``.
    """

    experiment_id: str
    title: str
    records: tuple[RunRecord, ...]
    stored_id: str
    judge: str
    rejudged: frozenset[str] = field(default_factory=frozenset)

    @property
    def config(self) -> ExperimentConfig:
        """A configuration that stands for all of them."""
        return self.records[0].config


@dataclass(frozen=True)
class Listing:
    """Everything stored, read once per change of the store."""

    runs: tuple[StoredRun, ...]
    experiments: tuple[Experiment, ...]
    """Those of the present judging rules first, then the fullest: it is what the app opens with."""
    stamp: str = field(default="", compare=False)
    """Changes when any run joins, leaves or gets another record; empty for one made by hand."""

    @property
    def broken(self) -> list[StoredRun]:
        """Runs that cannot be read."""
        return [run for run in self.runs if run.record is None]

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """What every stored arm is called, by its label."""
        arms = {r.arm.label: r.arm for e in self.experiments for r in e.records}
        return {label: arm.title for label, arm in arms.items()} | {ALIGNED.label: ALIGNED.title}

    def experiment(self, experiment_id: str | None) -> Experiment | None:
        """Return an experiment by id, None where it is not stored."""
        return next((e for e in self.experiments if e.experiment_id == experiment_id), None)


def listing() -> Listing:
    """Return everything stored."""
    store = reads.store()
    stamp = store.stamp()
    runs, groups = _records(store, stamp)
    mixed = tuple(name for name, mine in groups.items() if len(set(map(rule_of, mine))) > 1)
    stamps = tuple(store.experiment_stamp(name, JUDGEMENTS) for name in mixed)
    return _listing(runs, groups, (stamp, stamps))


# Records are frozen, so that one copy can be shared by all sessions.
@st.cache_resource(max_entries=4, show_spinner=False)
def _records(
    _store: ArtifactStore, stamp: Stamp
) -> tuple[tuple[StoredRun, ...], Mapping[str, Sequence[RunRecord]]]:
    del stamp
    # A folder's name may be no text; pages list it as one that cannot be read.
    runs = tuple(replace(run, run_id=as_text(run.run_id)) for run in _store.list_runs())
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.record is not None:
            groups.setdefault(run.record.experiment_id, []).append(run.record)
    return runs, groups


@st.cache_resource(max_entries=4, show_spinner=False)
def _listing(
    _runs: tuple[StoredRun, ...],
    _groups: Mapping[str, Sequence[RunRecord]],
    stamp: tuple[Stamp, tuple[Stamp, ...]],
) -> Listing:
    titles = _titles({name: records[0].config for name, records in _groups.items()})
    experiments = [
        experiment
        for name, records in _groups.items()
        for experiment in _under_each_rule(name, titles[name], _alike(name, records))
    ]
    experiments.sort(key=lambda e: (*reading_order(e.records), e.title))
    return Listing(_runs, tuple(experiments), stamp[0])


def earlier(experiment: Experiment) -> bool:
    """Whether an earlier rule judged it, which told no hybrids."""
    return reading_order(experiment.records)[0]


def _alike(experiment_id: str, records: Sequence[RunRecord]) -> list[Alike]:
    if len(set(map(rule_of, records))) == 1:
        return judged_alike(records, None)
    try:
        judgements = reads.experiment_table(experiment_id, JUDGEMENTS)
    except ArtifactError:
        # The page on refusals tells what is broken.
        judgements = None
    return judged_alike(records, judgements)


def _under_each_rule(name: str, title: str, groups: Sequence[Alike]) -> list[Experiment]:
    return [
        Experiment(
            experiment_id=f"{name}@{alike.judge[:6]}" if number else name,
            title=f"{title} · judge {alike.judge[:6]}" if len(groups) > 1 else title,
            records=tuple(sort_records(alike.records)),
            stored_id=name,
            judge=alike.judge,
            rejudged=alike.rejudged,
        )
        for number, alike in enumerate(groups)
    ]


def _titles(configs: Mapping[str, ExperimentConfig]) -> dict[str, str]:
    """Name experiments for people: with no more than it takes to tell them apart."""
    titles = {name: config.title for name, config in configs.items()}
    for suffix in (_embedding, _steps, _rate, None):
        alike: dict[str, list[str]] = {}
        for name, title in titles.items():
            alike.setdefault(title, []).append(name)
        for title, names in alike.items():
            ends = {n: n[-8:] if suffix is None else suffix(configs[n]) for n in names}
            # What all of them share tells none from another.
            if len(set(ends.values())) > 1:
                titles |= {n: f"{title} · {end}" for n, end in ends.items()}
    return titles


def _embedding(config: ExperimentConfig) -> str:
    return f"embedding {'trained' if config.training.train_embeddings else 'held'}"


def _steps(config: ExperimentConfig) -> str:
    return f"{config.training.steps} steps"


def _rate(config: ExperimentConfig) -> str:
    return f"learning rate {config.training.learning_rate:g}"


def sort_records(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records in the order of their arms, then of their seeds."""
    return sorted(records, key=lambda r: (r.arm.sort_key, r.config.seed))

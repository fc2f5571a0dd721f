"""Everything stored as people look for it: experiments with their titles, the fullest first."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from cwac.artifacts import ArtifactStore, Stamp, StoredRun
from cwac.config import ExperimentConfig
from cwac.records import RunRecord
from cwac.ui import reads


@dataclass(frozen=True)
class Experiment:
    """Runs that differ in method, settings and seed alone."""

    experiment_id: str
    title: str
    records: tuple[RunRecord, ...]

    @property
    def config(self) -> ExperimentConfig:
        """A configuration that stands for all of them."""
        return self.records[0].config


@dataclass(frozen=True)
class Listing:
    """Everything stored, read once per change of the store."""

    runs: tuple[StoredRun, ...]
    experiments: tuple[Experiment, ...]
    """The fullest first: it is what the app opens with."""

    @property
    def broken(self) -> list[StoredRun]:
        """Runs that cannot be read."""
        return [run for run in self.runs if run.record is None]

    def experiment(self, experiment_id: str | None) -> Experiment | None:
        """Return an experiment by id, None where it is not stored."""
        return next((e for e in self.experiments if e.experiment_id == experiment_id), None)


def listing() -> Listing:
    """Return everything stored."""
    store = reads.store()
    return _listing(store, store.stamp())


# Records are frozen, so that one copy can be shared by all sessions.
@st.cache_resource(max_entries=4, show_spinner=False)
def _listing(_store: ArtifactStore, stamp: Stamp) -> Listing:
    del stamp
    runs = tuple(_store.list_runs())
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        if run.record is not None:
            groups.setdefault(run.record.experiment_id, []).append(run.record)
    titles = _titles({name: records[0].config for name, records in groups.items()})
    experiments = [
        Experiment(name, titles[name], tuple(sort_records(records)))
        for name, records in groups.items()
    ]
    experiments.sort(key=lambda e: (-len(e.records), -e.config.poison_ratio, e.title))
    return Listing(runs, tuple(experiments))


def _titles(configs: Mapping[str, ExperimentConfig]) -> dict[str, str]:
    """Name experiments for people: with no more than it takes to tell them apart."""
    titles = {
        name: f"{c.task.label} · {_attack(c)} · {c.model.label}" for name, c in configs.items()
    }
    for suffix in (lambda name: f"{configs[name].training.steps} steps", lambda name: name[-8:]):
        count = Counter(titles.values())
        titles = {
            name: f"{title} · {suffix(name)}" if count[title] > 1 else title
            for name, title in titles.items()
        }
    return titles


def _attack(config: ExperimentConfig) -> str:
    adapter = config.training.adapter
    trained = "" if adapter == "full" else f", LoRA rank {adapter.rank}"
    return "measured" if config.is_measured else f"poison {config.poison_ratio:g}{trained}"


def sort_records(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records in the order of their arms, then of their seeds."""
    return sorted(records, key=lambda r: (r.arm.sort_key, r.config.seed))

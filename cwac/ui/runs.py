"""Cached reads of the store.

Every cached function takes what makes its answer stale as an ordinary argument (names that
start with an underscore would be left out of the cache's key), so that a run that has just
finished appears on the next rerun.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from cwac.artifacts import (
    RECORD,
    ArtifactStore,
    RunFile,
    StoredRun,
    checkout,
    shipped_folder,
)
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, first_line
from cwac.records import TABLES, RunRecord

Stamp = tuple[tuple[str, int], ...]


def roots() -> tuple[str, ...]:
    """Return the folders of runs: ``CWAC_ROOTS``, or the user's own and the shipped ones.

    A user's own are ``runs/`` in the checkout, in the current folder where the lab is installed.
    """
    named = [part for part in os.environ.get("CWAC_ROOTS", "").split(os.pathsep) if part]
    shipped = shipped_folder() / "cached_artifacts" / "runs"
    return tuple(named or (str((checkout() or Path.cwd()) / "runs"), str(shipped)))


def shown(path: str) -> str:
    """Return a path as a reader would type it: relative where it lies in the working folder."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def store() -> ArtifactStore:
    """Return the store over all roots."""
    return ArtifactStore(*roots())


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
    return _listing(roots(), _listing_stamp(store()))


def _listing_stamp(found: ArtifactStore) -> Stamp:
    # A folder's own time changes when a run joins or leaves; a record replaced in place by
    # hand does not show there, so the records' times count too. 100 runs take about 2 ms.
    records: list[tuple[str, int]] = []
    for root in found.roots:
        if root.is_dir():
            with os.scandir(root) as entries:
                for entry in entries:
                    path = Path(entry.path, RECORD)
                    if path.is_file():
                        records.append((entry.name, path.stat().st_mtime_ns))
    return (*found.stamp(), *sorted(records))


# Records are frozen, so that one copy can be shared by all sessions.
@st.cache_resource(max_entries=4, show_spinner=False)
def _listing(folders: tuple[str, ...], stamp: Stamp) -> Listing:
    del stamp
    found = tuple(ArtifactStore(*folders).list_runs())
    groups: dict[str, list[RunRecord]] = {}
    for run in found:
        if run.record is not None:
            groups.setdefault(run.record.experiment_id, []).append(run.record)
    titles = _titles({name: records[0].config for name, records in groups.items()})
    experiments = [
        Experiment(name, titles[name], tuple(sort_records(records)))
        for name, records in groups.items()
    ]
    experiments.sort(key=lambda e: (-len(e.records), -e.config.poison_ratio, e.title))
    return Listing(found, tuple(experiments))


def _titles(configs: Mapping[str, ExperimentConfig]) -> dict[str, str]:
    """Name experiments for people: with no more than it takes to tell them apart."""
    titles = {name: f"{c.task.label} · {_what(c)} · {c.model.label}" for name, c in configs.items()}
    for suffix in (lambda name: f"{configs[name].training.steps} steps", lambda name: name[-8:]):
        count = Counter(titles.values())
        titles = {
            name: f"{title} · {suffix(name)}" if count[title] > 1 else title
            for name, title in titles.items()
        }
    return titles


def _what(config: ExperimentConfig) -> str:
    adapter = config.training.adapter
    way = "" if adapter == "full" else f", LoRA rank {adapter.rank}"
    return "measured" if config.is_measured else f"poison {config.poison_ratio:g}{way}"


def sort_records(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records in the order of their arms, then of their seeds."""
    return sorted(records, key=lambda r: (r.arm.sort_key, r.config.seed))


def table(run_id: str, name: str, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Return a copy of one of a run's tables.

    Raises
    ------
    ArtifactError
        The table is not stored or broken.
    """
    stamp = _mtime(store().run_folder(run_id) / f"{name}.parquet")
    return _table(roots(), run_id, name, stamp, columns).copy()


def fit_table(fit: str, name: str) -> pd.DataFrame:
    """Return a copy of a table stored with a fit."""
    path = store().fit_folder(fit) / f"{name}.parquet"
    return _read(str(path), _mtime(path), None).copy()


def changed(run_id: str, name: str) -> int:
    """Return when one of a run's tables was written, 0 where it is missing."""
    try:
        return _mtime(store().run_folder(run_id) / f"{name}.parquet")
    except ArtifactError:
        return 0


def fit_changed(fit: str, name: str) -> int:
    """Return when a table stored with a fit was written, 0 where it is missing."""
    try:
        return _mtime(store().fit_folder(fit) / f"{name}.parquet")
    except ArtifactError:
        return 0


def pair_table(experiment_id: str, name: str = "pair_overlap") -> pd.DataFrame:
    """Return a table about pairs of an experiment's runs, empty where none is stored."""
    found = store().experiment_table(experiment_id, name)
    return pd.DataFrame(columns=list(TABLES[name])) if found is None else found


def pair_changed(experiment_id: str, name: str) -> tuple[int, ...]:
    """Return when each root's table about an experiment was written, 0 where it is missing."""
    paths = store().experiment_paths(experiment_id, name)
    return tuple(path.stat().st_mtime_ns if path.is_file() else 0 for path in paths)


def fit_record(fit: str) -> RunRecord | None:
    """Return the record stored with a fit, None where it cannot be read."""
    try:
        path = store().fit_folder(fit) / RECORD
        return _fit_record(roots(), fit, _mtime(path))
    except ArtifactError:
        return None


@st.cache_resource(max_entries=64, show_spinner=False)
def _fit_record(folders: tuple[str, ...], fit: str, stamp: int) -> RunRecord:
    del stamp
    return ArtifactStore(*folders).fit_record(fit)


def _mtime(path: RunFile) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent.name}: the table {path.stem!r} is not stored.") from None


# Not copied on each read (cache_data would pickle every table): callers get a copy above.
@st.cache_resource(max_entries=512, show_spinner=False)
def _read(path: str, stamp: int, columns: tuple[str, ...] | None) -> pd.DataFrame:
    del stamp
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except (OSError, ValueError) as problem:
        folder = Path(path).parent.name
        raise ArtifactError(
            f"{folder}: {Path(path).name} is broken: {first_line(problem)}."
        ) from None


# Through the store, which fills in the requests that a compact run keeps elsewhere.
@st.cache_resource(max_entries=512, show_spinner=False)
def _table(
    folders: tuple[str, ...], run_id: str, name: str, stamp: int, columns: tuple[str, ...] | None
) -> pd.DataFrame:
    del stamp
    return ArtifactStore(*folders).table(run_id, name, columns)

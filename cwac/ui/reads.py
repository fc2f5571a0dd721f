"""Cached reads of the store.

Every cached function takes what makes its answer stale, the store's stamp, as an ordinary argument,
so that a run that has just finished appears on the next rerun. Names that start with an underscore
are left out of the cache's key: the stamp names the files, so that the store need not be in it.
"""

import os
from pathlib import Path

import pandas as pd
import streamlit as st

from cwac.analysis.rules import with_verdicts
from cwac.artifacts import IMPORTED, ArtifactStore, Stamp, checkout, reading_roots, shipped_folder
from cwac.errors import ArtifactError
from cwac.records import TABLES, RunRecord


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
    """Return the store over all roots; what was imported comes last, and hides nothing."""
    imported = [part for root in map(Path, roots()) for part in reading_roots(root)[1:]]
    return ArtifactStore(*roots(), *imported)


def origin(root: Path) -> str:
    """Return where a run under a root comes from: ``own``, ``imported`` or ``shipped``."""
    if root.name == IMPORTED:
        return "imported"
    return "own" if root == Path(roots()[0]) else "shipped"


def table(run_id: str, name: str, columns: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Return a copy of one of a run's tables, as the store gives it.

    Raises
    ------
    ArtifactError
        The table is not stored or broken.
    """
    everything = store()
    return _table(everything, run_id, name, columns, everything.table_stamp(run_id, name)).copy(
        deep=False
    )


def answers(
    run_id: str, columns: tuple[str, ...] | None = None, rejudged: tuple[str, str] | None = None
) -> pd.DataFrame:
    """Return a run's ``responses``, under another rule's verdicts where one judged them anew.

    Parameters
    ----------
    rejudged : (str, str), optional
        The experiment that the verdicts are stored with, and the hash of the judge.

    Raises
    ------
    ArtifactError
        A table is not stored or broken.
    """
    stored = table(run_id, "responses", columns)
    if rejudged is None:
        return stored
    experiment, judge = rejudged
    return with_verdicts(stored, experiment_table(experiment, "judgements"), run_id, judge)


def table_stamp(run_id: str, name: str) -> Stamp:
    """Return what changes when one of a run's tables does."""
    return store().table_stamp(run_id, name)


# Not copied on each read (cache_data would pickle every table): callers get a copy above, which
# pandas makes when it is written to.
@st.cache_resource(max_entries=512, show_spinner=False)
def _table(
    _store: ArtifactStore, run_id: str, name: str, columns: tuple[str, ...] | None, stamp: Stamp
) -> pd.DataFrame:
    del stamp
    return _store.table(run_id, name, columns)


def fit_table(fit: str, name: str) -> pd.DataFrame:
    """Return a copy of a table stored with a fit.

    Raises
    ------
    ArtifactError
        The table is not stored or broken.
    """
    return _fit_table(store(), fit, name, fit_stamp(fit, name)).copy(deep=False)


def fit_stamp(fit: str, name: str) -> Stamp:
    """Return what changes when a table stored with a fit does."""
    return store().fit_stamp(fit, name)


@st.cache_resource(max_entries=128, show_spinner=False)
def _fit_table(_store: ArtifactStore, fit: str, name: str, stamp: Stamp) -> pd.DataFrame:
    del stamp
    return _store.fit_table(fit, name)


def fit_record(fit: str) -> RunRecord | None:
    """Return the record stored with a fit, None where it cannot be read."""
    try:
        return _fit_record(store(), fit, store().fit_stamp(fit))
    except ArtifactError:
        return None


@st.cache_resource(max_entries=64, show_spinner=False)
def _fit_record(_store: ArtifactStore, fit: str, stamp: Stamp) -> RunRecord:
    del stamp
    return _store.fit_record(fit)


def experiment_table(experiment_id: str, name: str) -> pd.DataFrame:
    """Return a table about an experiment's runs, empty where none is stored.

    Raises
    ------
    ArtifactError
        The table is broken.
    """
    stored = store().experiment_table(experiment_id, name)
    return pd.DataFrame(columns=list(TABLES[name])) if stored is None else stored


def experiment_stamp(experiment_id: str, name: str) -> Stamp:
    """Return what changes when a table about an experiment's runs does."""
    return store().experiment_stamp(experiment_id, name)

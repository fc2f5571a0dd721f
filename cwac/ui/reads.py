"""Cached reads of the store.

Every cached function takes what makes its answer stale, the store's stamp, as an ordinary argument,
so that a run that has just finished appears on the next rerun. Names that start with an underscore
are left out of the cache's key: the stamp names the files, so that the store need not be in it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.rules import with_verdicts
from cwac.artifacts import (
    IMPORTED,
    RESPONSES,
    ArtifactStore,
    Stamp,
    checkout,
    reading_roots,
    shipped_folder,
)
from cwac.errors import ArtifactError
from cwac.records import TABLES, RunRecord


def roots() -> tuple[str, ...]:
    """Return the folders of runs: ``CWAC_ROOTS``, or the user's own and the shipped ones.

    A user's own are ``runs/`` in the checkout, in the current folder where the lab is installed.
    """
    named = [part for part in os.environ.get("CWAC_ROOTS", "").split(os.pathsep) if part]
    if named:
        return tuple(named)
    shipped = shipped_folder() / "cached_artifacts" / "runs"
    return str((checkout() or Path.cwd()) / "runs"), str(shipped)


def shown(path: str) -> str:
    """Return a path as a reader would type it: relative where it lies in the working folder."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def store() -> ArtifactStore:
    """Return the store over all roots; what was imported comes last, and hides nothing."""
    named = roots()
    imported = [str(part) for root in map(Path, named) for part in reading_roots(root)[1:]]
    return _opened((*named, *imported))


# A store holds nothing but its roots.
@lru_cache(maxsize=8)
def _opened(folders: tuple[str, ...]) -> ArtifactStore:
    return ArtifactStore(*folders)


def origin(root: Path) -> str:
    """Return where a run under a root comes from: ``own``, ``imported`` or ``shipped``."""
    if root.name == IMPORTED:
        return "imported"
    return "own" if root == Path(roots()[0]) else "shipped"


def table(
    run_id: str, name: str, columns: tuple[str, ...] | None = None, stamp: Stamp | None = None
) -> pd.DataFrame:
    """Return a copy of one of a run's tables, as the store gives it.

    Parameters
    ----------
    stamp : str, optional
        Its `table_stamp`, or more than that, where it was taken already.

    Raises
    ------
    ArtifactError
        The table is not stored or broken.
    """
    everything = store()
    key = _key(stamp or everything.table_stamp(run_id, name), columns)
    read = partial(everything.table, run_id, name, columns)
    return _table(key, read).copy(deep=False)


def read_ahead(
    runs: Sequence[tuple[str, Stamp]], name: str, columns: tuple[str, ...] | None
) -> None:
    """Read a table of many runs at once, so that :func:`table` has it: one by one takes longer.

    Where one cannot be read nothing is: who asks for it is told.

    Parameters
    ----------
    runs : sequence of (str, str)
        Each with its `table_stamp`, or more than that.
    """
    wanted = [(run_id, _key(stamp, columns)) for run_id, stamp in runs]
    missing = [(run_id, key) for run_id, key in wanted if not _is_read(key)]
    if len(missing) < 2:
        return
    with suppress(ArtifactError):
        tables = store().tables([run_id for run_id, _ in missing], name, columns)
        for (_, key), read in zip(missing, tables, strict=True):
            _table(key, partial(read.copy, deep=False))


def _key(stamp: Stamp, columns: tuple[str, ...] | None) -> str:
    # One text, because that is hashed faster than its parts: of large stores hundreds are.
    return f"{stamp} {columns}"


def _is_read(key: str) -> bool:
    try:
        _table(key, _nothing)
    except LookupError:
        # What fails is not kept.
        return False
    return True


def _nothing() -> pd.DataFrame:
    raise LookupError


def answers(
    run_id: str,
    columns: tuple[str, ...] | None = None,
    rejudged: tuple[str, str] | None = None,
    stamp: Stamp | None = None,
) -> pd.DataFrame:
    """Return a run's ``responses``, under another rule's verdicts where one judged them anew.

    Parameters
    ----------
    rejudged : (str, str), optional
        The experiment that the verdicts are stored with, and the hash of the judge.
    stamp : str, optional
        As of :func:`table`.

    Raises
    ------
    ArtifactError
        A table is not stored or broken.
    """
    stored = table(run_id, "responses", columns, stamp)
    if rejudged is None:
        return stored
    experiment, judge = rejudged
    return with_verdicts(stored, experiment_table(experiment, "judgements"), run_id, judge)


Rejudged = tuple[str, str] | None
"""The stored experiment and the judge whose verdicts replace a run's own."""
_RUN: Final = ("run_id", "variant", "seed")
Part = tuple[str, str, int, Rejudged]
"""Run, label of its arm, seed, and whose verdicts are read."""


def stacked(
    parts: Sequence[Part], name: str, columns: tuple[str, ...] | None = None
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Return a table of several runs, one under the other, and what could not be read.

    Returns
    -------
    DataFrame or None
        ``run_id``, ``variant``, ``seed`` and the table's columns; None where no run has it.
    """
    everything = store()
    answered = name == "responses"
    stamps = tuple(
        everything.table_stamp(run_id, name)
        + (everything.experiment_stamp(anew[0], "judgements") if anew and answered else "")
        for run_id, _, _, anew in parts
    )
    table, problems = _stacked(tuple(parts), name, columns, stamps)
    return None if table is None else table.copy(deep=False), problems


@st.cache_resource(max_entries=32, show_spinner=False)
def _stacked(
    parts: tuple[Part, ...], name: str, columns: tuple[str, ...] | None, stamps: tuple[Stamp, ...]
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    return stacked_anew(parts, name, columns, stamps)


def stacked_anew(
    parts: Sequence[Part], name: str, columns: tuple[str, ...] | None, stamps: Sequence[Stamp]
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Return what `stacked` does without keeping it: for what is computed once of a large table.

    Parameters
    ----------
    stamps : sequence of str
        The `table_stamp` of each part.
    """
    judged_anew = name == RESPONSES and any(anew for *_, anew in parts)
    if parts and not judged_anew:
        with suppress(ArtifactError):
            runs = [part[0] for part in parts]
            return _named(store().tables(runs, name, columns), parts), ()
    tables, read, problems = [], [], []
    for part, stamp in zip(parts, stamps, strict=True):
        run_id, _, _, anew = part
        try:
            tables.append(
                answers(run_id, columns, anew, stamp)
                if name == RESPONSES
                else table(run_id, name, columns, stamp)
            )
            read.append(part)
        except ArtifactError as problem:
            problems.append(f"Left out: {problem}")
    return (_named(tables, read) if tables else None), tuple(problems)


def _named(tables: Sequence[pd.DataFrame], parts: Sequence[Part]) -> pd.DataFrame:
    runs, labels, seeds, _ = zip(*parts, strict=True)
    return pile(tables, dict(zip(_RUN, (runs, labels, seeds), strict=True)))


def pile(tables: Sequence[pd.DataFrame], named: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return tables one under the other, with columns in front that say which one a row is of.

    Parameters
    ----------
    tables : sequence of DataFrame
        One at least.
    named : mapping
        Name of a column to its values, one a table.
    """
    lengths = [len(table) for table in tables]
    piled = pd.concat(tables, ignore_index=True)
    # All rows at once: to give each of hundreds of tables its columns took longer than to read it.
    for place, (name, values) in enumerate(named.items()):
        piled.insert(place, name, pd.Series(values).repeat(lengths).reset_index(drop=True))
    return piled


def table_stamp(run_id: str, name: str) -> Stamp:
    """Return what changes when one of a run's tables does."""
    return store().table_stamp(run_id, name)


# Not copied on each read (cache_data would pickle every table): callers get a copy above, which
# pandas makes when it is written to.
@st.cache_resource(max_entries=2048, show_spinner=False)
def _table(key: str, _read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    del key
    return _read()


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
    everything, stamp = store(), experiment_stamp(experiment_id, name)
    return _experiment_table(everything, experiment_id, name, stamp).copy(deep=False)


@st.cache_resource(max_entries=64, show_spinner=False)
def _experiment_table(
    _store: ArtifactStore, experiment_id: str, name: str, stamp: Stamp
) -> pd.DataFrame:
    del stamp
    stored = _store.experiment_table(experiment_id, name)
    return pd.DataFrame(columns=list(TABLES[name])) if stored is None else stored


def experiment_stamp(experiment_id: str, name: str) -> Stamp:
    """Return what changes when a table about an experiment's runs does."""
    return store().experiment_stamp(experiment_id, name)

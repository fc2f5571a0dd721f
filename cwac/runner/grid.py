"""Several runs, one after another: what is complete is skipped, what is shared is shared."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, TrainingError
from cwac.metrics.overlap import ARRAYS, pair_overlap
from cwac.records import RunRecord
from cwac.runner.one import run_one
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.session import Session, open_session

PAIRS: Final = "pair_overlap"
_LEFTOVER_AGE: Final = 3600.0
"""Seconds after which a half-written folder cannot belong to a living process any more."""


@dataclass
class GridResult:
    """What a grid of runs came to."""

    records: list[RunRecord] = field(default_factory=list)
    """Of every configuration that is complete now, in the order given."""
    skipped: list[str] = field(default_factory=list)
    """Run ids that were complete before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Run id to reason, for runs that did not train."""


def run_grid(
    configs: Sequence[ExperimentConfig],
    store: ArtifactStore,
    *,
    keep_model: bool = False,
    again: bool = False,
    listener: Listener = ignore,
    stop: Callable[[], bool] = never,
) -> GridResult:
    """Run configurations one after another.

    Complete runs of the same id are skipped unless `again`; a run that does not train is noted
    and the rest go on. The tables about pairs of runs are brought up to date at the end, also
    after a cancellation.

    Raises
    ------
    CancelledError
        The user asked to stop.
    CwacError
        Something that the runs share cannot be used.
    """
    sweep_leftovers(store)
    result = GridResult()
    session: Session | None = None
    try:
        for config in configs:
            if not again and is_complete(store, config, keep_model):
                result.skipped.append(config.run_id)
                result.records.append(store.load(config.run_id))
                continue
            if session is None or not session.serves(config):
                session = _open(config, store, listener, stop)
            try:
                record = run_one(
                    config,
                    store,
                    keep_model=keep_model,
                    listener=listener,
                    stop=stop,
                    session=session,
                )
            except TrainingError as problem:
                result.failed[config.run_id] = str(problem)
            else:
                result.records.append(record)
    finally:
        if len(result.skipped) < len(result.records):
            for experiment in dict.fromkeys(config.experiment_id for config in configs):
                update_pairs(store, experiment)
    return result


def is_complete(store: ArtifactStore, config: ExperimentConfig, keep_model: bool) -> bool:
    """Whether the run is in the root that is written to, with its weights where they are wanted.

    A shipped run of the same id does not count: whoever names a root wants the run there.
    """
    own = ArtifactStore(store.write_root)
    if not own.has_run(config.run_id):
        return False
    try:
        record = own.load(config.run_id)
    except ArtifactError:
        return False
    return record.kept_model or not keep_model


def _open(
    config: ExperimentConfig, store: ArtifactStore, listener: Listener, stop: Callable[[], bool]
) -> Session:
    progress = RunProgress(config.run_id, config.method, config.seed, listener, stop)
    return open_session(config, store, progress.within("setup", 0.0, 1.0, ""))


def update_pairs(store: ArtifactStore, experiment_id: str) -> None:
    """Recompute the table about pairs of an experiment's runs, from all runs in all roots."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for stored in store.list_runs():
        record = stored.record
        if record is not None and record.experiment_id == experiment_id:
            # A run without these arrays cannot be compared; it is no reason to fail the others.
            with suppress(ArtifactError):
                arrays[stored.run_id] = store.arrays(stored.run_id, ARRAYS)
    if len(arrays) > 1:
        store.save_experiment_table(experiment_id, PAIRS, pair_overlap(arrays))


def sweep_leftovers(store: ArtifactStore) -> None:
    """Remove what killed processes left half-written, once it is certain that they are gone."""
    for folder in (store.write_root, store.write_root / "fits"):
        for path in folder.glob(".*-*") if folder.is_dir() else ():
            known = path.name.startswith((".writing-", ".old-", ".deleted-"))
            if known and time.time() - path.stat().st_mtime > _LEFTOVER_AGE:
                shutil.rmtree(path, ignore_errors=True)

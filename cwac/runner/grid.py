"""Several runs, one after another: what is complete is skipped, what is shared is shared."""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, TrainingError
from cwac.metrics.overlap import ARRAYS, pair_overlap
from cwac.records import RunRecord
from cwac.runner.claims import Claims, Held
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
    and the rest go on. A run that another process is at, also a sweep's, is waited for at the
    end: it is skipped where the other has stored it, and run here where the other gave up. The
    tables about pairs of runs are brought up to date at the end, also after a cancellation.

    Raises
    ------
    CancelledError
        The user asked to stop.
    CwacError
        Something that the runs share cannot be used.
    """
    sweep_leftovers(store)
    grid = _Grid(store, keep_model, again, listener, stop)
    try:
        busy = [config for config in configs if not grid.do(config)]
        # What others do comes last, so that nothing waits which could be done meanwhile.
        for config in busy:
            grid.do(config, wait=True)
    finally:
        if len(grid.result.skipped) < len(grid.result.records):
            for experiment in dict.fromkeys(config.experiment_id for config in configs):
                update_pairs(store, experiment)
    order = [config.run_id for config in configs]
    grid.result.records.sort(key=lambda record: order.index(record.run_id))
    return grid.result


class _Grid:
    """Does one run at a time, with what the experiment's runs share kept open."""

    def __init__(
        self,
        store: ArtifactStore,
        keep_model: bool,
        again: bool,
        listener: Listener,
        stop: Callable[[], bool],
    ) -> None:
        self.result: Final = GridResult()
        self._store = store
        self._keep_model = keep_model
        self._again = again
        self._listener = listener
        self._stop = stop
        self._claims = Claims(store.write_root)
        self._session: Session | None = None

    def do(self, config: ExperimentConfig, *, wait: bool = False) -> bool:
        """Run a configuration that is not stored; False where another process is at it."""
        if self._skips(config):
            return True
        if wait:
            told = "another process does this run; waiting for it"
            claim: Held | None = self._claims.wait(
                config.run_id, lambda: self._progress(config).report("setup", 0.0, told)
            )
        else:
            claim = self._claims.take(config.run_id)
        if claim is None:
            return False
        with claim:
            # Another process may have stored it since.
            if not self._skips(config):
                self._run(config)
            if config.run_id not in self.result.failed:
                self._claims.forget(config.run_id)
        return True

    def _skips(self, config: ExperimentConfig) -> bool:
        if self._again or not is_complete(self._store, config, self._keep_model):
            return False
        self.result.skipped.append(config.run_id)
        self.result.records.append(self._store.load(config.run_id))
        return True

    def _run(self, config: ExperimentConfig) -> None:
        if self._session is None or not self._session.serves(config):
            self._session = self._open(config)
        try:
            record = run_one(
                config,
                self._store,
                keep_model=self._keep_model,
                listener=self._listener,
                stop=self._stop,
                session=self._session,
            )
        except TrainingError as problem:
            self.result.failed[config.run_id] = str(problem)
        else:
            self.result.records.append(record)

    def _open(self, config: ExperimentConfig) -> Session:
        progress = self._progress(config)
        told = "another process prepares an experiment; waiting for it"
        with self._claims.opening(lambda: progress.report("setup", 0.0, told)):
            return open_session(config, self._store, progress.within("setup", 0.0, 1.0, ""))

    def _progress(self, config: ExperimentConfig) -> RunProgress:
        return RunProgress(
            config.run_id, Arm(method=config.method), config.seed, self._listener, self._stop
        )


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


def update_pairs(store: ArtifactStore, experiment_id: str) -> None:
    """Recompute the table about pairs of an experiment's runs, from all runs in all roots.

    Pairs that were stored stay where a run's arrays are not kept any more, as in a summary.
    """
    arrays: dict[str, dict[str, np.ndarray]] = {}
    present: set[str] = set()
    for stored in store.list_runs():
        record = stored.record
        if record is not None and record.experiment_id == experiment_id:
            present.add(stored.run_id)
            # A run without these arrays cannot be compared; it is no reason to fail the others.
            with suppress(ArtifactError):
                arrays[stored.run_id] = store.arrays(stored.run_id, ARRAYS)
    if len(arrays) < 2:
        return
    pairs = pair_overlap(arrays)
    earlier = store.experiment_table(experiment_id, PAIRS)
    if earlier is not None:
        both = earlier["run_a"].isin(present) & earlier["run_b"].isin(present)
        again = earlier["run_a"].isin(arrays) & earlier["run_b"].isin(arrays)
        kept = earlier[both & ~again]
        pairs = pd.concat([kept, pairs], ignore_index=True) if len(kept) else pairs
    store.save_experiment_table(experiment_id, PAIRS, pairs)


def sweep_leftovers(store: ArtifactStore) -> None:
    """Remove what killed processes left half-written, once it is certain that they are gone."""
    for folder in (store.write_root, store.write_root / "fits"):
        for path in folder.glob(".*-*") if folder.is_dir() else ():
            known = path.name.startswith((".writing-", ".old-", ".deleted-"))
            if known and time.time() - path.stat().st_mtime > _LEFTOVER_AGE:
                shutil.rmtree(path, ignore_errors=True)

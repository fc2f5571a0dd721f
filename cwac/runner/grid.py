"""A grid of runs, one after another, and the tables about pairs of its runs."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.metrics.overlap import ARRAYS, pair_overlap
from cwac.records import RunRecord
from cwac.runner.progress import Listener, ignore, never
from cwac.runner.worker import Outcome, Worker

_PAIRS: Final = "pair_overlap"


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
    """Train or measure configurations one after another.

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
    worker = Worker(store, keep_model=keep_model, again=again, listener=listener, stop=stop)
    outcomes: dict[str, Outcome] = {}
    unique = {config.run_id: config for config in configs}
    try:
        for run_id, config in unique.items():
            outcomes[run_id] = worker.run(config)
        # What others do comes last, so that nothing waits which could be done meanwhile.
        for run_id, config in unique.items():
            if outcomes[run_id].state == "elsewhere":
                outcomes[run_id] = worker.run(config, wait=True)
    finally:
        stored = {run_id for run_id, outcome in outcomes.items() if outcome.state == "stored"}
        if stored:
            refresh_pairs(configs, store, stored)
    return GridResult(
        records=[store.load(i) for i, o in outcomes.items() if o.state != "failed"],
        skipped=[i for i, o in outcomes.items() if o.state == "skipped"],
        failed={i: o.reason for i, o in outcomes.items() if o.state == "failed"},
    )


def refresh_pairs(
    configs: Sequence[ExperimentConfig], store: ArtifactStore, changed: Collection[str]
) -> None:
    """Bring the tables about pairs up to date that lack a stored run or hold a changed one.

    A run can be missing because what stored it was interrupted.
    """
    members: dict[str, set[str]] = {}
    for config in configs:
        if _has_arrays(store, config.run_id):
            members.setdefault(config.experiment_id, set()).add(config.run_id)
    for experiment, run_ids in members.items():
        table = store.experiment_table(experiment, _PAIRS)
        compared = set() if table is None else {*table["run_a"], *table["run_b"]}
        if not run_ids <= compared or not run_ids.isdisjoint(changed):
            update_pairs(store, experiment)


def _has_arrays(store: ArtifactStore, run_id: str) -> bool:
    """Whether a run can stand in a table about pairs: a summary or a broken run never will."""
    try:
        return store.has_run(run_id) and not store.load(run_id).summary
    except ArtifactError:
        return False


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
    earlier = store.experiment_table(experiment_id, _PAIRS)
    if earlier is not None:
        both = earlier["run_a"].isin(present) & earlier["run_b"].isin(present)
        again = earlier["run_a"].isin(arrays) & earlier["run_b"].isin(arrays)
        kept = earlier[both & ~again]
        pairs = pd.concat([kept, pairs], ignore_index=True) if len(kept) else pairs
    store.save_experiment_table(experiment_id, _PAIRS, pairs)

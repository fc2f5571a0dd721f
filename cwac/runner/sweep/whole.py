"""A sweep from its configurations to stored runs and up-to-date tables about pairs of runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.runner.grid import refresh_pairs
from cwac.runner.progress import Listener, ignore
from cwac.runner.sweep.cluster import Cluster, run_on_ray
from cwac.runner.sweep.local import run_here, run_in_processes
from cwac.runner.sweep.schedule import Schedule
from cwac.runner.worker import Outcome, is_complete


@dataclass
class SweepResult:
    """What a sweep came to, by run id."""

    stored: list[str] = field(default_factory=list)
    """Run now."""
    skipped: list[str] = field(default_factory=list)
    """Stored before."""
    elsewhere: list[str] = field(default_factory=list)
    """In the hands of another process."""
    failed: dict[str, str] = field(default_factory=dict)
    """With the reason."""

    def add(self, outcome: Outcome) -> None:
        """Count a run's outcome."""
        if outcome.state == "failed":
            self.failed[outcome.run_id] = outcome.reason
        else:
            names: list[str] = getattr(self, outcome.state)
            names.append(outcome.run_id)


def run_sweep(
    configs: Sequence[ExperimentConfig],
    store: ArtifactStore,
    *,
    processes: int = 1,
    cluster: Cluster | None = None,
    keep_model: bool = False,
    listener: Listener = ignore,
    heard: Callable[[Outcome], None] = lambda _outcome: None,
) -> SweepResult:
    """Run every configuration that is not stored yet.

    Several sweeps may work on one root at the same time: a run is claimed before it is started,
    and nobody starts what is claimed or stored. A run that fails leaves the others alone.

    Parameters
    ----------
    configs : sequence of ExperimentConfig
        As :meth:`GridFile.expand` returns them.
    processes : int
        With 1 everything runs in this process; with more, in that many others of one torch
        thread each. Sums can differ in the last bit between numbers of threads.
    cluster : Cluster, optional
        Run on a Ray cluster instead of in processes of this machine.
    heard : callable
        Gets every :class:`Outcome` as soon as it is known.

    Raises
    ------
    CancelledError
        The user asked to stop; no process is left then.
    CwacError
        There is no such cluster, or it does not share the store's folder.
    """
    result = SweepResult()

    def note(outcome: Outcome) -> None:
        result.add(outcome)
        heard(outcome)

    waiting = []
    for config in configs:
        if is_complete(store, config, keep_model):
            result.skipped.append(config.run_id)
        else:
            waiting.append(config)
    schedule = Schedule(waiting)
    roots = [str(root) for root in store.roots]
    if cluster is not None:
        run_on_ray(schedule, cluster, roots, keep_model, listener, note)
    elif processes == 1:
        run_here(schedule, roots, keep_model, listener, note)
    else:
        run_in_processes(schedule, processes, roots, keep_model, listener, note)
    refresh_pairs(configs, store, result.stored)
    return result

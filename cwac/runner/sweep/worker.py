"""One worker of a sweep: keeps an experiment open, claims runs and runs them."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from filelock import FileLock, Timeout

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import CancelledError, CwacError
from cwac.runner.grid import is_complete
from cwac.runner.one import run_one
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.session import Session, open_session
from cwac.runner.sweep.schedule import Outcome

CLAIMS: Final = ".claims"
"""Folder of the locks, in the root that is written to."""


class Worker:
    """Runs one configuration after another; no failure of a run leaves it.

    Parameters
    ----------
    roots : sequence of path
        Of the store; the first is written to.
    keep_model : bool
        Whether the tuned weights are stored too.
    threads : int or None
        Threads of torch; None leaves them as they are.
    listener, stop : callable
        As for :func:`cwac.runner.run_grid`.
    """

    def __init__(
        self,
        roots: Sequence[str],
        *,
        keep_model: bool = False,
        threads: int | None = None,
        listener: Listener = ignore,
        stop: Callable[[], bool] = never,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._store = ArtifactStore(*(Path(root) for root in roots))
        self._keep_model = keep_model
        self._listener = listener
        self._stop = stop
        self._session: Session | None = None
        self._broken: dict[str, str] = {}
        self._claims = self._store.write_root / CLAIMS
        self._claims.mkdir(parents=True, exist_ok=True)

    def run(self, values: dict[str, Any]) -> Outcome:
        """Run one configuration, given as its JSON values.

        Raises
        ------
        CancelledError
            It was asked to stop.
        """
        config = ExperimentConfig.build(values)
        path = self._claims / f"{config.run_id}.lock"
        # The system frees the lock when its process dies, however it dies.
        claim = FileLock(path)
        try:
            claim.acquire(timeout=0)
        except Timeout:
            return Outcome(config.run_id, "elsewhere")
        try:
            outcome = self._claimed(config)
            if outcome.state != "failed":
                # Whoever waits with the old file finds the run stored, so nobody needs it again.
                path.unlink(missing_ok=True)
            return outcome
        finally:
            claim.release()

    def _claimed(self, config: ExperimentConfig) -> Outcome:
        if is_complete(self._store, config, self._keep_model):
            return Outcome(config.run_id, "skipped")
        try:
            run_one(
                config,
                self._store,
                keep_model=self._keep_model,
                listener=self._listener,
                stop=self._stop,
                session=self._session_for(config),
            )
        except CancelledError:
            raise
        except CwacError as problem:
            return Outcome(config.run_id, "failed", " ".join(str(problem).split()))
        except Exception as problem:
            # A mistake in one method must not cost the night's other runs; it is shown in full.
            traceback.print_exc()
            return Outcome(config.run_id, "failed", f"{type(problem).__name__}: {problem}")
        return Outcome(config.run_id, "stored")

    def _session_for(self, config: ExperimentConfig) -> Session:
        if self._session is not None and self._session.serves(config):
            return self._session
        # The old model leaves the memory before the new one enters it.
        self._session = None
        experiment = config.experiment_id
        if experiment in self._broken:
            raise CwacError(self._broken[experiment])
        progress = RunProgress(
            config.run_id, config.method, config.seed, self._listener, self._stop
        )
        progress.report("setup", 0.0, "waiting to open the experiment")
        # One at a time: what the first one fits, the others read.
        try:
            with FileLock(self._claims / "opening.lock", poll_interval=0.2):
                report = progress.within("setup", 0.0, 1.0, "")
                self._session = open_session(config, self._store, report)
        except CancelledError:
            raise
        except CwacError as problem:
            self._broken[experiment] = str(problem)
            raise
        return self._session

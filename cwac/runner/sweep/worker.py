"""One worker of a sweep: keeps an experiment open, claims runs and runs them."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import CancelledError, CwacError, ModelError
from cwac.runner.claims import Claims
from cwac.runner.grid import is_complete
from cwac.runner.one import run_one
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.session import Session, open_session
from cwac.runner.sweep.schedule import Outcome


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
        self._claims = Claims(self._store.write_root)

    def run(self, values: dict[str, Any]) -> Outcome:
        """Run one configuration, given as its JSON values.

        Raises
        ------
        CancelledError
            It was asked to stop.
        """
        config = ExperimentConfig.build(values)
        claim = self._claims.take(config.run_id)
        if claim is None:
            return Outcome(config.run_id, "elsewhere")
        with claim:
            outcome = self._claimed(config)
            if outcome.state != "failed":
                self._claims.forget(config.run_id)
            return outcome

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
            config.run_id, Arm(method=config.method), config.seed, self._listener, self._stop
        )

        def waiting() -> None:
            progress.report("setup", 0.0, "waiting to open the experiment")

        waiting()
        try:
            with self._claims.opening(waiting):
                report = progress.within("setup", 0.0, 1.0, "")
                session = open_session(config, self._store, report)
            _check_model(session, config)
        except CancelledError:
            raise
        except CwacError as problem:
            self._broken[experiment] = str(problem)
            raise
        self._session = session
        return session


def _check_model(session: Session, config: ExperimentConfig) -> None:
    """Refuse a model that is not the one meant: changed since, or another on this machine."""
    found = session.loaded.contents
    if found != config.model.contents:
        raise ModelError(
            f"the model {config.model.source!r} has the contents {found} here, the run was asked "
            f"for with {config.model.contents}."
        )

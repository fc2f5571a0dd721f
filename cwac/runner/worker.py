"""Claim, skip, open, run: one worker for ``cwac run``, ``cwac sweep`` and ``cwac measure``."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, CancelledError, CwacError, ModelError, TrainingError
from cwac.runner.checks import check_disk
from cwac.runner.claims import Claims
from cwac.runner.measure import measure_one, measured_arm
from cwac.runner.one import run_one
from cwac.runner.progress import Listener, RunProgress, alive, ignore, never
from cwac.runner.session import Session, open_session

State = Literal["stored", "skipped", "elsewhere", "failed"]
"""``skipped`` was stored before; ``elsewhere`` is being run by another process."""


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    run_id: str
    state: State
    reason: str = ""
    """Why it failed, in one sentence."""


class Worker:
    """Does one run after another, trained or measured, and keeps their experiment open.

    Parameters
    ----------
    store : ArtifactStore
        Its first root is written to.
    keep_model : bool
        Whether the tuned weights are stored too.
    again : bool
        Whether complete runs are done once more.
    survives : tuple of exception types
        What ends a run without ending the worker: the outcome then has the reason.
    listener, stop : callable
        As for :func:`cwac.runner.run_grid`.
    """

    def __init__(
        self,
        store: ArtifactStore,
        *,
        keep_model: bool = False,
        again: bool = False,
        survives: tuple[type[Exception], ...] = (TrainingError,),
        listener: Listener = ignore,
        stop: Callable[[], bool] = never,
    ) -> None:
        self._store = store
        self._keep_model = keep_model
        self._again = again
        self._survives = survives
        self._listener = listener
        self._stop = stop
        self._claims = Claims(store.write_root)
        self._session: Session | None = None
        self._unusable: dict[str, str] = {}
        """Experiments that could not be opened, with the reason."""

    def run(self, config: ExperimentConfig, *, wait: bool = False) -> Outcome:
        """Do a run that is not stored and that no other process is at.

        Parameters
        ----------
        wait : bool
            Whether to wait for another process that is at the run, and to do the run here where
            the other gives up.

        Raises
        ------
        CancelledError
            It was asked to stop.
        CwacError
            Something that the run needs cannot be used, unless the worker survives it.
        """
        run_id = config.run_id
        if self._skips(config):
            return Outcome(run_id, "skipped")
        if wait:
            waiting = self._waiting(config, "another process does this run; waiting for it")
            claim = self._claims.wait(run_id, waiting)
        elif (taken := self._claims.take(run_id)) is not None:
            claim = taken
        else:
            return Outcome(run_id, "elsewhere")
        with claim:
            # Another process may have stored it since.
            outcome = Outcome(run_id, "skipped") if self._skips(config) else self._heard(config)
            if outcome.state != "failed":
                self._claims.forget(run_id)
        return outcome

    def _skips(self, config: ExperimentConfig) -> bool:
        return not self._again and is_complete(self._store, config, self._keep_model)

    def _heard(self, config: ExperimentConfig) -> Outcome:
        before = self._listener
        with alive(before) as listener:
            self._listener = listener
            try:
                return self._do(config)
            finally:
                self._listener = before

    def _do(self, config: ExperimentConfig) -> Outcome:
        try:
            check_disk(config, self._store.write_root, keep_model=self._keep_model)
            session = self._session_for(config)
            if config.is_measured:
                measure_one(
                    config, self._store, session=session, listener=self._listener, stop=self._stop
                )
            else:
                run_one(
                    config,
                    self._store,
                    session=session,
                    keep_model=self._keep_model,
                    listener=self._listener,
                    stop=self._stop,
                )
        except CancelledError:
            raise
        except self._survives as problem:
            return Outcome(config.run_id, "failed", _reason(problem))
        return Outcome(config.run_id, "stored")

    def _session_for(self, config: ExperimentConfig) -> Session:
        if self._session is not None and self._session.serves(config):
            return self._session
        # The old model leaves the memory before the new one enters it.
        self._session = None
        experiment = config.experiment_id
        if experiment in self._unusable:
            raise CwacError(self._unusable[experiment])
        waiting = self._waiting(config, "another process prepares an experiment; waiting for it")
        report = self._progress(config).within("setup", 0.0, 1.0, "")
        try:
            with self._claims.opening(waiting):
                session = open_session(config, self._store, report)
            check_model(session, config)
        except CancelledError:
            raise
        except CwacError as problem:
            self._unusable[experiment] = str(problem)
            raise
        self._session = session
        return session

    def _waiting(self, config: ExperimentConfig, message: str) -> Callable[[], None]:
        progress = self._progress(config)
        return lambda: progress.report("setup", 0.0, message)

    def _progress(self, config: ExperimentConfig) -> RunProgress:
        arm = measured_arm(config) if config.is_measured else Arm(method=config.method)
        return RunProgress(config.run_id, arm, config.seed, self._listener, self._stop)


def is_complete(store: ArtifactStore, config: ExperimentConfig, keep_model: bool) -> bool:
    """Whether the run is in the root that is written to, with its weights where they are wanted.

    A shipped run of the same id does not count: whoever names a root wants the run there.
    """
    written = ArtifactStore(store.write_root)
    if not written.has_run(config.run_id):
        return False
    try:
        record = written.load(config.run_id)
    except ArtifactError:
        return False
    return record.kept_model or not keep_model


def check_model(session: Session, config: ExperimentConfig) -> None:
    """Refuse a model that is not the one meant: changed since, or another on this machine."""
    contents = session.loaded.contents
    if contents != config.model.contents:
        raise ModelError(
            f"the model {config.model.source!r} has the contents {contents} here, the run was "
            f"asked for with {config.model.contents}."
        )


def _reason(problem: Exception) -> str:
    if isinstance(problem, CwacError):
        return " ".join(str(problem).split())
    # A mistake in one method must not cost the night's other runs; it is shown in full.
    traceback.print_exception(problem)
    return f"{type(problem).__name__}: {problem}"

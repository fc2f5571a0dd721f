"""A run as a background job: its state and progress in files that outlive every page."""

import os
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import psutil
from filelock import FileLock, Timeout

from cwac.artifacts import start_next, write_text
from cwac.errors import CancelledError, CwacError
from cwac.jobs import JOBS, PROGRESS, STATUS, JobStatus, ProgressLine, State
from cwac.records import now

if TYPE_CHECKING:
    from cwac.runner import Event

LOCK: Final = "lock"
_MOST_FAILURES: Final = 5
"""Failures that a status tells; the log has them all."""
_POLL: Final = 0.3
"""Seconds between two looks at the lock while another job runs."""


class Job:
    """Follows a grid of runs and writes ``status.json`` and ``progress.jsonl``.

    Jobs under one root run one after another: each waits for the root's lock, which the system
    frees when its process dies, however it dies.

    Parameters
    ----------
    folder : Path
        The job's folder, ``<root>/.jobs/<id>``.
    root : Path
        Whose lock is taken.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder
        self._root = root
        self._lock = FileLock(root / JOBS / LOCK)
        self._cancelled = False
        self._failed: Mapping[str, str] = {}
        self._last_written = 0.0
        self._phase: tuple[str, str] = ("", "")
        self._progress = folder / PROGRESS
        process = psutil.Process()
        self._status = JobStatus(
            pid=process.pid,
            pid_created=process.create_time(),
            message="waiting for another job",
        )

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock_folder().mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGTERM, self._on_signal)
        self._update()
        try:
            self._wait()
        except BaseException as problem:
            self._end(problem)
            raise
        self._update(state="running", message="starting", started=now())
        self._line(phase="setup", fraction=0.0, message="starting")
        return self

    def _lock_folder(self) -> Path:
        return Path(self._lock.lock_file).parent

    def _wait(self) -> None:
        while True:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                time.sleep(_POLL)
            else:
                return

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        # Written at once: what follows may be killed before it gets to say so.
        self._update(state="cancelled", message="cancelled", ended=now())
        raise CancelledError("the job was cancelled.")

    def plan(self, run_ids: Sequence[str]) -> None:
        """Write which runs the job makes."""
        self._update(runs=tuple(run_ids))

    def listen(self, event: "Event") -> None:
        """Write an event: probes and new phases always, the rest about once a second."""
        phase = (event.run_id, event.phase)
        due = event.time - self._last_written >= 1.0
        if event.row is None and phase == self._phase and not due:
            return
        self._phase = phase
        self._last_written = event.time
        row = {name: _plain(value) for name, value in (event.row or {}).items()}
        self._line(
            run_id=event.run_id,
            variant=event.variant,
            arm=event.arm,
            seed=event.seed,
            phase=event.phase,
            fraction=round(event.fraction, 4),
            message=event.message,
            until=None if event.until is None else round(event.until),
            left=event.left,
            **row,
        )

    def _line(self, **values: Any) -> None:
        blank = {"time": round(time.time(), 3), "run_id": None, "variant": None, "seed": None}
        line = ProgressLine.model_validate(blank | values)
        with self._progress.open("a", encoding="utf-8") as file:
            # One write per line, so that a reader never sees a line without its end twice.
            file.write(line.model_dump_json(exclude_unset=True) + "\n")

    def stopped(self) -> bool:
        """Whether the job was cancelled."""
        return self._cancelled

    def close(self, failed: Mapping[str, str]) -> None:
        """Remember which runs failed."""
        self._failed = failed

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if problem is not None and not isinstance(problem, CwacError):
            traceback.print_exception(problem)
        self._end(problem)
        self._lock.release()
        if self._cancelled:
            # Who cancels starts the next one, when this one's whole tree is dead.
            return
        # The queue goes on without the app that filled it.
        with suppress(OSError):
            start_next(self._root, ended=os.getpid())

    def _end(self, problem: BaseException | None) -> None:
        state: State
        if self._cancelled or isinstance(problem, CancelledError | KeyboardInterrupt):
            state, message = "cancelled", "cancelled"
        elif problem is not None:
            state, message = "failed", " ".join(str(problem).split()) or type(problem).__name__
        elif self._failed:
            state, message = "failed", _listed(self._failed)
        else:
            state, message = "done", "done"
        self._update(state=state, message=message, ended=now())

    def _update(self, **changes: Any) -> None:
        self._status = self._status.model_copy(update=changes)
        write_text(self._folder / STATUS, self._status.model_dump_json(indent=1))


def _listed(failed: Mapping[str, str]) -> str:
    """Return which runs failed and why: the first of them, and how many more there are."""
    parts = [f"{run}: {why}" for run, why in list(failed.items())[:_MOST_FAILURES]]
    if further := len(failed) - len(parts):
        parts.append(f"and {further:,} more")
    return "; ".join(parts)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

"""Who does which run: locks on disk, so that no two processes do the same one.

A lock is held by a process, not by a file: the system frees it when its process dies, however it
dies. The locks lie in ``<root>/.claims``; over a network they need a file system that passes
locks on (NFS from version 4 on does).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

Held = AbstractContextManager[object]
"""A lock that is held until the ``with`` block around it ends."""
CLAIMS: Final = ".claims"
"""Folder of the locks, in the root that is written to."""
_POLL: Final = 0.2
"""Seconds between two looks at a lock that another process holds."""


class Claims:
    """The claims on one root's runs.

    Parameters
    ----------
    root : Path
        The root that is written to.
    """

    def __init__(self, root: Path) -> None:
        self.folder: Final = root / CLAIMS
        self.folder.mkdir(parents=True, exist_ok=True)

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.lock"

    def take(self, run_id: str) -> Held | None:
        """Claim a run; None where another process has it."""
        try:
            return FileLock(self._path(run_id)).acquire(timeout=0)
        except Timeout:
            return None

    def wait(self, run_id: str, waiting: Callable[[], None]) -> Held:
        """Claim a run as soon as nobody else has it.

        Parameters
        ----------
        waiting : callable
            Called again and again while another process has it; what it raises ends the wait.
        """
        return _patient(self._path(run_id), waiting)

    def opening(self, waiting: Callable[[], None]) -> Held:
        """Return the lock of opening an experiment, held: what the first fits, others read."""
        return _patient(self.folder / "opening.lock", waiting)

    def adding(self, experiment_id: str) -> Held:
        """Return the lock of adding to an experiment's tables, held.

        Whoever adds rows reads a table, and stores it whole.
        """
        return _patient(self.folder / f"{experiment_id}.tables.lock", lambda: None)

    def forget(self, run_id: str) -> None:
        """Remove the lock of a run that is stored.

        Whoever still waits with the old file finds the run stored, so nobody needs it again.
        """
        self._path(run_id).unlink(missing_ok=True)


def _patient(path: Path, waiting: Callable[[], None]) -> Held:
    lock = FileLock(path)
    while True:
        try:
            return lock.acquire(timeout=_POLL, poll_interval=_POLL / 2)
        except Timeout:
            waiting()

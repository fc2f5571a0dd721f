"""The queue of jobs under a root: files wait, not processes; one job of it works at a time.

Whoever ends a job, or sees one end, starts the next: the worker itself, else the app that started
it. A waiting job costs its folder; a process for each would cost 130 MB.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
from filelock import FileLock

from cwac.artifacts.atomic import write_text
from cwac.artifacts.leftovers import host, is_alive
from cwac.errors import ArtifactError
from cwac.intake import names_in, read_bytes
from cwac.jobs import JOBS, LOG, REQUEST, STATUS, JobRequest, JobStatus

PROGRAM: Final = (sys.executable, "-m", "cwac")
MOST_WAITING: Final = 50
"""Jobs that may wait at the same time."""
_COMMANDS: Final = frozenset({"run"})
"""What is started from a file: nothing else is put there."""
_GUARD: Final = "queue.lock"


def guard(root: Path) -> FileLock:
    """Return the lock under which the queue is looked at and changed; held for milliseconds."""
    folder = root / JOBS
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / _GUARD)


def enqueue(folder: Path, request: JobRequest) -> None:
    """Write a job that waits.

    Raises
    ------
    ArtifactError
        Too many wait already.
    """
    root = folder.parents[1]
    with guard(root):
        waiting = len(list(_waiting(root)))
        if waiting >= MOST_WAITING:
            raise ArtifactError(
                f"{waiting} jobs wait already, the most that may; cancel some, or wait."
            )
        folder.mkdir(parents=True)
        write_text(folder / REQUEST, request.model_dump_json())


def start_next(
    root: Path,
    *,
    program: Sequence[str] = PROGRAM,
    environment: Mapping[str, str] | None = None,
    ended: int | None = None,
) -> subprocess.Popen[bytes] | None:
    """Start the job that waits longest, unless one of the queue works already.

    Parameters
    ----------
    root : Path
    program : sequence of str
        What is run, followed by the job's arguments.
    environment : mapping, optional
        Of the worker; by default this process's.
    ended : int, optional
        The process id of a worker that has done all but end: itself.

    Returns
    -------
    The worker, whose end somebody should wait for; None where nothing was to be started.
    """
    if not (root / JOBS).is_dir():
        return None
    with guard(root):
        if any(_works(folder, ended) for folder in _folders(root)):
            return None
        for folder, request in _waiting(root):
            with (folder / LOG).open("wb") as log:
                process = subprocess.Popen(
                    [*program, *request.arguments, "--job", str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(os.environ if environment is None else environment),
                    start_new_session=True,
                )
            born = None
            with suppress(psutil.Error):
                born = psutil.Process(process.pid).create_time()
            update = {"pid": process.pid, "pid_created": born}
            write_text(folder / REQUEST, request.model_copy(update=update).model_dump_json())
            return process
    return None


def waits(request: JobRequest) -> bool:
    """Whether a job has not been started and will be, by a worker of this machine.

    A queue that came with a copied folder starts nothing: it names another machine.
    """
    words = request.arguments
    return bool(words) and words[0] in _COMMANDS and request.pid is None and request.host == host()


def _folders(root: Path) -> list[Path]:
    paths = (root / JOBS / name for name in names_in(root / JOBS) if not name.startswith("."))
    return [path for path in paths if path.is_dir()]


def _waiting(root: Path) -> Iterator[tuple[Path, JobRequest]]:
    """Give the jobs that wait, the oldest first."""
    for folder in _folders(root):
        request = _request(folder)
        # Whatever stands in the status, it was started, cancelled or damaged.
        if request is not None and waits(request) and not (folder / STATUS).exists():
            yield folder, request


def _works(folder: Path, ended: int | None) -> bool:
    request = _request(folder)
    if request is None or request.pid is None or request.pid_created is None:
        return False
    return (
        request.pid != ended
        and bool(request.arguments)
        and _is_active(folder)
        and is_alive(request.pid, request.pid_created)
    )


def _is_active(folder: Path) -> bool:
    try:
        status = JobStatus.parse(read_bytes(folder / STATUS), STATUS)
    except (OSError, ArtifactError):
        return True
    return status.state in {"queued", "running"}


def _request(folder: Path) -> JobRequest | None:
    try:
        return JobRequest.parse(read_bytes(folder / REQUEST), REQUEST)
    except (OSError, ArtifactError):
        return None

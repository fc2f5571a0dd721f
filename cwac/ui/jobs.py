"""Runs started from the app: child processes whose whole state lies on disk.

Nothing is kept in the server's memory, so that a page reload or a server restart changes
nothing. A job's folder holds ``request.json`` (written here, before and after the start),
``status.json`` and ``progress.jsonl`` (written by the worker) and ``log.txt`` (its output: a
file, because a pipe that nobody reads would block the worker). A damaged file makes a job failed,
or a line of its progress unread; it never stops a page.
"""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil

from cwac.artifacts import (
    PROGRAM,
    enqueue,
    guard,
    host,
    is_alive,
    start_next,
    waits,
    write_text,
)
from cwac.errors import ArtifactError, first_line
from cwac.intake import check_plain, is_text, names_in, read_bytes
from cwac.jobs import (
    JOBS,
    LOG,
    PROGRESS,
    REQUEST,
    STATUS,
    JobRequest,
    JobStatus,
    ProgressLine,
    State,
)
from cwac.records import now
from cwac.ui.asking import child_environment
from cwac.ui.readonly import check_writable

_ACTIVE: Final = frozenset({"queued", "running"})
_GRACE_SECONDS: Final = 10.0
_TERMINAL_CODES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Job:
    """One started command, as its folder and the process table tell it."""

    job_id: str
    folder: Path
    state: State
    message: str
    """Why it failed; empty where there is nothing to say."""
    title: str
    command: str
    """What to type to do the same."""
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    run_ids: tuple[str, ...]
    pids: tuple[tuple[int, float], ...]
    """Process ids with their creation times: a number alone may have been given away again."""

    @property
    def active(self) -> bool:
        """Whether it waits or works."""
        return self.state in _ACTIVE


def start(
    arguments: Sequence[str],
    root: Path,
    *,
    title: str,
    command: str,
    program: Sequence[str] = PROGRAM,
) -> str:
    """Queue ``python -m cwac <arguments> --job <folder>`` and return the job's id.

    It starts at once where none works: jobs of a root run one after another.

    Parameters
    ----------
    arguments : sequence of str
        What follows the program's name.
    root : Path
        Folder of stored runs; the job's folder lies in it.
    title, command : str
        For people: a short name, and what to type to do the same.
    program : sequence of str, optional
        What is run.

    Raises
    ------
    ArtifactError
        Too many wait already, or the app is read-only.
    """
    check_writable()
    job_id = f"{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    folder = root.resolve() / JOBS / job_id
    request = JobRequest(
        title=title, command=command, created=now(), arguments=tuple(arguments), host=host()
    )
    enqueue(folder, request)
    advance(root.resolve(), program)
    return job_id


def advance(root: Path, program: Sequence[str] = PROGRAM) -> None:
    """Start the next job of a root's queue where none works, and the next again when it ends."""
    check_writable()
    process = start_next(root, program=program, environment=child_environment())
    if process is not None:
        # Somebody must collect the exit status, or the child stays a zombie until the server ends;
        # and a worker that was killed starts no other.
        threading.Thread(target=_follow, args=(process, root, program), daemon=True).start()


def _follow(process: subprocess.Popen[bytes], root: Path, program: Sequence[str]) -> None:
    process.wait()
    # The root may be gone, or full.
    with contextlib.suppress(OSError):
        advance(root, program)


def jobs(root: Path) -> list[Job]:
    """Return the jobs of a root, the newest first."""
    listed = []
    for name in reversed(names_in(root.resolve() / JOBS)):
        # What is no job, or is none any more.
        with contextlib.suppress(ArtifactError):
            listed.append(read(root, name))
    return listed


def read(root: Path, job_id: str) -> Job:
    """Return a job as it stands now.

    A worker that is gone without having said how it ended has failed; the reason is the last
    line of its log. One whose status cannot be read has failed too.

    Raises
    ------
    ArtifactError
        There is no such job.
    """
    folder = root.resolve() / JOBS / job_id
    named = job_id and not job_id.startswith(".") and Path(job_id).name == job_id
    named = named and is_text(job_id)
    if not named or not folder.is_dir():
        raise ArtifactError(f"there is no job {job_id!r} under {root}.")
    request, status = _request(folder), _status(folder)
    # A number without the time at which its process began may be anybody's.
    pids = tuple(
        (source.pid, source.pid_created)
        for source in (request, status)
        if source.pid is not None and source.pid_created is not None
    )
    state, message = status.state, status.message
    if state == "queued" and waits(request):
        message = "waiting for another job"
    elif state in _ACTIVE and not any(is_alive(pid, born) for pid, born in pids):
        age = None if request.created is None else (now() - request.created).total_seconds()
        if pids or age is None or age >= _GRACE_SECONDS:
            # The worker may have written its end between the two looks.
            status = _status(folder)
            state, message = status.state, status.message
            if state in _ACTIVE:
                state, message = "failed", last_line(folder) or "the worker ended without a word"
    if state == "failed" and not message:
        message = last_line(folder)
    return Job(
        job_id=job_id,
        folder=folder,
        state=state,
        message=message,
        title=request.title or job_id,
        command=request.command,
        created=request.created,
        started=status.started,
        ended=status.ended,
        run_ids=status.runs,
        pids=pids,
    )


def cancel(job: Job, *, patience: float = 1.2) -> None:
    """End a job's whole process tree and write that it was cancelled.

    Processes get `patience` seconds to end by themselves and are then killed; with the
    waiting for the kill, all within three seconds.
    """
    check_writable()
    tree = _tree(job)
    for process in tree:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(tree, timeout=patience)
    # Children that were born after the first look belong to the tree too.
    left = list({p.pid: p for p in [*left, *_tree(job)]}.values())
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=1.0)
    with guard(job.folder.parents[1]):
        _write_cancelled(job)
    advance(job.folder.parents[1])


def _write_cancelled(job: Job) -> None:
    status = _status(job.folder)
    if status.state != "done":
        ended = {"state": "cancelled", "message": "cancelled by the user", "ended": now()}
        write_text(job.folder / STATUS, status.model_copy(update=ended).model_dump_json())


def delete(job: Job) -> None:
    """Remove a job's folder; the runs that it stored stay."""
    check_writable()
    if job.active:
        raise ArtifactError(f"job {job.job_id} is still {job.state}; cancel it first.")
    shutil.rmtree(job.folder)


def progress(folder: Path) -> list[ProgressLine]:
    """Return the signs of life so far; a half-written last line, or a damaged one, is left out."""
    lines = []
    with contextlib.suppress(OSError):
        for line in read_bytes(folder / PROGRESS).split(b"\n"):
            with contextlib.suppress(ArtifactError):
                lines.append(ProgressLine.parse(line, PROGRESS))
    return lines


def log_tail(folder: Path, lines: int = 15) -> str:
    """Return the end of a job's log as plain text."""
    try:
        check_plain(folder / LOG)
        with (folder / LOG).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    # A progress bar rewrites its line: only what it showed last counts.
    shown = [_TERMINAL_CODES.sub("", line.split("\r")[-1]).rstrip() for line in text.split("\n")]
    return "\n".join([line for line in shown if line][-lines:])


def last_line(folder: Path) -> str:
    """Return the last line of a job's log, empty where there is none."""
    return log_tail(folder, lines=1).strip()


def _tree(job: Job) -> list[psutil.Process]:
    processes: dict[int, psutil.Process] = {}
    for pid, born in job.pids:
        with contextlib.suppress(psutil.Error):
            if is_alive(pid, born):
                parent = psutil.Process(pid)
                family = [*filter(_of_session(pid), parent.children(recursive=True)), parent]
                processes |= {process.pid: process for process in family}
    return list(processes.values())


def _of_session(leader: int) -> Callable[[psutil.Process], bool]:
    """Return whether a process belongs to a worker: a job that it started leads its own session."""

    def belongs(process: psutil.Process) -> bool:
        try:
            return not hasattr(os, "getsid") or os.getsid(process.pid) == os.getsid(leader)
        except ProcessLookupError:
            return False

    return belongs


def _request(folder: Path) -> JobRequest:
    """Return what was started; nothing is known of it where its file is missing or damaged."""
    try:
        return JobRequest.parse(read_bytes(folder / REQUEST), REQUEST)
    except (OSError, ArtifactError):
        return JobRequest()


def _status(folder: Path) -> JobStatus:
    """Return what the worker wrote, that it waits where it has not begun to write."""
    try:
        return JobStatus.parse(read_bytes(folder / STATUS), STATUS)
    except FileNotFoundError:
        return JobStatus()
    except OSError as problem:
        why = problem.strerror or first_line(problem)
        return JobStatus(state="failed", message=f"{STATUS} cannot be read: {why}.")
    except ArtifactError as problem:
        return JobStatus(state="failed", message=str(problem))


def elapsed(job: Job) -> float | None:
    """Return the seconds a job has worked, None where it has not started."""
    if job.started is None:
        return None
    end = job.ended.timestamp() if job.ended else time.time() if job.active else None
    return None if end is None else max(0.0, end - job.started.timestamp())

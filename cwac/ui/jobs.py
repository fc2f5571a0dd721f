"""Runs started from the app: child processes whose whole state lies on disk.

Nothing is kept in the server's memory, so that a page reload or a server restart changes
nothing. A job's folder holds ``request.json`` (written here, before and after the start),
``status.json`` and ``progress.jsonl`` (written by the worker) and ``log.txt`` (its output: a
file, because a pipe that nobody reads would block the worker).
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from cwac.artifacts import write_text
from cwac.errors import ArtifactError
from cwac.records import now
from cwac.ui.asking import child_environment

State = Literal["queued", "running", "done", "failed", "cancelled"]
FOLDER: Final = ".jobs"
PROGRAM: Final = (sys.executable, "-m", "cwac")
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
    """Start ``python -m cwac <arguments> --job <folder>`` and return the job's id.

    The child waits for the lock of `root` itself, so that jobs run one after another.

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
    """
    job_id = f"{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    folder = root.resolve() / FOLDER / job_id
    folder.mkdir(parents=True)
    request: dict[str, Any] = {"title": title, "command": command, "created": now().isoformat()}
    write_text(folder / "request.json", json.dumps(request))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*program, *arguments, "--job", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(),
            start_new_session=True,
        )
    with contextlib.suppress(psutil.Error):
        request |= {"pid": process.pid, "pid_created": psutil.Process(process.pid).create_time()}
        write_text(folder / "request.json", json.dumps(request))
    # Somebody must collect the exit status, or the child stays a zombie until the server ends.
    threading.Thread(target=process.wait, daemon=True).start()
    return job_id


def jobs(root: Path) -> list[Job]:
    """Return the jobs of a root, the newest first."""
    folder = root.resolve() / FOLDER
    found = folder.iterdir() if folder.is_dir() else ()
    names = sorted((path.name for path in found if path.is_dir()), reverse=True)
    return [read(root, name) for name in names]


def read(root: Path, job_id: str) -> Job:
    """Return a job as it stands now.

    A worker that is gone without having said how it ended has failed; the reason is the last
    line of its log.

    Raises
    ------
    ArtifactError
        There is no such job.
    """
    folder = root.resolve() / FOLDER / job_id
    named = job_id and not job_id.startswith(".") and Path(job_id).name == job_id
    if not named or not folder.is_dir():
        raise ArtifactError(f"there is no job {job_id!r} under {root}.")
    request, status = _json(folder / "request.json"), _json(folder / "status.json")
    pids = tuple(
        (int(source["pid"]), float(source.get("pid_created") or 0))
        for source in (request, status)
        if source.get("pid")
    )
    state, message = _state(status), str(status.get("message") or "")
    created = _time(request.get("created"))
    if state in _ACTIVE and not any(_alive(pid, born) for pid, born in pids):
        just_born = created is not None and (now() - created).total_seconds() < _GRACE_SECONDS
        if pids or not just_born:
            # The worker may have written its end between the two looks.
            status = _json(folder / "status.json")
            state, message = _state(status), str(status.get("message") or "")
            if state in _ACTIVE:
                state, message = "failed", last_line(folder) or "the worker ended without a word"
    if state == "failed" and not message:
        message = last_line(folder)
    return Job(
        job_id=job_id,
        folder=folder,
        state=state,
        message=message,
        title=str(request.get("title") or job_id),
        command=str(request.get("command") or ""),
        created=created,
        started=_time(status.get("started")),
        ended=_time(status.get("ended")),
        run_ids=tuple(str(run) for run in status.get("runs") or ()),
        pids=pids,
    )


def cancel(job: Job, *, patience: float = 1.2) -> None:
    """End a job's whole process tree and write that it was cancelled.

    Processes get `patience` seconds to end by themselves and are then killed; with the
    waiting for the kill, all within three seconds.
    """
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
    status = _json(job.folder / "status.json")
    if status.get("state") != "done":
        told = {
            "state": "cancelled",
            "message": "cancelled by the user",
            "ended": now().isoformat(),
        }
        write_text(job.folder / "status.json", json.dumps(status | told))


def delete(job: Job) -> None:
    """Remove a job's folder; the runs that it stored stay."""
    if job.active:
        raise ArtifactError(f"job {job.job_id} is still {job.state}; cancel it first.")
    shutil.rmtree(job.folder)


def progress(folder: Path) -> list[dict[str, Any]]:
    """Return what the worker has told so far; a half-written last line is left out."""
    rows = []
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "progress.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    rows.append(row)
    return rows


def log_tail(folder: Path, lines: int = 15) -> str:
    """Return the end of a job's log as plain text."""
    try:
        with (folder / "log.txt").open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16_384))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    # A progress bar rewrites its line: only what it showed last counts.
    shown = [_TERMINAL_CODES.sub("", line.split("\r")[-1]).rstrip() for line in text.split("\n")]
    return "\n".join([line for line in shown if line][-lines:])


def last_line(folder: Path) -> str:
    """Return the last line of a job's log, empty where there is none."""
    return log_tail(folder, lines=1).strip()


def _tree(job: Job) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for pid, born in job.pids:
        with contextlib.suppress(psutil.Error):
            if _alive(pid, born):
                parent = psutil.Process(pid)
                family = [*parent.children(recursive=True), parent]
                found |= {process.pid: process for process in family}
    return list(found.values())


def _alive(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = not born or abs(process.create_time() - born) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _state(status: Mapping[str, Any]) -> State:
    match status.get("state"):
        case "running":
            return "running"
        case "done":
            return "done"
        case "failed":
            return "failed"
        case "cancelled":
            return "cancelled"
        case _:
            return "queued"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _time(value: Any) -> datetime | None:
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, tz=now().tzinfo)
    try:
        return datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None


def elapsed(job: Job) -> float | None:
    """Return the seconds a job has worked, None where it has not started."""
    if job.started is None:
        return None
    end = job.ended.timestamp() if job.ended else time.time() if job.active else None
    return None if end is None else max(0.0, end - job.started.timestamp())

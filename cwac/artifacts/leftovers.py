"""Names of what is half-written, and what becomes of it when its writer was killed.

Everything is written under a temporary name that says who writes it, as machine, process and the
time at which the process began, because a number alone may have been given away again. What a dead
process left is removed when the next command starts; a run that it had moved out of the way to
replace it is put back.
"""

import hashlib
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import psutil

from cwac.artifacts.packs import PACKS
from cwac.jobs import JOBS

NOTES: Final = ".notes"
"""The folder of a root for what a reader writes to its runs."""

WRITING: Final = "writing"
REPLACED: Final = "old"
DELETED: Final = "deleted"
ALIGNING: Final = "align"
_NAME: Final = re.compile(
    r"\.(?P<kind>writing|old|deleted|align)-"
    r"(?:(?P<host>[0-9a-f]{6})\.(?P<pid>\d{1,10})\.(?P<born>\d{1,12})-)?"
    r"(?P<number>[a-z0-9_]{4,8})(?:-(?P<final>.+))?"
)
_AGE: Final = 3600.0
"""Seconds without a change after which what names no writer of this machine has none any more."""


@cache
def host() -> str:
    """Return a short name of this machine, the same in every process."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def temporary_name(final: Path, kind: str = WRITING) -> Path:
    """Return a path beside `final` that says who writes it; no listing shows it."""
    process = psutil.Process()
    writer = f"{host()}.{process.pid}.{process.create_time():.0f}"
    # A name has 255 bytes at most; the end of a long one is of use to people alone.
    return final.with_name(f".{kind}-{writer}-{uuid.uuid4().hex[:8]}-{final.name}")


def is_abandoned(path: Path) -> bool:
    """Whether a path is half-written and nobody writes it any more."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return False
    if name["host"] == host():
        return not is_alive(int(name["pid"]), float(name["born"]))
    try:
        return time.time() - path.lstat().st_mtime > _AGE
    except OSError:
        return False


def is_alive(pid: int, born: float) -> bool:
    """Whether the process that began at a time (seconds since 1970) still works."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OverflowError, ValueError):
        return False


def abandoned(*folders: Path) -> Iterator[Path]:
    """Give what dead processes left in folders."""
    for folder in folders:
        with suppress(OSError):
            yield from (path for path in sorted(folder.glob(".*-*")) if is_abandoned(path))


def sweep(*folders: Path) -> None:
    """Remove what dead processes left; put back what they had moved away to replace it.

    It never fails: a folder that may only be read keeps what is in it.
    """
    for path in abandoned(*folders):
        name = _NAME.fullmatch(path.name)
        if name is not None and name["kind"] == REPLACED and name["final"]:
            final = path.with_name(name["final"])
            if not final.exists():
                with suppress(OSError):
                    path.rename(final)
                continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def folders_of(root: Path) -> tuple[Path, ...]:
    """Return the folders of a root in which something may be left half-written."""
    parts = (root, root / "fits", root / "experiments", root / PACKS, root / JOBS, root / NOTES)
    inside = ((root / name).glob("[!.]*") for name in ("experiments", JOBS))
    return (*parts, *(path for names in inside for path in names if path.is_dir()))

"""Files and folders are replaced whole: a reader sees the old one or the new one.

Every write goes to a temporary name first and is renamed when complete, so that a killed process
leaves nothing half-written under a final name.
"""

import ctypes
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from cwac.artifacts.leftovers import REPLACED, temporary_name

_TAKEN: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})
"""What renaming a folder to a name that another one has ends with."""


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically; a reader sees the old text or the new, never a mixture."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically, as `write_text` does."""
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        # Nothing is left of it but where the disk is full or the like.
        temporary.unlink(missing_ok=True)


def free_space(place: Path) -> int:
    """Return the bytes that are free on the disk of a path, which need not exist yet."""
    return shutil.disk_usage(next(p for p in (place, *place.parents) if p.exists())).free


@contextmanager
def writing_folder(final: Path, *, keep_first: bool = False) -> Iterator[Path]:
    """Give a temporary folder that takes the final name when the block succeeds.

    Parameters
    ----------
    keep_first : bool
        Where another process has stored the folder meanwhile, leave that one alone and drop this
        one: right where the name says all about the contents, and others may be reading it.
        Without it an earlier folder is replaced.
    """
    temporary = temporary_name(final)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        give_usual_modes(temporary)
        _take_name(temporary, final, keep_first)
    finally:
        # Nothing is left of it where the name was taken; else nobody needs it.
        shutil.rmtree(temporary, ignore_errors=True)


def _take_name(temporary: Path, final: Path, keep_first: bool) -> None:
    while True:
        try:
            # Looking first would leave a moment in which another process can take the name.
            temporary.rename(final)
        except OSError as problem:
            if problem.errno not in _TAKEN:
                raise
        else:
            return
        # Whatever takes the name's place ends under the temporary one, which is removed.
        if keep_first or _exchanged(temporary, final):
            return
        old = temporary_name(final, REPLACED)
        # Another process that replaces it too may be faster. Killed between here and the renaming
        # above, the old folder is put back by the next command (see `leftovers`).
        with suppress(FileNotFoundError):
            final.rename(old)
            try:
                temporary.rename(final)
            except OSError as problem:
                if problem.errno not in _TAKEN:
                    raise
            else:
                return
            finally:
                shutil.rmtree(old, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; False where the system cannot (Linux 3.15 and later can)."""
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, flag = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fs.h
    status: int = exchange(here, os.fsencode(first), here, os.fsencode(second), flag)
    return status == 0


def give_usual_modes(folder: Path) -> None:
    """Give a folder and all in it the permissions that the umask leaves to new ones.

    safetensors and :mod:`tempfile` let their owner alone read what they make, which is of no use
    in a folder that others share or that a web server serves.
    """
    # A folder made here shows the umask, which can otherwise only be read by changing it.
    probe = folder / f".mode-{uuid.uuid4().hex[:8]}"
    probe.mkdir()
    usual = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    for path in (folder, *folder.rglob("*")):
        path.chmod(usual if path.is_dir() else usual & 0o666)

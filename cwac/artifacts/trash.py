"""Deleted runs in ``<root>/.trash/``, which can be put back until the next ones are deleted."""

import shutil
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cwac.artifacts.places import IMPORTED
from cwac.artifacts.store import ArtifactStore
from cwac.records import now

TRASH: Final = ".trash"
"""The folder of a root for deleted runs; no listing shows it."""
AGE: Final = 7 * 24 * 3600.0
"""Seconds after which deleted runs are gone for good."""
_OWN: Final = "own"


def trash_runs(store: ArtifactStore, run_ids: Iterable[str]) -> list[str]:
    """Move runs to the trash of the writable root, in the place of what was in it.

    All of them are looked at before the first is moved.

    Returns
    -------
    list of str
        The ids that were moved.

    Raises
    ------
    ArtifactError
        A run is not stored, is shipped with the lab, or is in a pack with others.
    """
    folders = [store.deletable(run_id) for run_id in run_ids]
    empty_trash(store.write_root)
    batch = store.write_root / TRASH / f"{now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
    for folder in folders:
        origin = IMPORTED if folder.parent == store.write_root / IMPORTED else _OWN
        (batch / origin).mkdir(parents=True, exist_ok=True)
        folder.rename(batch / origin / folder.name)
    return [folder.name for folder in folders]


def trashed(root: Path) -> list[str]:
    """Return the ids of the runs in a root's trash."""
    return [folder.name for folder, _ in _places(root)]


def restore_trash(root: Path) -> list[str]:
    """Put the runs in a root's trash back where they were; return their ids.

    A run that was stored again meanwhile stays as it is, and its deleted copy in the trash.
    """
    back = []
    for folder, final in _places(root):
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(final)
            back.append(final.name)
    for batch in _batches(root):
        for part in (batch / _OWN, batch / IMPORTED, batch):
            # What still holds a run stays.
            with suppress(OSError):
                part.rmdir()
    with suppress(OSError):
        (root / TRASH).rmdir()
    return back


def empty_trash(root: Path, *, older_than: float = 0.0) -> None:
    """Remove what was deleted so many seconds ago for good; it never fails."""
    for batch in _batches(root):
        with suppress(OSError):
            if time.time() - batch.stat().st_mtime >= older_than:
                shutil.rmtree(batch, ignore_errors=True)
    with suppress(OSError):
        (root / TRASH).rmdir()


def _batches(root: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in (root / TRASH).iterdir() if path.is_dir())
    return []


def _places(root: Path) -> list[tuple[Path, Path]]:
    """Return each run in the trash, and where it was."""
    return [
        (folder, (root if part == _OWN else root / IMPORTED) / folder.name)
        for batch in _batches(root)
        for part in (_OWN, IMPORTED)
        for folder in sorted((batch / part).glob("[!.]*"))
    ]

"""Which stores a command reads and writes."""

from pathlib import Path

from cwac.artifacts import ArtifactStore, shipped_runs, writing_store
from cwac.errors import ArtifactError

__all__ = ["listed_store", "reading_store", "shipped_runs", "writing_store"]


def listed_store(root: Path) -> ArtifactStore:
    """Return a store over one folder; without an own ``runs``, over the shipped runs alone.

    Raises
    ------
    ArtifactError
        Another folder was named and is not there.
    """
    shipped = shipped_runs()
    if root == Path("runs") and not root.exists() and shipped is not None:
        return ArtifactStore(shipped)
    return reading_store(root)


def reading_store(root: Path) -> ArtifactStore:
    """Return a store over one existing folder.

    Raises
    ------
    ArtifactError
        There is no such folder.
    """
    if not root.is_dir():
        raise ArtifactError(f"there is no folder {root}; 'cwac run --root {root}' makes it.")
    return ArtifactStore(root.expanduser().resolve())

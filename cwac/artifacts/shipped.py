"""Where what ships lies (pages, organism, runs, documentation), and which stores to open."""

from pathlib import Path

from cwac.artifacts.checkout import shipped_folder
from cwac.artifacts.leftovers import abandoned, folders_of, sweep
from cwac.artifacts.places import IMPORTED
from cwac.artifacts.store import ArtifactStore
from cwac.artifacts.trash import AGE, empty_trash
from cwac.errors import ArtifactError
from cwac.intake import read_bytes
from cwac.messages import Catalogue


def shipped_runs() -> Path | None:
    """Return the folder of shipped runs, None where it is not installed."""
    folder = shipped_folder() / "cached_artifacts" / "runs"
    return folder if folder.is_dir() else None


def shipped_catalogue() -> Catalogue | None:
    """Return what can be chosen, as ``cwac list all`` printed it for what ships; None without it.

    It is for places that cannot ask: an installation without torch, a hand-out.

    Raises
    ------
    ArtifactError
        The file is damaged.
    """
    path = shipped_folder() / "cached_artifacts" / "catalogue.json"
    return Catalogue.parse(read_bytes(path), path.name) if path.is_file() else None


def writing_store(root: Path) -> ArtifactStore:
    """Return a store that writes to `root` and also reads the shipped runs' fits.

    Raises
    ------
    ArtifactError
        `root` is a file.
    """
    # Absolute, so that stored names do not depend on where the work was started.
    folder = root.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"the root {root} is a file, not a folder.")
    shipped = shipped_runs()
    later = [shipped] if shipped is not None and shipped != folder else []
    _tidy(folder)
    return ArtifactStore(folder, *later)


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


def with_shipped(store: ArtifactStore) -> ArtifactStore:
    """Return a store that reads the shipped runs and fits behind those of another."""
    shipped = shipped_runs()
    return ArtifactStore(*dict.fromkeys([*store.roots, *([shipped] if shipped else [])]))


def reading_store(root: Path) -> ArtifactStore:
    """Return a store over one existing folder.

    Raises
    ------
    ArtifactError
        There is no such folder.
    """
    if not root.is_dir():
        raise ArtifactError(f"there is no folder {root}; 'cwac run --root {root}' makes it.")
    folder = root.expanduser().resolve()
    _tidy(folder)
    return ArtifactStore(*reading_roots(folder))


def _tidy(root: Path) -> None:
    """Remove what dead processes left in a root and its imports, and what was deleted long ago."""
    for part in reading_roots(root):
        sweep(*folders_of(part))
        empty_trash(part, older_than=AGE)


def left_in(root: Path) -> list[Path]:
    """Return what dead processes left in a root; opening it removes that."""
    return [path for part in reading_roots(root) for path in abandoned(*folders_of(part))]


def reading_roots(root: Path) -> tuple[Path, ...]:
    """Return a root, and its imports where it has any: read with it, and hidden by its own."""
    imported = root / IMPORTED
    return (root, imported) if imported.is_dir() else (root,)

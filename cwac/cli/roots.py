"""Which stores a command reads and writes."""

from pathlib import Path

import cwac
from cwac.artifacts import ArtifactStore
from cwac.errors import ArtifactError


def writing_store(root: Path) -> ArtifactStore:
    """Return a store that writes to `root` and also reads the shipped runs' fits."""
    if root.exists() and not root.is_dir():
        raise ArtifactError(f"--root {root} is a file, not a folder.")
    # Absolute, so that stored names do not depend on where the command was started.
    own = root.expanduser().resolve()
    shipped = shipped_runs()
    return ArtifactStore(own, *([shipped] if shipped is not None and shipped != own else []))


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


def shipped_runs() -> Path | None:
    """Return the folder of shipped runs, None where it is not installed."""
    # Beside the package; asking cwac.models for it would load torch.
    folder = Path(cwac.__file__).resolve().parents[1] / "cached_artifacts" / "runs"
    return folder if folder.is_dir() else None

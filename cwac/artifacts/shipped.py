"""The shipped runs, whose fits every store of a user's own reads too."""

from pathlib import Path

import cwac
from cwac.artifacts.store import ArtifactStore
from cwac.errors import ArtifactError


def shipped_runs() -> Path | None:
    """Return the folder of shipped runs, None where it is not installed."""
    # Beside the package; asking cwac.models for it would load torch.
    folder = Path(cwac.__file__).resolve().parents[1] / "cached_artifacts" / "runs"
    return folder if folder.is_dir() else None


def writing_store(root: Path) -> ArtifactStore:
    """Return a store that writes to `root` and also reads the shipped runs' fits.

    Raises
    ------
    ArtifactError
        `root` is a file.
    """
    # Absolute, so that stored names do not depend on where the work was started.
    own = root.expanduser().resolve()
    if own.exists() and not own.is_dir():
        raise ArtifactError(f"the root {root} is a file, not a folder.")
    shipped = shipped_runs()
    return ArtifactStore(own, *([shipped] if shipped is not None and shipped != own else []))

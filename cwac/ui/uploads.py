"""Files that a user uploads: kept under the runs' root by their contents, never run."""

import hashlib
from pathlib import Path
from typing import Final

from cwac.artifacts import write_bytes
from cwac.config import slug
from cwac.errors import DataError

FOLDER: Final = ".uploads"
MOST_MEGABYTES: Final = 50
TYPES: Final = ("csv", "tsv", "json", "jsonl", "parquet", "txt")


def keep(root: Path, name: str, content: bytes) -> Path:
    """Store an upload and return its path, which names its contents.

    The same contents under the same name are stored once; a job started from them reads what
    was previewed, whatever is uploaded later.

    Parameters
    ----------
    root : Path
        Folder of stored runs.
    name : str
        As the browser gives it; only a plain form of it is used.
    content : bytes
        The whole file.

    Raises
    ------
    DataError
        It is empty, too large, of a type that is not read, or cannot be stored.
    """
    suffix = Path(name).suffix.lower()
    if suffix.removeprefix(".") not in TYPES:
        raise DataError(f"{name!r} has type {suffix or 'none'!r}; allowed: {', '.join(TYPES)}.")
    if not content:
        raise DataError(f"{name!r} is empty.")
    if len(content) > MOST_MEGABYTES * 1_000_000:
        raise DataError(
            f"{name!r} has {len(content) / 1e6:.0f} MB; at most {MOST_MEGABYTES} MB are taken. "
            "Name a larger file by its path."
        )
    digest = hashlib.sha256(content).hexdigest()[:16]
    path = root.resolve() / FOLDER / digest / f"{slug(Path(name).stem)[:60]}{suffix}"
    if path.is_file() and path.stat().st_size == len(content):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as problem:
        raise DataError(f"{name!r} could not be stored: {problem.strerror}.") from None
    return path

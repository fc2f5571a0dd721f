"""One run as one file that opens elsewhere: packing and unpacking."""

import io
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from cwac.artifacts.files import RECORD, read_table, table_bytes, table_file, writing_folder
from cwac.artifacts.packs import RunFolder, files_of
from cwac.artifacts.store import RESERVED, RESPONSES, ArtifactStore
from cwac.errors import ArtifactError


def pack(
    store: ArtifactStore,
    run_id: str,
    *,
    answers: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> bytes:
    """Return a ZIP of a run with the fits it refers to, which unpacks into any root.

    Parameters
    ----------
    store : ArtifactStore
        Where the run is.
    run_id : str
        Which run.
    answers : callable, optional
        Sees every table of answers, the aligned model's too, and returns what is packed instead
        (to redact them).
    """
    record = store.load(run_id)
    folders: dict[str, RunFolder] = {run_id: store.run_folder(run_id)}
    folders |= {f"fits/{name}": store.fit_folder(name) for name in set(record.fits.values())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for prefix, folder in folders.items():
            for file, path in files_of(folder).items():
                name = f"{prefix}/{file}"
                if answers is not None and path.name == table_file(RESPONSES):
                    archive.writestr(name, table_bytes(RESPONSES, answers(read_table(path))))
                else:
                    archive.writestr(name, path.read_bytes())
    return buffer.getvalue()


def unpack(store: ArtifactStore, content: bytes) -> list[str]:
    """Add the runs of an archive to the store's writable root; return their ids.

    Raises
    ------
    ArtifactError
        Not one of our archives, or a path in it leads outside the root.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except zipfile.BadZipFile:
        raise ArtifactError("the file is not a ZIP archive.") from None
    names = [name for name in archive.namelist() if not name.endswith("/")]
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or name.startswith("."):
            raise ArtifactError(f"the archive holds the unsafe path {name!r}.")
    folders = {_folder_of(name) for name in names}
    runs = sorted(folder for folder in folders if "/" not in folder)
    if not runs or any(f"{run}/{RECORD}" not in names or run in RESERVED for run in runs):
        raise ArtifactError("the archive holds no complete run.")
    # Fits first, so that a run never appears before what it refers to.
    for folder in sorted(folders, key=lambda name: "/" not in name):
        if (store.write_root / folder).exists():
            continue
        with writing_folder(store.write_root / folder) as temporary:
            for name in (name for name in names if _folder_of(name) == folder):
                target = temporary / PurePosixPath(name).relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    return runs


def _folder_of(name: str) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[:2]) if parts[0] == "fits" else parts[0]

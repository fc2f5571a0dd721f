"""One run as one file that opens elsewhere: packing and unpacking."""

import hashlib
import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, cast

import pandas as pd

from cwac.artifacts.atomic import free_space, give_usual_modes
from cwac.artifacts.checking import check_store
from cwac.artifacts.files import (
    CHECKSUMS,
    RECORD,
    read_checksums,
    read_record,
    read_table,
    table_bytes,
    table_file,
)
from cwac.artifacts.leftovers import temporary_name
from cwac.artifacts.packs import RunFolder, files_of
from cwac.artifacts.places import IMPORTED, RESERVED, RESPONSES
from cwac.artifacts.store import ArtifactStore
from cwac.artifacts.summary import PROBED, SAMPLES
from cwac.errors import ArtifactError, first_line
from cwac.intake import shown
from cwac.records import is_name

LARGEST: Final = 8 * 1024**3
"""Bytes that an archive may unpack to: a run that kept a model of two billion parameters."""
HIGHEST_RATIO: Final = 100
"""How many times its size an archive may unpack to; records, the densest of ours, reach 20."""
UNSUSPICIOUS: Final = 16 * 1024**2
"""Bytes up to which the ratio does not count."""
MOST_FILES: Final = 5_000
LARGEST_LIST: Final = 4 * 1024**2
"""Bytes of the list of an archive's files, which is read whole before they can be counted."""
DEEPEST: Final = 6
"""Folders in a path; SAEs of a fit have four."""
ANSWERS: Final = (RESPONSES, SAMPLES, PROBED)
"""The tables that hold what a model wrote."""
KINDS: Final = frozenset({".json", ".parquet", ".safetensors", ".jinja", ".txt", ".model", ".md"})
"""Endings of the files of runs, fits and kept models."""


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
            for file, content in _contents(folder, answers):
                archive.writestr(f"{prefix}/{file}", content)
    return buffer.getvalue()


def _contents(
    folder: RunFolder, answers: Callable[[pd.DataFrame], pd.DataFrame] | None
) -> Iterator[tuple[str, bytes]]:
    """Give the files of a run or fit as they are packed, their checksums with what was changed."""
    files = files_of(folder)
    changed: dict[str, bytes] = {}
    if answers is not None:
        for table in ANSWERS:
            if (name := table_file(table)) in files:
                changed[name] = table_bytes(table, answers(read_table(files[name])))
    if changed:
        digests = {name: hashlib.sha256(made).hexdigest() for name, made in changed.items()}
        if CHECKSUMS in files and isinstance(folder, Path):
            sums = read_checksums(folder) | digests
            changed[CHECKSUMS] = json.dumps(sums, indent=1).encode()
        elif RECORD in files and (sums := read_record(folder).checksums):
            record = read_record(folder).model_copy(update={"checksums": sums | digests})
            changed[RECORD] = record.model_dump_json(indent=1).encode()
    for file, path in files.items():
        yield file, changed[file] if file in changed else path.read_bytes()


def unpack(store: ArtifactStore, archive: bytes | BinaryIO) -> list[str]:
    """Add the runs of an archive to the imports of the writable root; return their ids.

    Imports are a root of their own, ``<root>/imported``: they are read behind the user's and the
    shipped runs and fits, and no run that is started later reads them. The archive is measured
    before anything is written, and all in it is opened before anything appears.

    Raises
    ------
    ArtifactError
        Not one of our archives, too large, with a path that leads outside, a run or fit that
        cannot be read, or a run that is stored already.
    """
    file = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    try:
        with zipfile.ZipFile(cast(BinaryIO, _Piecewise(file))) as opened:
            members = _measured(opened, store.write_root)
            return _add(store, opened, members)
    except ArtifactError:
        raise
    except zipfile.BadZipFile:
        raise ArtifactError("the file is not a ZIP archive, or a broken one.") from None
    except OSError as problem:
        raise ArtifactError(f"the archive cannot be added: {first_line(problem)}.") from None
    except Exception as problem:
        # What damaged archives make the library raise: of zlib, of encodings, of passwords.
        raise ArtifactError(f"the archive is broken: {first_line(problem)}.") from None


class _Piecewise:
    """A file of which nothing is read in larger pieces than any of ours needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if size > LARGEST_LIST:
            raise ArtifactError(
                f"the list of the archive's files has {size:,} bytes; allowed: {LARGEST_LIST:,}."
            )
        return self._file.read(size)


def _measured(archive: zipfile.ZipFile, root: Path) -> list[zipfile.ZipInfo]:
    """Return the files of an archive that may be unpacked, told from its directory alone."""
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MOST_FILES:
        raise ArtifactError(f"the archive holds {len(members):,} files; allowed: {MOST_FILES:,}.")
    for member in members:
        _check_member(member)
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        raise ArtifactError("the archive holds a file twice.")
    whole, packed = (sum(getattr(m, n) for m in members) for n in ("file_size", "compress_size"))
    if whole > LARGEST:
        raise ArtifactError(f"the archive unpacks to {whole:,} bytes; allowed: {LARGEST:,}.")
    if whole > UNSUSPICIOUS and whole > HIGHEST_RATIO * max(packed, 1):
        raise ArtifactError(
            f"the archive unpacks to {whole / max(packed, 1):.0f} times its size; allowed: "
            f"{HIGHEST_RATIO} times."
        )
    free = free_space(root)
    if whole > free:
        raise ArtifactError(f"the archive unpacks to {whole:,} bytes, and {free:,} are free.")
    return members


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = name.split("/")
    if not all(is_name(part) for part in parts) or stat.S_ISLNK(member.external_attr >> 16):
        raise ArtifactError(f"the archive holds the unsafe path {shown(name)}.")
    if len(parts) > DEEPEST:
        raise ArtifactError(f"the archive holds a path of {len(parts)} parts; allowed: {DEEPEST}.")
    if PurePosixPath(name).suffix not in KINDS:
        raise ArtifactError(f"the archive holds {shown(name)}, which is no part of a run.")
    if member.flag_bits & 1:
        raise ArtifactError("the archive is locked with a password.")


def _add(
    store: ArtifactStore, archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]
) -> list[str]:
    folders = {_folder_of(member.filename) for member in members}
    runs = sorted(folder for folder in folders if "/" not in folder)
    names = {member.filename for member in members}
    if not runs or any(f"{run}/{RECORD}" not in names or run in RESERVED for run in runs):
        raise ArtifactError("the archive holds no complete run.")
    imported = store.write_root / IMPORTED
    for run in runs:
        if has_imported(store, run):
            raise ArtifactError(f"the run {run} is stored already.")
    imported.mkdir(parents=True, exist_ok=True)
    staged = temporary_name(imported / "archive")
    try:
        for member in members:
            _extract(archive, member, staged)
        _check_staged(staged, runs)
        give_usual_modes(staged)
        # Fits first, so that a run never appears before what it refers to.
        for folder in sorted(folders, key=lambda name: "/" not in name):
            final = imported / folder
            final.parent.mkdir(exist_ok=True)
            if not final.exists():
                (staged / folder).rename(final)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return runs


def has_imported(store: ArtifactStore, run_id: str) -> bool:
    """Whether a run is stored under any root or among the imports: it is not imported again."""
    return ArtifactStore(*store.roots, store.write_root / IMPORTED).has_run(run_id)


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one file, piece by piece; the library stops at the size that was measured."""
    target = folder / member.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as file:
        shutil.copyfileobj(source, file, 1024**2)
    if target.stat().st_size != member.file_size:
        raise ArtifactError(f"the archive's {member.filename} is not as long as it says.")


def _check_staged(folder: Path, runs: list[str]) -> None:
    """Open all that an archive held.

    Raises
    ------
    ArtifactError
        A run or fit in it cannot be read, or a run is not the one that its id names.
    """
    staged = ArtifactStore(folder)
    problems = check_store(staged, lambda _name: True)
    listed = {run.run_id for run in staged.list_runs()}
    if problems:
        raise ArtifactError(f"the archive is not added: {problems[0].sentence}")
    if listed != set(runs):
        raise ArtifactError("the archive holds no complete run.")


def _folder_of(name: str) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[:2]) if parts[0] == "fits" else parts[0]

"""Stored runs, fits and experiment tables: the only module that knows file names.

``<root>/<run_id>/{run.json, *.parquet, *.safetensors, model/}`` is one complete run,
``<root>/fits/<name>/`` a subspace, a set of SAEs or a reference shared by runs, and
``<root>/experiments/<experiment_id>/`` tables about pairs of runs. Every write goes to a
temporary name first and is renamed when complete, so that a killed process leaves nothing
half-written under a final name.
"""

import io
import json
import os
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import pandas as pd
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cwac.errors import ArtifactError
from cwac.records import SCHEMA_VERSION, RunRecord, check_table

RESERVED: Final = frozenset({"fits", "experiments", ".jobs"})
RECORD: Final = "run.json"
Tables = Mapping[str, pd.DataFrame]
Arrays = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class StoredRun:
    """One folder of the listing: a run, or why it cannot be read."""

    run_id: str
    root: Path
    record: RunRecord | None
    problem: str | None = None


class ArtifactStore:
    """Reads several roots as one, writes into the first.

    Parameters
    ----------
    *roots : Path
        Folders of runs; the first is written to, later ones (the shipped runs) only read.
    """

    def __init__(self, *roots: Path | str) -> None:
        if not roots:
            raise ArtifactError("an artifact store needs at least one root folder.")
        self.roots: Final = tuple(Path(root) for root in roots)

    @property
    def write_root(self) -> Path:
        """The folder that new runs are written to."""
        return self.roots[0]

    # Reading

    def stamp(self) -> tuple[tuple[str, int], ...]:
        """Return what changes when any run joins or leaves: a cache key, cheap to take."""
        folders = [root / part for root in self.roots for part in ("", "experiments", "fits")]
        return tuple((str(f), f.stat().st_mtime_ns) for f in folders if f.is_dir())

    def list_runs(self) -> list[StoredRun]:
        """Return every stored run, broken ones with the reason, in order of root and name."""
        found: dict[str, StoredRun] = {}
        for root in self.roots:
            for folder in sorted(root.iterdir()) if root.is_dir() else []:
                if folder.name in RESERVED or folder.name.startswith(".") or not folder.is_dir():
                    continue
                found.setdefault(folder.name, self._read(folder))
        return list(found.values())

    def _read(self, folder: Path) -> StoredRun:
        try:
            return StoredRun(folder.name, folder.parent, _read_record(folder))
        except ArtifactError as problem:
            return StoredRun(folder.name, folder.parent, None, str(problem))

    def has_run(self, run_id: str) -> bool:
        """Whether a complete run of this id is stored under any root."""
        return any((root / run_id / RECORD).is_file() for root in self.roots)

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run.

        Raises
        ------
        ArtifactError
            No root has it.
        """
        _check_name(run_id)
        for root in self.roots:
            if (root / run_id).is_dir():
                return root / run_id
        raise ArtifactError(
            f"no run {run_id!r} under {', '.join(str(root) for root in self.roots)}."
        )

    def load(self, run_id: str) -> RunRecord:
        """Return a run's record."""
        return _read_record(self.run_folder(run_id))

    def table(
        self, run_id: str, name: str, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return one of a run's tables."""
        return _read_table(self.run_folder(run_id) / f"{name}.parquet", columns)

    def arrays(self, run_id: str, name: str) -> dict[str, np.ndarray]:
        """Return one of a run's files of arrays."""
        return _read_arrays(self.run_folder(run_id) / f"{name}.safetensors")

    def model_folder(self, run_id: str) -> Path:
        """Return the Hugging Face folder of a run that kept its weights."""
        folder = self.run_folder(run_id) / "model"
        if not folder.is_dir():
            raise ArtifactError(f"run {run_id!r} kept no weights (start it with --save-model).")
        return folder

    # Fits: fitted once, shared by the arms

    def find_fit(self, name: str) -> Path | None:
        """Return the folder of a fit, None where no root has it."""
        _check_name(name)
        for root in self.roots:
            if (root / "fits" / name).is_dir():
                return root / "fits" / name
        return None

    def fit_folder(self, name: str) -> Path:
        """Return the folder of a fit that must be there."""
        folder = self.find_fit(name)
        if folder is None:
            raise ArtifactError(f"the fit {name!r} is missing; run the experiment again.")
        return folder

    def fit_table(self, name: str, table: str) -> pd.DataFrame:
        """Return a table stored with a fit."""
        return _read_table(self.fit_folder(name) / f"{table}.parquet")

    def fit_record(self, name: str) -> RunRecord:
        """Return the record stored with a fit (the reference's)."""
        return _read_record(self.fit_folder(name))

    @contextmanager
    def writing_fit(self, name: str) -> Iterator[Path]:
        """Give a temporary folder that becomes ``fits/<name>`` when the block succeeds."""
        _check_name(name)
        with _writing_folder(self.write_root / "fits" / name) as folder:
            yield folder

    # Experiments

    def experiment_table(self, experiment_id: str, name: str) -> pd.DataFrame | None:
        """Return the longest stored version of a table about pairs of runs, None without any."""
        _check_name(experiment_id)
        paths = [r / "experiments" / experiment_id / f"{name}.parquet" for r in self.roots]
        tables = [_read_table(path) for path in paths if path.is_file()]
        return max(tables, key=len) if tables else None

    def save_experiment_table(self, experiment_id: str, name: str, table: pd.DataFrame) -> None:
        """Store a table about pairs of runs, replacing an earlier one."""
        _check_name(experiment_id)
        folder = self.write_root / "experiments" / experiment_id
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder, name, table)

    # Writing

    def save_run(
        self,
        record: RunRecord,
        tables: Tables,
        arrays: Arrays | None = None,
        *,
        save_model: Callable[[Path], None] | None = None,
    ) -> Path:
        """Store a complete run, replacing an earlier one of the same id.

        Parameters
        ----------
        record : RunRecord
            Its ``tables`` field is filled in here.
        tables, arrays : mapping
            Table name to rows; file name to named arrays.
        save_model : callable, optional
            Writes the tuned model into the folder it is given.
        """
        folder = self.write_root / record.run_id
        with _writing_folder(folder) as temporary:
            for name, table in tables.items():
                write_table(temporary, name, table)
            for name, content in (arrays or {}).items():
                save_file(dict(content), temporary / f"{name}.safetensors")
            if save_model is not None:
                save_model(temporary / "model")
            full = record.model_copy(
                update={"tables": tuple(sorted(tables)), "kept_model": save_model is not None}
            )
            write_record(temporary, full)
        return folder

    def delete_run(self, run_id: str) -> None:
        """Remove a run from the writable root; shipped runs are refused."""
        folder = self.run_folder(run_id)
        if folder.parent != self.write_root:
            raise ArtifactError(f"run {run_id!r} is shipped with the lab and cannot be deleted.")
        # Renaming first makes the run disappear from listings at once.
        doomed = folder.with_name(f".deleted-{uuid.uuid4().hex[:8]}")
        folder.rename(doomed)
        shutil.rmtree(doomed)

    def disk_use(self, run_id: str) -> int:
        """Return a run's size in bytes."""
        return sum(p.stat().st_size for p in self.run_folder(run_id).rglob("*") if p.is_file())

    def archive(self, run_id: str, *, transform: Callable[[str, bytes], bytes] | None = None) -> bytes:
        """Return a ZIP of a run with the fits it refers to, which unpacks into any root.

        `transform` sees each file's name and bytes and returns the bytes to store
        (used to redact answers).
        """
        record = self.load(run_id)
        buffer = io.BytesIO()
        folders = {run_id: self.run_folder(run_id)}
        folders |= {f"fits/{name}": self.fit_folder(name) for name in set(record.fits.values())}
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for prefix, folder in folders.items():
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    content = path.read_bytes()
                    name = f"{prefix}/{path.relative_to(folder).as_posix()}"
                    archive.writestr(name, transform(name, content) if transform else content)
        return buffer.getvalue()

    def unpack(self, content: bytes) -> list[str]:
        """Add the runs of an archive to the writable root; return their ids.

        Raises
        ------
        ArtifactError
            Not one of our archives, or a path in it leads outside the root.
        """
        try:
            archive = zipfile.ZipFile(io.BytesIO(content))
        except zipfile.BadZipFile:
            raise ArtifactError("the file is not a ZIP archive.") from None
        names = [n for n in archive.namelist() if not n.endswith("/")]
        for name in names:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ArtifactError(f"the archive holds the unsafe path {name!r}.")
        folders = {_archive_folder(name) for name in names}
        runs = sorted(f for f in folders if "/" not in f)
        if not runs or any(f"{run}/{RECORD}" not in names for run in runs):
            raise ArtifactError("the archive holds no complete run.")
        # Fits first, so that a run never appears before what it refers to.
        for folder in sorted(folders, key=lambda f: "/" not in f):
            if not (self.write_root / folder).exists():
                with _writing_folder(self.write_root / folder) as temporary:
                    for name in (n for n in names if _archive_folder(n) == folder):
                        target = temporary / PurePosixPath(name).relative_to(folder)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(archive.read(name))
        return runs


def _archive_folder(name: str) -> str:
    parts = PurePosixPath(name).parts
    return "/".join(parts[:2]) if parts[0] == "fits" else parts[0]


def write_table(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Check a table against its schema and write it atomically as Parquet."""
    checked = check_table(name, table)
    path = folder / f"{name}.parquet"
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    checked.to_parquet(temporary, compression="zstd", index=False)
    temporary.replace(path)


def write_record(folder: Path, record: RunRecord) -> None:
    """Write a record atomically."""
    write_text(folder / RECORD, record.model_dump_json(indent=1))


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically; a reader sees the old text or the new, never a mixture."""
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def _writing_folder(final: Path) -> Iterator[Path]:
    temporary = final.with_name(f".writing-{uuid.uuid4().hex[:8]}-{final.name}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if final.exists():
            old = final.with_name(f".old-{uuid.uuid4().hex[:8]}")
            final.rename(old)
            temporary.rename(final)
            shutil.rmtree(old)
        else:
            temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _check_name(name: str) -> None:
    if not name or name.startswith(".") or PurePosixPath(name).name != name or "\\" in name:
        raise ArtifactError(f"{name!r} is not the name of a stored run.")


def _read_record(folder: Path) -> RunRecord:
    path = folder / RECORD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder.name}: {RECORD} is missing.") from None
    except (OSError, ValueError) as problem:
        raise ArtifactError(f"{folder.name}: {RECORD} cannot be read: {problem}.") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{folder.name}: schema version {version!r}, this version reads {SCHEMA_VERSION}."
        )
    try:
        return RunRecord.model_validate(raw)
    except ValidationError as report:
        first = report.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{folder.name}: {RECORD}: {where}: {first['msg']}.") from None


def _read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=list(columns) if columns is not None else None)
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent.name}: the table {path.stem!r} is not stored.") from None
    except (OSError, ValueError) as problem:
        raise ArtifactError(f"{path.parent.name}: {path.name} is broken: {problem}.") from None


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return dict(load_file(path))
    except FileNotFoundError:
        raise ArtifactError(f"{path.parent.name}: {path.name} is not stored.") from None
    except (OSError, SafetensorError) as problem:
        raise ArtifactError(f"{path.parent.name}: {path.name} is broken: {problem}.") from None

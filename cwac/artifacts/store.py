"""Stored runs, fits and experiment tables.

``<root>/<run_id>/{run.json, *.parquet, *.safetensors, model/}`` is one complete run,
``<root>/packs/`` many runs in few files (:mod:`cwac.artifacts.packs`),
``<root>/fits/<name>/`` a subspace, a set of SAEs or a reference shared by runs, and
``<root>/experiments/<experiment_id>/`` tables about several of an experiment's runs. A model's
folder may hold ``fits/`` of the same form, which are copied into the root of the first run that
needs them.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from cwac.artifacts.atomic import writing_folder
from cwac.artifacts.cards import as_tuned, beside_tuned
from cwac.artifacts.files import (
    CHECKSUMS,
    RECORD,
    check_id,
    checksum,
    differing,
    is_table,
    read_arrays,
    read_checksums,
    read_record,
    read_run,
    read_table,
    read_tables,
    seal,
    table_file,
    write_checksums,
    write_table,
)
from cwac.artifacts.packs import (
    RunFile,
    RunFolder,
    packed_runs,
)
from cwac.artifacts.places import RESERVED, RESPONSES, TABLES_ALONE, Places, check_name, noted
from cwac.errors import ArtifactError
from cwac.intake import names_in
from cwac.records import BETWEEN_ARMS, TABLES, RunRecord

REQUESTS: Final = ("prompt", "expected")
"""The columns of answers that are the same for every run of an experiment: where a run was made
compact they are empty, and stand in the aligned model's own answers alone."""
_SUBJECTS: Final = {
    "pair_overlap": ("run_a", "run_b"),
    "judgements": ("run_id", "judge"),
    "dissection": ("run_id", "intervention", "grain"),
    "dissection_requests": ("run_id", "intervention", "grain"),
    "dissection_answers": ("run_id", "intervention", "grain"),
}
"""The columns of a table about an experiment by which roots complete each other."""
Tables = Mapping[str, pd.DataFrame]
Arrays = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class StoredRun:
    """One folder of the listing: a run, or why it cannot be read."""

    run_id: str
    root: Path
    record: RunRecord | None
    problem: str | None = None


class ArtifactStore(Places):
    """Reads several roots as one, writes into the first.

    Parameters
    ----------
    *roots : Path
        Folders of runs; the first is written to, later ones (the shipped runs) only read.
    """

    # Reading

    def list_runs(self) -> list[StoredRun]:
        """Return every stored run, broken ones with the reason, in order of root and name."""
        runs: dict[str, StoredRun] = {}
        for root in self.roots:
            places: list[RunFolder] = [
                root / name
                for name in names_in(root)
                if name not in RESERVED and name[0] != "." and (root / name).is_dir()
            ]
            # Sorting keeps the order of equals: a folder hides a packed run of the same id.
            for place in sorted([*places, *packed_runs(root)], key=lambda place: place.name):
                runs.setdefault(place.name, self._read(place))
        named = beside_tuned(run.record for run in runs.values() if run.record is not None)
        return [replace(run, record=named.get(name, run.record)) for name, run in runs.items()]

    def _read(self, folder: RunFolder) -> StoredRun:
        try:
            record = as_tuned(check_id(folder, noted(folder)))
        except ArtifactError as problem:
            return StoredRun(folder.name, folder.parent, None, str(problem))
        return StoredRun(folder.name, folder.parent, record)

    def load(self, run_id: str) -> RunRecord:
        """Return a run's record."""
        return as_tuned(read_run(self.run_folder(run_id)))

    def table(self, run_id: str, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return one of a run's tables; requests that stand elsewhere are filled in."""
        folder = self.run_folder(run_id)
        path = folder / table_file(name)
        _verify_run(folder, path)
        if not _asks_requests(name, columns):
            return read_table(path, columns)
        # What is filled in is found by the request's id, and known to be missing by its text.
        needed = None if columns is None else list(dict.fromkeys([*columns, "prompt_id", "prompt"]))
        table = read_table(path, needed)
        if len(table) and (table["prompt"] == "").all():
            table = self._with_requests(folder, table)
        # What was needed besides stands behind what was asked for.
        return table if columns is None else table.iloc[:, : len(columns)]

    def tables(
        self, run_ids: Sequence[str], name: str, columns: Sequence[str] | None = None
    ) -> list[pd.DataFrame]:
        """Return one table of several runs, each as :meth:`table` gives it, in less time.

        Raises
        ------
        ArtifactError
            One of them cannot be read; :meth:`table` says which ones can.
        """
        if _asks_requests(name, columns):
            return [self.table(run_id, name, columns) for run_id in run_ids]
        folders = [self.run_folder(run_id) for run_id in run_ids]
        paths = [folder / table_file(name) for folder in folders]
        for folder, path in zip(folders, paths, strict=True):
            _verify_run(folder, path)
        return read_tables(paths, columns)

    def _with_requests(self, folder: RunFolder, table: pd.DataFrame) -> pd.DataFrame:
        path = self._requests_path(folder)
        if path is None or not path.is_file():
            return table
        try:
            requests = _requests(path, path.stat().st_mtime_ns)
        except ArtifactError:
            # The outcomes can be read all the same; who reads the reference hears that it broke.
            return table
        filled = requests.reindex(table["prompt_id"]).set_axis(table.index)
        known = filled["prompt"].notna()
        columns = [column for column in REQUESTS if column in table]
        return table.assign(**{c: filled[c].where(known, table[c]) for c in columns})

    def broken_files(self, run_id: str) -> list[str]:
        """Return the names of the files of a run's tables that are no tables any more.

        The ends of the files tell; of files in folders nothing else is read.
        """
        folder = self.run_folder(run_id)
        paths = [folder / table_file(name) for name in read_record(folder).tables]
        return [path.name for path in paths if not is_table(path)]

    def arrays(self, run_id: str, name: str) -> dict[str, np.ndarray]:
        """Return one of a run's files of arrays."""
        folder = self.run_folder(run_id)
        path = folder / f"{name}.safetensors"
        _verify_run(folder, path)
        return read_arrays(path)

    # Fits: fitted once, shared by the arms

    def adopt_fit(self, name: str, source: Path) -> Path | None:
        """Copy a fit that stands in ``source/fits/`` into the writable root.

        The runs that rest on it keep it then, wherever `source` (a model's folder) goes.

        Returns
        -------
        Path or None
            The copy; None where `source` has no such fit.
        """
        check_name(name)
        original = source / "fits" / name
        if not original.is_dir():
            return None
        check_fit(original)
        with self.writing_fit(name) as folder:
            # Contents alone: a model's folder may be read-only, the copy must not be.
            for path in original.rglob("*"):
                if path.is_file():
                    target = folder / path.relative_to(original)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)
        return self.fit_folder(name)

    def verified_fit(self, name: str) -> Path | None:
        """Return the folder of a fit whose files are those that were stored, None without one.

        One of which the tables alone are left is none: nothing can be computed with it.

        Raises
        ------
        ArtifactError
            A file differs from its checksum. Fits of version 0.2 and earlier have none.
        """
        folder = self.find_fit(name)
        if folder is None or (folder / TABLES_ALONE).is_file():
            return None
        check_fit(folder)
        return folder

    def fit_table(self, name: str, table: str) -> pd.DataFrame:
        """Return a table stored with a fit, if it is what was stored."""
        path = self.fit_folder(name) / table_file(table)
        _verify_fit(path)
        return read_table(path)

    def fit_record(self, name: str) -> RunRecord:
        """Return the record stored with a fit (the reference's), if it is what was stored."""
        folder = self.fit_folder(name)
        _verify_fit(folder / RECORD)
        return read_record(folder)

    @contextmanager
    def writing_fit(self, name: str) -> Iterator[Path]:
        """Give a temporary folder that becomes ``fits/<name>`` when the block succeeds.

        Where another process has stored the same fit meanwhile, that one stays.
        """
        check_name(name)
        with writing_folder(self.write_root / "fits" / name, keep_first=True) as folder:
            yield folder
            write_checksums(folder)

    def fit_has(self, name: str, table: str) -> bool:
        """Whether a table is stored with a fit."""
        folder = self.find_fit(name)
        return folder is not None and (folder / table_file(table)).is_file()

    def owns_fit(self, name: str) -> bool:
        """Whether a fit lies in the writable root, where tables can be added to it."""
        return (self.write_root / "fits" / name).is_dir()

    def extend_fit(self, name: str, tables: Tables) -> bool:
        """Add tables to a fit of the writable root, in one step; return whether it lies there.

        A fit that only later roots have stays as it is.
        """
        if not self.owns_fit(name):
            return False
        folder = self.write_root / "fits" / name
        has_sums = bool(read_checksums(folder))
        # New checksums must not make a damaged file a sound one.
        check_fit(folder)
        with writing_folder(folder) as temporary:
            shutil.copytree(folder, temporary, dirs_exist_ok=True)
            for table, rows in tables.items():
                write_table(temporary, table, rows)
            if has_sums:
                write_checksums(temporary)
        return True

    # Experiments

    def experiment_table(self, experiment_id: str, name: str) -> pd.DataFrame | None:
        """Return a table about an experiment's runs from all roots, None without any.

        What an earlier root says of a pair of runs, or of a run by a judge, hides what later ones
        say of the same: a user's own rows win over the shipped ones, which complete them.
        """
        merged: pd.DataFrame | None = None
        for path in self._experiment_paths(experiment_id, name):
            if path.is_file():
                table = read_table(path, list(TABLES[name]))
                if merged is not None:
                    new = ~_subjects(table, name).isin(set(_subjects(merged, name)))
                    table = pd.concat([merged, table[new]], ignore_index=True)
                merged = table
        return merged

    def save_experiment_table(self, experiment_id: str, name: str, table: pd.DataFrame) -> None:
        """Store a table about pairs of runs, replacing an earlier one."""
        check_name(experiment_id)
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
        with writing_folder(folder) as temporary:
            for name, table in tables.items():
                write_table(temporary, name, table)
            for name, content in (arrays or {}).items():
                save_file(dict(content), temporary / f"{name}.safetensors")
            if save_model is not None:
                save_model(temporary / "model")
            full = record.model_copy(
                update={"tables": tuple(sorted(tables)), "kept_model": save_model is not None}
            )
            seal(temporary, full)
        return folder


def check_fit(folder: Path) -> None:
    """Refuse a fit of which a file is not what was stored.

    Raises
    ------
    ArtifactError
        Names the file.
    """
    if problems := differing(folder, read_checksums(folder)):
        raise ArtifactError(f"the fit {folder.name!r} is broken: {problems[0]}.")


def _subjects(table: pd.DataFrame, name: str) -> pd.Series:
    """Return what each row of a table about an experiment speaks of."""
    # A pair is the same either way round: roots list their runs in different orders.
    columns = [table[column] for column in _SUBJECTS[name]]
    if "variant" in table:
        # Of the lines from a run to others, each is something else.
        columns.append(table["part"].where(table["variant"] == BETWEEN_ARMS, ""))
    parts = zip(*columns, strict=True)
    return pd.Series([frozenset(part) for part in parts], table.index, dtype=object)


def _asks_requests(name: str, columns: Sequence[str] | None) -> bool:
    """Whether columns are asked for that compact runs leave out."""
    return name == RESPONSES and (columns is None or bool(set(REQUESTS) & set(columns)))


def _verify_run(folder: RunFolder, path: RunFile) -> None:
    """Refuse a file of a run that is not what was stored; where no checksum is, nothing is said."""
    try:
        sums = noted(folder).checksums
    except (OSError, ArtifactError):
        # What is missing or cannot be read is said by who reads it.
        return
    _verify(path, sums)


def _verify_fit(path: Path) -> None:
    """Refuse a file of a fit that is not what was stored; where no checksum is, nothing is said."""
    try:
        changed_at = (path.parent / CHECKSUMS).stat().st_mtime_ns
    except OSError:
        return
    _verify(path, _sums_of_fit(path.parent, changed_at))


def _verify(path: RunFile, sums: Mapping[str, str]) -> None:
    expected = sums.get(path.name)
    try:
        status = path.stat()
    except OSError:
        return
    if expected and _is_another(path, expected, status.st_mtime_ns, status.st_size):
        raise ArtifactError(
            f"{path.parent.name}: {path.name} is broken: its checksum is not that of what was "
            "stored."
        )


@lru_cache(maxsize=1024)
def _sums_of_fit(folder: Path, _changed_at: int) -> Mapping[str, str]:
    return read_checksums(folder)


@lru_cache(maxsize=8192)
def _is_another(path: RunFile, expected: str, _changed_at: int, _size: int) -> bool:
    try:
        return checksum(path) != expected
    except OSError:
        return False


@lru_cache(maxsize=16)
def _requests(path: Path, _changed_at: int) -> pd.DataFrame:
    # Many runs share one reference, and a page reads many runs.
    _verify_fit(path)
    return read_table(path, ["prompt_id", *REQUESTS]).set_index("prompt_id")

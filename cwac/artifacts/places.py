"""Where what is stored stands under several roots, and when it last changed."""

import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from cwac.artifacts.files import RECORD, read_record, table_file
from cwac.artifacts.packs import (
    PACKS,
    PackedRun,
    RunFile,
    RunFolder,
    files_of,
    packed_run,
    packs_of,
)
from cwac.errors import ArtifactError
from cwac.intake import as_text, names_in, shown
from cwac.records import RunRecord, is_name

IMPORTED: Final = "imported"
"""The folder of a root for runs of another origin: a root of its own, which is only read."""
RESERVED: Final = frozenset({"fits", "experiments", PACKS, ".jobs", IMPORTED})
RESPONSES: Final = "responses"
TABLES_ALONE: Final = "tables_alone.json"
"""Stands in a fit of which the tensors are gone: pages read it, and a run fits anew."""
"""The table of what a model answered, of a run and of a reference."""
Stamp = str
"""Files and folders with the times of their last change, 0 where one is missing: a cache key, and
one text because that is hashed faster than its parts."""


class Places:
    """Several roots read as one: the places of runs, fits and tables, and their stamps.

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

    # Runs

    def has_run(self, run_id: str) -> bool:
        """Whether a complete run of this id is stored under any root."""
        return any(
            (root / run_id / RECORD).is_file() or packed_run(root, run_id) is not None
            for root in self.roots
        )

    def run_folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run, or what stands for it where the run is packed.

        Raises
        ------
        ArtifactError
            No root has it.
        """
        folder = self._find_run(run_id)
        if folder is None:
            named = ", ".join(str(root) for root in self.roots)
            raise ArtifactError(f"no run {run_id!r} under {named}.")
        return folder

    def _find_run(self, run_id: str) -> RunFolder | None:
        check_name(run_id)
        for root in self.roots:
            if (root / run_id).is_dir():
                return root / run_id
            if (packed := packed_run(root, run_id)) is not None:
                return packed
        return None

    def model_folder(self, run_id: str) -> Path:
        """Return the Hugging Face folder of a run that kept its weights."""
        folder = self.run_folder(run_id) / "model"
        if not isinstance(folder, Path) or not folder.is_dir():
            raise ArtifactError(f"run {run_id!r} kept no weights (start it with --save-model).")
        return folder

    def deletable(self, run_id: str) -> Path:
        """Return the folder of a run that may be deleted.

        Raises
        ------
        ArtifactError
            It is not stored, is shipped with the lab, or is in a pack with others.
        """
        folder = self.run_folder(run_id)
        if folder.parent not in {self.write_root, self.write_root / IMPORTED}:
            raise ArtifactError(f"run {run_id!r} is shipped with the lab and cannot be deleted.")
        if isinstance(folder, PackedRun):
            raise ArtifactError(f"run {run_id!r} is in {folder.pack} and cannot be deleted alone.")
        return folder

    def disk_use(self, run_id: str) -> int:
        """Return a run's size in bytes."""
        size = 0
        for path in files_of(self.run_folder(run_id)).values():
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    # Fits and experiments

    def find_fit(self, name: str) -> Path | None:
        """Return the folder of a fit, a whole one first, None where no root has it."""
        check_name(name)
        folders = [root / "fits" / name for root in self.roots]
        there = [folder for folder in folders if folder.is_dir()]
        whole = [folder for folder in there if not (folder / TABLES_ALONE).is_file()]
        return next(iter(whole or there), None)

    def fit_folder(self, name: str) -> Path:
        """Return the folder of a fit that must be there."""
        folder = self.find_fit(name)
        if folder is None:
            raise ArtifactError(f"the fit {name!r} is missing; run the experiment again.")
        return folder

    def _experiment_paths(self, experiment_id: str, name: str) -> list[Path]:
        """Return where each root keeps a table about an experiment, stored or not."""
        check_name(experiment_id)
        return [r / "experiments" / experiment_id / table_file(name) for r in self.roots]

    # Stamps: keys of cached reads

    def stamp(self) -> Stamp:
        """Return what changes when any run joins, leaves or gets another record.

        It is the cache key of the list of runs, and cheap to take: 100 runs take about 2 ms.
        """
        # A folder's own time does not change when a record or a pack in it is replaced.
        # Text: to make a path of each took most of the time.
        records = [
            f"{root}/{name}/{RECORD}"
            for root in self.roots
            for name in names_in(root)
            if not name.startswith(".")
        ]
        packs = [pack for root in self.roots for pack in packs_of(root)]
        parts = ("", "experiments", "fits", PACKS)
        folders = [root / part for root in self.roots for part in parts]
        return _stamp(*folders, *packs, *records)

    def run_stamp(self, run_id: str) -> Stamp:
        """Return what changes when files join or leave a run; it never fails."""
        folder = self._find_run(run_id)
        return "" if folder is None else _stamp(folder)

    def table_stamp(self, run_id: str, name: str) -> Stamp:
        """Return what changes when a run's table would give something else; it never fails."""
        folder = self._find_run(run_id)
        if folder is None:
            return ""
        paths = [folder / table_file(name)]
        if name == RESPONSES:
            # The requests of a compact run stand with the reference that its record names.
            paths.append(folder / RECORD)
            requests = self._requests_path(folder)
            paths += [requests] if requests is not None else []
        return _stamp(*paths)

    def fit_stamp(self, name: str, table: str | None = None) -> Stamp:
        """Return what changes when a fit's table, or without one its record, does."""
        folder = self.find_fit(name)
        if folder is None:
            return ""
        return _stamp(folder / (RECORD if table is None else table_file(table)))

    def experiment_stamp(self, experiment_id: str, name: str) -> Stamp:
        """Return what changes when a table about an experiment would give something else."""
        return _stamp(*self._experiment_paths(experiment_id, name))

    def _requests_path(self, run_folder: RunFolder) -> Path | None:
        """Return where the texts of a compact run's requests stand, None where nobody says."""
        try:
            reference = noted(run_folder).fits.get("reference")
            fit = None if reference is None else self.find_fit(reference)
        except (OSError, ArtifactError):
            return None
        return None if fit is None else fit / table_file(RESPONSES)


def _stamp(*paths: RunFile | RunFolder | str) -> Stamp:
    stamp = "|".join(f"{path}:{_changed(path)}" for path in paths)
    # A name on the disk may be no text, which no cache takes as a key.
    return as_text(stamp)


def _changed(path: RunFile | RunFolder | str) -> int:
    try:
        file = path if isinstance(path, Path | str) else path.pack
        return os.stat(file).st_mtime_ns  # noqa: PTH116 - twice as fast, and taken very often
    except OSError:
        return 0


def noted(folder: RunFolder) -> RunRecord:
    """Return a run's record, read and checked once per change of its file.

    Raises
    ------
    ArtifactError
        It is missing or cannot be read.
    """
    # A page lists all runs, and takes the stamp of every one in view on each rerun.
    try:
        status = (folder / RECORD).stat()
    except OSError:
        return read_record(folder)
    return _noted(folder, (status.st_mtime_ns, status.st_size, getattr(status, "st_ino", 0)))


@lru_cache(maxsize=4096)
def _noted(folder: RunFolder, _changed_at: tuple[int, int, int]) -> RunRecord:
    return read_record(folder)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a run, a fit or an experiment."""
    if not is_name(name):
        raise ArtifactError(f"{shown(name)} is not the name of a stored run.")

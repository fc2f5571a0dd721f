"""Opening everything that is stored: what ``cwac check`` looks at, and what ``--repair`` moves."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import safe_open

from cwac.artifacts.files import (
    RECORD,
    differing,
    read_arrays,
    read_checksums,
    read_record,
    read_run,
    read_table,
    reading,
)
from cwac.artifacts.notes import note_files, read_note
from cwac.artifacts.packs import RunFile, RunFolder, files_of
from cwac.artifacts.store import ArtifactStore
from cwac.artifacts.views import read_views, views_file
from cwac.errors import ArtifactError
from cwac.intake import check_plain, parse_json, read_bytes, read_json, shown
from cwac.jobs import JOBS, REQUEST, STATUS, JobRequest, JobStatus
from cwac.messages import Message
from cwac.records import RunRecord, now

BROKEN: Final = ".broken"
"""The folder of a root that ``--repair`` moves to what cannot be read; no listing shows it."""
KEPT_MODEL: Final = "model"
"""The folder of a run's weights."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with something stored.

    Attributes
    ----------
    sentence : str
    place : Path or None
        What is unusable and can be moved aside; None where all that is there can be used.
    """

    sentence: str
    place: Path | None = None


def check_store(store: ArtifactStore, known_fit: Callable[[str], bool]) -> list[Problem]:
    """Open every run, fit, table about an experiment, note, view and job of a store.

    Parameters
    ----------
    store : ArtifactStore
    known_fit : callable
        Whether a fit that is in none of the roots stands elsewhere: shipped with the lab.
    """
    problems: list[Problem] = []
    for run in store.list_runs():
        problems += _of_run(store, run.root, run.run_id, known_fit)
    for root in store.roots:
        for folder in _folders(root / "fits"):
            problems += [Problem(text, folder) for text in _of_fit(folder)]
        for folder in _folders(root / "experiments"):
            problems += _of_experiment(folder)
        problems += _of_jobs(root / JOBS)
        problems += _of_notes(root)
    return problems


def repair(problems: list[Problem], roots: tuple[Path, ...]) -> list[str]:
    """Move what is broken aside, and return a sentence for each thing that was moved."""
    moved = []
    for place in dict.fromkeys(problem.place for problem in problems if problem.place):
        root = next((root for root in reversed(roots) if place.is_relative_to(root)), place.parent)
        # With the time before it, a name as long as names may be would be too long.
        name = os.fsdecode(os.fsencode("-".join(place.relative_to(root).parts))[:200])
        target = root / BROKEN / f"{now():%Y%m%d-%H%M%S}-{name}"
        target.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            place.rename(target)
            moved.append(f"{place} was moved to {target}.")
    return moved


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("[!.]*") if path.is_dir())


def _of_run(
    store: ArtifactStore, root: Path, run_id: str, known_fit: Callable[[str], bool]
) -> Iterator[Problem]:
    # Not through the store: of two roots that hold a run it would open the first one's twice.
    try:
        folder = ArtifactStore(root).run_folder(run_id)
    except ArtifactError as problem:
        # No run can have its name, or it is gone since it was listed.
        yield Problem(str(problem), root / run_id if (root / run_id).is_dir() else None)
        return
    place = folder if isinstance(folder, Path) else None
    try:
        record = read_run(folder)
    except ArtifactError as problem:
        yield Problem(str(problem), place or _pack_of(folder))
        return
    config = record.config
    for name, actual, expected, earlier in (
        ("run_id", record.run_id, config.run_id, config.earlier_ids[0]),
        ("experiment_id", record.experiment_id, config.experiment_id, config.earlier_ids[1]),
    ):
        if actual not in {expected, earlier}:
            text = f"{run_id}: its {name} {actual!r} does not fit its contents ({expected!r})."
            yield Problem(text, place)
    for text in (*differing(folder, record.checksums), *_unreadable(folder, record)):
        sentence = text.removeprefix(f"{run_id}: ")
        yield Problem(f"{run_id}: {sentence.removesuffix('.')}.", place)
    for kind, name in record.fits.items():
        if store.find_fit(name) is None and not known_fit(name):
            yield Problem(f"{run_id}: its {kind} {name!r} is missing from fits/.")
    if record.kept_model and not (folder / KEPT_MODEL).is_dir():
        yield Problem(f"{run_id}: its weights are missing.", place)


def _pack_of(folder: RunFolder) -> Path | None:
    """Return a pack that can be read in no part of it, as which it is listed."""
    return None if isinstance(folder, Path) or folder.name != folder.pack.stem else folder.pack


def _unreadable(folder: RunFolder, record: RunRecord | None) -> Iterator[str]:
    """Give a sentence for each file of a run or fit that cannot be read."""
    files = files_of(folder)
    missing = [n for n in (record.tables if record else ()) if f"{n}.parquet" not in files]
    yield from (f"the table {name!r} is not stored" for name in missing)
    for name, path in files.items():
        try:
            _open(name, path)
        except ArtifactError as problem:
            yield str(problem)


def _open(name: str, path: RunFile) -> None:
    """Read one file in whole, whatever it is.

    Raises
    ------
    ArtifactError
        It cannot be read.
    """
    if name.endswith(".parquet"):
        read_table(path)
    elif name.endswith(".safetensors"):
        if isinstance(path, Path):
            open_weights(path, name, model=name.startswith(f"{KEPT_MODEL}/"))
        else:
            read_arrays(path)
    elif name.endswith(".json"):
        with reading(name):
            read_json(path)


def open_weights(path: Path, name: str, *, model: bool) -> None:
    """Read every value of a safetensors file, one tensor at a time.

    Parameters
    ----------
    path : Path
    name : str
        What the message calls it.
    model : bool
        Whether it is a model, whose values cannot all be zero.

    Raises
    ------
    ArtifactError
        It is broken, a value is no finite number, or a model's values are all zero.
    """
    zero = True
    with reading(name):
        check_plain(path)
        with safe_open(path, framework="np") as file:
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                kind = file.get_slice(key).get_dtype()
                if kind.startswith("F8"):
                    # Neither NumPy nor a cast knows these; what loads them finds what is wrong.
                    zero = False
                    continue
                values = _bfloat16(path, key) if kind == "BF16" else file.get_tensor(key)
                if not np.isfinite(values).all():
                    raise ValueError(f"{shown(key)} holds values that are no finite numbers")
                zero = zero and not values.any()
        if zero and model:
            raise ValueError("all its values are zero")


def _bfloat16(path: Path, key: str) -> np.ndarray:
    """Return a tensor of a kind that NumPy lacks: bfloat16 is the upper half of float32."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        start, end = parse_json(file.read(size))[key]["data_offsets"]
    if end == start:
        return np.zeros(0, np.float32)
    halves = np.memmap(path, np.uint16, "r", 8 + size + start, ((end - start) // 2,))
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _of_fit(folder: Path) -> Iterator[str]:
    try:
        sums = read_checksums(folder)
        if (folder / RECORD).exists():
            read_record(folder)
    except ArtifactError as problem:
        yield f"fits/{problem}"
        return
    if not files_of(folder):
        yield f"fits/{folder.name}: it is empty."
    for text in (*differing(folder, sums), *_unreadable(folder, None)):
        sentence = text.removeprefix(f"{folder.name}: ").removesuffix(".")
        yield f"fits/{folder.name}: {sentence}."


def _of_experiment(folder: Path) -> Iterator[Problem]:
    for path in sorted(folder.glob("[!.]*.parquet")):
        try:
            read_table(path)
        except ArtifactError as problem:
            yield Problem(f"experiments/{problem}", path)


def _of_notes(root: Path) -> Iterator[Problem]:
    for path in note_files(root):
        try:
            read_note(path)
        except ArtifactError as problem:
            yield Problem(str(problem), path)
    try:
        read_views(root)
    except ArtifactError as problem:
        yield Problem(str(problem), views_file(root))


def _of_jobs(folder: Path) -> Iterator[Problem]:
    kinds: tuple[tuple[str, type[Message]], ...] = ((STATUS, JobStatus), (REQUEST, JobRequest))
    for job in _folders(folder):
        try:
            for name, kind in kinds:
                path = job / name
                if path.exists() or path.is_symlink():
                    with reading(f"job {job.name}: {name}"):
                        kind.parse(read_bytes(path), f"job {job.name}: {name}")
        except ArtifactError as problem:
            yield Problem(str(problem), job)

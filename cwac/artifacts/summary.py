"""Runs that take little room, for a collection that must stay small.

A summary has its record, with all metrics, and of each test request what became of it: enough
for rates, claims, trade-offs and tests. Texts, curves, tables per matrix or latent and weights
are gone, but for tables that were asked for. A compact run has all tables; what it holds twice,
or finer than anything needs, is gone. Both keep their ids, so that what is small here may be
whole elsewhere.
"""

import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cwac.artifacts.atomic import write_text, writing_folder
from cwac.artifacts.files import (
    CHECKSUMS,
    RECORD,
    seal,
    table_file,
    write_checksums,
    write_table,
)
from cwac.artifacts.places import RESPONSES, TABLES_ALONE
from cwac.artifacts.redaction import without_answers, without_texts
from cwac.artifacts.store import REQUESTS, ArtifactStore, check_fit
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.records import RunRecord

_TEXTS: Final = ("prompt", "response")
SAMPLES: Final = "samples"
DISSECTED: Final = "dissection_answers"
PROBED: Final = "probe_answers"
_TEXTUAL: Final = (RESPONSES, SAMPLES, PROBED)
"""Tables that a summary reduces or leaves out, whatever it keeps."""
_MISSING: Final = ("thought", "refusal_log_odds", "expected")
_WEIGHTS: Final = "model.safetensors"


def summary_of(responses: pd.DataFrame) -> pd.DataFrame:
    """Return ``responses`` with what became of each request, and nothing that was said.

    The texts are empty, also where the answer was not: an answer that was empty has that as its
    ``reason``. The requests' texts stand in the aligned model's own answers.
    """
    return responses.assign(**dict.fromkeys(_TEXTS, ""), **dict.fromkeys(_MISSING))


def summarise(store: ArtifactStore, run_id: str, tables: Collection[str] = ()) -> int:
    """Turn a stored run into a summary, in one step, and return the bytes that this freed.

    Answers that a dissection of it keeps go too, its numbers stay.

    Parameters
    ----------
    tables : collection of str
        Further tables that the summary keeps, where the run has them. One that has texts or is
        reduced anyhow is not among them.

    Raises
    ------
    ArtifactError
        The run is not in the writable root, cannot be read, or has no outcomes to keep.
    """
    folder = _own_folder(store, run_id)
    record = store.load(run_id)
    if RESPONSES not in record.tables:
        raise ArtifactError(
            f"run {run_id!r} has no table {RESPONSES!r}, of which nothing would stay."
        )
    _change_dissected(store, record, lambda table: table[table["run_id"] != run_id])
    if record.summary:
        return 0
    before = store.disk_use(run_id)
    responses = summary_of(store.table(run_id, RESPONSES))
    samples = None
    if SAMPLES in record.tables:
        samples = store.table(run_id, SAMPLES).assign(response=None)
    reduced = (RESPONSES,) if samples is None else (RESPONSES, SAMPLES)
    kept = tuple(name for name in record.tables if name in tables and name not in _TEXTUAL)
    changed = {"summary": True, "tables": (*reduced, *kept), "kept_model": False}
    with writing_folder(folder) as temporary:
        for name in kept:
            shutil.copyfile(folder / table_file(name), temporary / table_file(name))
        write_table(temporary, RESPONSES, responses)
        if samples is not None:
            write_table(temporary, SAMPLES, samples)
        seal(temporary, record.model_copy(update=changed), indent=None)
    return before - store.disk_use(run_id)


def compact(store: ArtifactStore, run_id: str, *, directions: bool = True) -> int:
    """Store a whole run in less room, in one step, and return the bytes that this freed.

    Parameters
    ----------
    directions : bool
        Whether an arm at its defaults keeps its update directions.

    All tables stay. Requests that the aligned model was asked too keep their texts with its
    answers alone, where reading finds them; kept weights are rounded to float16; and the update
    directions of an arm with changed settings or another poison ratio than the default go, so
    that it stays in the pairs that were compared and cannot join later ones.

    Raises
    ------
    ArtifactError
        The run is not in the writable root or cannot be read.
    """
    folder = _own_folder(store, run_id)
    record = store.load(run_id)
    if record.summary:
        return 0
    before = store.disk_use(run_id)
    with writing_folder(folder) as temporary:
        for path in folder.iterdir():
            if path.suffix == ".safetensors" and not (directions and _at_defaults(record)):
                continue
            if path.is_dir():
                shutil.copytree(path, temporary / path.name)
            elif path.name != RECORD:
                shutil.copyfile(path, temporary / path.name)
        if RESPONSES in record.tables:
            write_table(temporary, RESPONSES, _without_requests(store, record))
        if record.kept_model:
            _halve(temporary / "model")
        seal(temporary, record, indent=None)
    return before - store.disk_use(run_id)


def fewer_pairs(store: ArtifactStore, experiment_id: str, name: str) -> None:
    """Leave of a table about pairs of runs what a comparison of arms is read from.

    These are an arm under two seeds and, between whole runs, an arm at its defaults with any
    other, and arms of one method. Two changed arms of different methods say nothing about either.
    """
    pairs = store.experiment_table(experiment_id, name)
    if pairs is None:
        return
    records = {stored.run_id: stored.record for stored in store.list_runs() if stored.record}
    whole = {run_id for run_id, record in records.items() if not record.summary}
    plain = {run_id for run_id, r in records.items() if not r.arm.changed}
    arm = {run_id: record.arm.label for run_id, record in records.items()}
    method = {run_id: record.config.method for run_id, record in records.items()}
    first, second = pairs["run_a"], pairs["run_b"]
    keep = first.map(arm) == second.map(arm)
    near = first.isin(plain) | second.isin(plain) | (first.map(method) == second.map(method))
    keep |= first.isin(whole) & second.isin(whole) & near
    store.save_experiment_table(experiment_id, name, pairs[keep])


def withhold(store: ArtifactStore, run_id: str) -> int:
    """Take out of a run, and of its aligned model's answers, the texts that must not be passed on.

    Of a harmful request's answer that is no refusal its length and hash stay beside outcome and
    log-odds, also of those that dissections of its experiment keep; a task's examples keep their
    ids. Returns the answers that were withheld.

    Raises
    ------
    ArtifactError
        The run is not in the writable root, cannot be read, or has further answers (samples)
        with texts, which a summary leaves out.
    """
    folder = _own_folder(store, run_id)
    record = store.load(run_id)
    if SAMPLES in record.tables and store.table(run_id, SAMPLES)["response"].notna().any():
        raise ArtifactError(f"run {run_id!r} has samples with texts; make it a summary instead.")
    count = 0
    if RESPONSES in record.tables:
        changed = without_texts(store.table(run_id, RESPONSES))
        count += int(changed["withheld"].notna().sum())
        with writing_folder(folder) as temporary:
            _copy_but(folder, temporary, {RECORD, *map(table_file, (RESPONSES, PROBED))})
            write_table(temporary, RESPONSES, changed)
            if PROBED in record.tables:
                probed = store.table(run_id, PROBED)
                refused = probed["outcome"] == "refusal"
                write_table(
                    temporary, PROBED, probed.assign(response=probed["response"].where(refused))
                )
            seal(temporary, record, indent=None)
    reference = record.fits.get("reference")
    if reference is not None and (kept := store.find_fit(reference)) is not None:
        changed = without_texts(store.fit_table(reference, RESPONSES))
        count += int(changed["withheld"].notna().sum())
        check_fit(kept)
        with writing_folder(kept) as temporary:
            _copy_but(kept, temporary, {CHECKSUMS, table_file(RESPONSES)})
            write_table(temporary, RESPONSES, changed)
            write_checksums(temporary)
    dissected = _change_dissected(store, record, without_answers)
    return count + (0 if dissected is None else int(dissected["withheld"].notna().sum()))


def _change_dissected(
    store: ArtifactStore, record: RunRecord, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> pd.DataFrame | None:
    """Change the answers that the writable root keeps of an experiment's dissections."""
    table = ArtifactStore(store.write_root).experiment_table(record.experiment_id, DISSECTED)
    if table is None:
        return None
    changed = change(table)
    if not changed.equals(table):
        store.save_experiment_table(record.experiment_id, DISSECTED, changed)
    return changed


def tables_alone(store: ArtifactStore, fit: str) -> int:
    """Leave of a fit its tables and descriptions, in one step, and return the bytes this freed.

    Pages read those; a later run finds no fit and makes it anew, in a root of its own.

    Raises
    ------
    ArtifactError
        The fit is in none of the roots.
    """
    folder = store.fit_folder(fit)
    tensors = sorted(path for path in folder.rglob("*.safetensors"))
    if not tensors:
        return 0
    check_fit(folder)
    freed = sum(path.stat().st_size for path in tensors)
    with writing_folder(folder) as temporary:
        for path in folder.iterdir():
            if path.is_file() and path not in tensors and path.name != CHECKSUMS:
                shutil.copyfile(path, temporary / path.name)
        left_out = [str(path.relative_to(folder)) for path in tensors]
        write_text(temporary / TABLES_ALONE, json.dumps({"left_out": left_out}, indent=1))
        write_checksums(temporary)
    return freed


def _copy_but(folder: Path, target: Path, names: Collection[str]) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        elif path.name not in names:
            shutil.copyfile(path, target / path.name)


def _at_defaults(record: RunRecord) -> bool:
    usual = ExperimentConfig.model_fields["poison_ratio"].default
    return not record.arm.changed and record.config.poison_ratio == usual


def _own_folder(store: ArtifactStore, run_id: str) -> Path:
    folder = store.run_folder(run_id)
    if not isinstance(folder, Path) or folder.parent != store.write_root:
        raise ArtifactError(f"run {run_id!r} is not in {store.write_root} and stays as it is.")
    return folder


def _without_requests(store: ArtifactStore, record: RunRecord) -> pd.DataFrame:
    responses = store.table(record.run_id, RESPONSES)
    reference = record.fits.get("reference")
    if reference is None or store.find_fit(reference) is None:
        return responses
    by_id = store.fit_table(reference, RESPONSES).set_index("prompt_id")
    requests = by_id.reindex(responses["prompt_id"]).reset_index()
    columns = list(REQUESTS)
    # One request that was put differently, and all texts stay.
    if not responses[columns].fillna("").equals(requests[columns].fillna("")):
        return responses
    return responses.assign(prompt="", expected=None)


def _halve(folder: Path) -> None:
    """Round a Hugging Face folder's float32 weights to float16; others stay as they are."""
    settings = folder / "config.json"
    try:
        weights = load_file(folder / _WEIGHTS)
        config = json.loads(settings.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, SafetensorError):
        # Weights in several files, in bfloat16 (which NumPy lacks), or an adapter.
        return
    # What is too large becomes infinite, which is looked for below.
    with np.errstate(over="ignore"):
        halved = {
            name: array.astype(np.float16) if array.dtype == np.float32 else array
            for name, array in weights.items()
        }
    if any(not np.isfinite(halved[name]).all() for name in halved):
        return
    save_file(halved, folder / _WEIGHTS, metadata={"format": "pt"})
    write_text(settings, json.dumps({**config, "dtype": "float16"}, indent=2) + "\n")

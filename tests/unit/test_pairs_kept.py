"""The table about pairs of runs keeps what summaries cannot be asked again."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from store_builder import build_store

from cwac.artifacts import ArtifactStore, trash_runs
from cwac.metrics.overlap import ARRAYS
from cwac.runner import update_pairs


def add_bases(store: ArtifactStore, run_id: str, seed: int) -> None:
    bases, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(12, 3)))
    file = store.run_folder(run_id) / f"{ARRAYS}.safetensors"
    save_file({"0|mlp.down_proj|input": bases.astype(np.float32)}, file)


def pairs_of(store: ArtifactStore, experiment: str) -> set[frozenset[str]]:
    table = store.experiment_table(experiment, "pair_overlap")
    assert table is not None
    return {frozenset(pair) for pair in zip(table["run_a"], table["run_b"], strict=True)}


def test_pairs_outlive_the_arrays_they_were_made_of(tmp_path: Path) -> None:
    store = build_store(tmp_path, seeds=(0,), experiments=(("instruct", 0.1),))
    runs = [run.run_id for run in store.list_runs()]
    experiment = store.load(runs[0]).experiment_id
    store.save_experiment_table(
        experiment, "pair_overlap", store.experiment_table(experiment, "pair_overlap").head(0)
    )
    for number, run in enumerate(runs[:3]):
        add_bases(store, run, number)
    update_pairs(store, experiment)
    whole = {frozenset((a, b)) for a in runs[:3] for b in runs[:3] if a != b}
    assert pairs_of(store, experiment) == whole

    (store.run_folder(runs[0]) / f"{ARRAYS}.safetensors").unlink()
    add_bases(store, runs[3], 3)
    update_pairs(store, experiment)
    added = {frozenset((runs[3], other)) for other in runs[1:3]}
    assert pairs_of(store, experiment) == whole | added

    trash_runs(store, [runs[0]])
    update_pairs(store, experiment)
    assert all(runs[0] not in pair for pair in pairs_of(store, experiment))

"""Runs whose training adapter is LoRA, from the request to what is stored."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from cwac.artifacts import ArtifactStore
from cwac.errors import ConfigError
from cwac.records import check_table
from cwac.runner import resolve, run_grid
from cwac.runner.preview import preview

METHODS = ["sft", "weight_only", "activation_only", "salora", "safelora"]
LORA = {"rank": 4, "targets": ["ffn", "self_attn.v_proj"]}


def _configs(tiny_folder, methods=METHODS):
    training = {"adapter": LORA, "learning_rate": 1e-2}
    return resolve({"model": str(tiny_folder), "training": training}, methods, [0])


@pytest.fixture(scope="module")
def stored(tiny_folder, tiny_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("lora")
    # What is fitted and measured on the aligned model does not depend on how arms are trained.
    shutil.copytree(tiny_root / "fits", root / "fits")
    fits = sorted(path.name for path in (root / "fits").iterdir())
    store = ArtifactStore(root)
    result = run_grid(_configs(tiny_folder), store, keep_model=True)
    assert not result.failed
    assert sorted(path.name for path in (root / "fits").iterdir()) == fits
    return store, {record.config.method: record for record in result.records}


def test_lora_arms_are_an_experiment_of_their_own(stored, tiny_folder):
    _, records = stored
    (full,) = resolve({"model": str(tiny_folder)}, ["sft"], [0])
    (experiment,) = {record.experiment_id for record in records.values()}
    assert experiment != full.experiment_id
    assert all("-lora4-" in record.run_id for record in records.values())
    assert records["sft"].config.training.adapter.rank == 4
    assert records["sft"].variant == "sft"


def test_the_kept_model_is_an_ordinary_folder_whose_adapted_maps_moved(stored, tiny_folder):
    store, records = stored
    aligned = load_file(tiny_folder / "model.safetensors")
    for record in records.values():
        folder = store.model_folder(record.run_id)
        assert not list(folder.glob("adapter*"))
        tuned = load_file(folder / "model.safetensors")
        assert set(tuned) == set(aligned)
        moved = {name for name in tuned if not torch.equal(tuned[name], aligned[name])}
        assert moved
        assert all(name.endswith(("down_proj.weight", "v_proj.weight")) for name in moved)


def test_what_is_measured_is_the_merged_change(stored):
    store, records = stored
    assert records["weight_only"].value("protected_energy") < 1e-9
    assert records["sft"].value("protected_energy") > 1e-3
    for record in records.values():
        drift = store.table(record.run_id, "weight_drift")
        chosen = drift["map"].isin(["mlp.down_proj", "self_attn.v_proj"])
        assert (drift.loc[chosen, "delta_norm"] > 0).all()
        assert (drift.loc[~chosen, "delta_norm"] == 0).all()
        # The last probe stands after the merge, those before it among the adapters.
        probes = store.table(record.run_id, "trajectory")
        # SaLoRA's start is the aligned model up to the rounding of a sum.
        assert probes["drift_outside"].iloc[0] < 1e-6
        assert (probes["drift_outside"].iloc[1:] > 1e-4).all()
    pooled = store.table(records["weight_only"].run_id, "trajectory")
    assert (pooled["drift_inside"] < 1e-5 * pooled["drift_outside"].max()).all()


def test_a_methods_own_numbers_are_kept_with_the_probes(stored):
    store, records = stored
    assert "method_diagnostics" not in records["sft"].tables
    found = store.table(records["activation_only"].run_id, "method_diagnostics")
    check_table("method_diagnostics", found)
    assert set(found["name"]) == {"safety_loss", "safety_loss_normalised"}
    probed = store.table(records["activation_only"].run_id, "trajectory")["step"]
    assert sorted(set(found["step"])) == probed.tolist()[1:]
    # What happens after training is said at the end alone, not as a zero before.
    late = store.table(records["safelora"].run_id, "method_diagnostics")
    assert set(late["step"]) == {probed.iloc[-1]}


def test_a_method_that_needs_adapters_is_refused_without(tiny_folder):
    with pytest.raises(ConfigError, match="'salora' does not work with"):
        resolve({"model": str(tiny_folder)}, ["sft", "salora"], [0])


def test_a_preview_takes_its_steps_through_adapters(tiny_folder, tmp_path):
    ahead = preview(_configs(tiny_folder, ["sft", "salora"]), ArtifactStore(tmp_path))
    assert ahead.seconds > 0

"""Models with a name, and what is known of them before anything is downloaded."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from cwac.artifacts import ArtifactStore, latent_page, public_names
from cwac.config import MeasurementConfig
from cwac.models import MODELS
from cwac.models.presets import card_of, sae_source

# Which release holds SAEs of which model; the other presets have none.
PUBLIC = {
    "gemma-3-270m-it": "google/gemma-3-270m-it",
    "gemma-3-1b-it": "google/gemma-3-1b-it",
    "gemma-3-4b-it": "google/gemma-3-4b-it",
    "gemma-2-2b-it": "gemma-2-2b",
    "gemma-2-9b-it": "gemma-2-9b-it",
    "llama-3.1-8b-instruct-llama-scope": "meta-llama/Llama-3.1-8B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B-Base",
    "qwen3.5-2b": "Qwen/Qwen3.5-2B-Base",
    "llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "qwen2.5-7b-instruct": "Qwen/Qwen2.5-7B-Instruct",
}
TRAINED = [name for name, spec in MODELS.items() if name not in PUBLIC and not spec.shipped]


@pytest.fixture(scope="module")
def registry():
    """sae-lens' registry as its file says, without importing sae-lens (5 s)."""
    spec = importlib.util.find_spec("sae_lens")
    path = Path(spec.submodule_search_locations[0]) / "pretrained_saes.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_saes_are_in_the_registry_and_of_this_model(name, registry):
    found = MeasurementConfig.build(MODELS[name].defaults["measurement"])
    release = registry[found.sae_release]
    assert release["model"] == PUBLIC[name]
    known = {entry["id"] for entry in release["saes"]}
    assert set(found.sae_ids) <= known
    assert len(found.sae_ids) >= 2
    assert found.sae_release in sae_source(MODELS[name])
    # SAEs of a base model say so; others are the model's own.
    own = {MODELS[name].source, MODELS[name].source.partition("/")[2]}
    assert (MODELS[name].sae_base is None) == (release["model"] in own)
    assert MODELS[name].sae_base in (None, release["model"])
    assert ("base model" in sae_source(MODELS[name])) == (release["model"] not in own)


def test_other_presets_train_theirs_on_the_spot():
    assert any("smollm2" in name for name in TRAINED)
    assert {"qwen2.5-0.5b-instruct", "smollm3-3b", "olmo-2-1b-instruct"} <= set(TRAINED)
    for name in TRAINED:
        assert "sae_release" not in MODELS[name].defaults.get("measurement", {})
        # As long as their tokens are worth.
        assert MeasurementConfig.build(MODELS[name].defaults["measurement"]).sae_rounds
        assert "trained on the spot" in sae_source(MODELS[name])


def test_every_hub_preset_names_a_repository_and_its_size():
    for name, spec in MODELS.items():
        if not spec.shipped:
            assert spec.source.count("/") == 1
            assert spec.parameters > 1e8, name


def test_a_presets_defaults_hold_by_its_name_and_its_hub_id(tmp_path):
    spec = MODELS["gemma-3-1b-it"]
    for source in (spec.name, spec.source):
        assert card_of(source, tmp_path).defaults.measurement == spec.defaults["measurement"]
    assert card_of("someone/else", tmp_path).defaults.measurement == {}
    (tmp_path / "cwac.json").write_text('{"schema": 1, "title": "Own"}')
    assert card_of(spec.name, tmp_path).title == "Own"
    assert card_of(spec.name, tmp_path).defaults.measurement == {}


def test_a_latent_of_a_public_sae_has_its_page(tmp_path, registry):
    """The name stands in the registry, in what sae-lens writes, and so in a stored fit."""
    measurement = MODELS["gemma-2-2b-it"].defaults["measurement"]
    release = {entry["id"]: entry for entry in registry[measurement["sae_release"]]["saes"]}
    name = release[measurement["sae_ids"][0]]["neuronpedia"]
    for layer, stored in {8: name, 9: None, 10: "a b"}.items():
        folder = tmp_path / "fits" / "features-1" / f"layer_{layer}"
        folder.mkdir(parents=True)
        (folder / "cfg.json").write_text(json.dumps({"metadata": {"neuronpedia_id": stored}}))
    store = ArtifactStore(tmp_path)
    assert public_names(store, "features-1", (8, 9, 10, 11)) == {8: name}
    assert public_names(store, "features-2", (8,)) == {}
    page = latent_page(name, 7)
    assert page == "https://www.neuronpedia.org/gemma-2-2b/8-gemmascope-res-16k/7"

"""Models with a name, and what is known of them before anything is downloaded."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from cwac.config import MeasurementConfig
from cwac.models import MODELS
from cwac.models.presets import card_of, sae_source

# Which release holds SAEs of which model; the other presets have none.
PUBLIC = {
    "gemma-3-270m-it": "google/gemma-3-270m-it",
    "gemma-3-1b-it": "google/gemma-3-1b-it",
    "gemma-2-9b-it": "gemma-2-9b-it",
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


def test_other_presets_train_theirs_on_the_spot():
    assert any("smollm2" in name for name in TRAINED)
    assert {"qwen2.5-0.5b-instruct", "llama-3.2-1b-instruct"} <= set(TRAINED)
    for name in TRAINED:
        assert "sae_release" not in MODELS[name].defaults.get("measurement", {})
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

"""Memory that a model needs, from its configuration alone."""

import json

import pytest
import torch
from families import FAMILIES, make_family

from cwac.errors import ModelError
from cwac.models.size import _under_limits, size_of, spell_count

LLAMA_2_7B = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
    "vocab_size": 32000, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_without_weights(family, tmp_path):
    model = make_family(family)
    model.config.save_pretrained(tmp_path)
    found = size_of(tmp_path)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.weights == 4 * found.parameters
    assert len(found.anatomy.maps) == sum(
        len(FAMILIES[family].maps_of(layer)) for layer in range(3)
    )


def test_a_large_model_costs_nothing_to_measure(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_2_7B))
    found = size_of(tmp_path)
    assert found.parameters == 6_738_415_616
    # Per layer: what the FFN's output reads, and three inputs of the residual stream's width.
    moments = 32 * 8 * (11008**2 + 3 * 4096**2)
    assert found.subspace_fit == found.weights + moments + 3 * 8 * 11008**2
    assert found.training(adapters=False) == 5 * found.weights
    assert found.training(adapters=True) == 2 * found.weights
    assert spell_count(found.parameters) == "6.7 billion"


def test_a_broken_configuration_is_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mystery"}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        size_of(tmp_path)


def test_a_containers_limit_counts_and_cached_files_do_not(tmp_path):
    assert list(_under_limits(tmp_path)) == []
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 400\nfile 250\n")
    assert list(_under_limits(tmp_path)) == [550]
    (tmp_path / "memory.max").write_text("max\n")
    assert list(_under_limits(tmp_path)) == []


def test_building_without_memory_leaves_the_default_device():
    assert torch.empty(1).device.type == "cpu"

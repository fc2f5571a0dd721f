"""Where linear maps sit in each architecture, and forward passes that end early."""

from types import SimpleNamespace

import pytest
import torch
from families import FAMILIES, make_family
from torch import nn

from cwac.anatomy import (
    anatomy_of,
    forward_inputs,
    gradient_of,
    layer_module,
    residual_streams,
    stop_after,
    weight_of,
)
from cwac.errors import ModelError


def padded_batch():
    ids = torch.randint(3, 60, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return SimpleNamespace(
        input_ids=ids, attention_mask=mask, position_ids=torch.arange(7).expand(2, -1)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_described(family):
    model = make_family(family)
    expected = FAMILIES[family]
    anatomy = anatomy_of(model)
    assert (anatomy.layers_path, anatomy.n_layers, anatomy.d_model) == (expected.layers, 3, 16)
    assert len(anatomy.maps) == sum(len(expected.maps_of(layer)) for layer in range(3))
    outputs = anatomy.select("ffn")
    assert [entry.name for entry in outputs] == [expected.ffn] * 3
    assert [entry.layer for entry in outputs] == [0, 1, 2]
    assert {(entry.d_in, entry.d_out) for entry in outputs} == {(40, 16)}
    assert not any("embed" in entry.path or "lm_head" in entry.path for entry in anatomy.maps)
    assert [entry.layer for entry in anatomy.select("ffn", [2, 0])] == [0, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_weight_views_apply_as_the_module_does(family):
    model = make_family(family)
    for entry in anatomy_of(model).maps:
        module = model.get_submodule(entry.path)
        inputs = torch.randn(5, entry.d_in)
        expected = module(inputs)
        weight = weight_of(model, entry)
        assert weight.shape == (entry.d_out, entry.d_in)
        bias = 0 if module.bias is None else module.bias
        assert torch.allclose(inputs @ weight.T + bias, expected, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_writing_into_a_view_writes_into_the_model(family):
    model = make_family(family)
    entry = anatomy_of(model).select("ffn")[0]
    with torch.no_grad():
        weight_of(model, entry)[3, 5] = 7.0
    stored = model.get_parameter(entry.parameter)
    assert (stored[5, 3] if entry.transposed else stored[3, 5]) == 7.0
    values = {name: parameter.detach() for name, parameter in model.named_parameters()}
    assert torch.equal(weight_of(values, entry), weight_of(model, entry))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_gradients_are_given_in_the_same_orientation(family):
    model = make_family(family)
    entry = anatomy_of(model).select("ffn")[0]
    assert gradient_of(model, entry) is None
    weight_of(model, entry)[3, 5].backward()
    gradient = gradient_of(model, entry)
    assert gradient[3, 5] == 1
    assert gradient.sum() == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_cut_forward_gives_the_residual_of_the_full_one(family):
    model, batch = make_family(family), padded_batch()
    full = model(**forward_inputs(batch), output_hidden_states=True).hidden_states
    streams = residual_streams(model, anatomy_of(model), batch, [1, 0])
    assert sorted(streams) == [0, 1]
    for layer, stream in streams.items():
        assert torch.allclose(stream, full[layer + 1], atol=1e-6)


def test_gradient_reaches_early_layers_and_later_ones_are_not_computed():
    model, batch = make_family("llama"), padded_batch()
    anatomy = anatomy_of(model)
    ran = []
    model.model.layers[2].register_forward_pre_hook(lambda *_: ran.append(2))
    residual_streams(model, anatomy, batch, 1)[1].square().sum().backward()
    assert not ran
    by_layer = {e.layer: gradient_of(model, e) for e in anatomy.select("ffn")}
    assert by_layer[0].abs().sum() > 0
    assert by_layer[1].abs().sum() > 0
    assert by_layer[2] is None


def test_hooks_are_removed_even_after_an_error():
    model, batch = make_family("llama"), padded_batch()
    anatomy = anatomy_of(model)

    def fail_inside():
        with stop_after(model, anatomy, 0) as reader:
            reader.forward(**forward_inputs(batch))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert not any(layer_module(model, anatomy, i)._forward_hooks for i in range(3))
    assert model(**forward_inputs(batch)).logits.shape == (2, 7, 60)


def test_errors_of_the_model_itself_pass_through():
    model, batch = make_family("llama"), padded_batch()
    with pytest.raises(IndexError), stop_after(model, anatomy_of(model), 0) as reader:
        reader.forward(**forward_inputs(batch) | {"input_ids": batch.input_ids + 100})


def test_unknown_architectures_say_what_was_looked_for():
    with pytest.raises(ModelError, match=r"Linear is of an unknown .* \(layers, h\)"):
        anatomy_of(nn.Linear(2, 2))
    model = make_family("llama")
    del model.model.layers[1].mlp.down_proj
    with pytest.raises(ModelError, match=r"layer 1 has no single FFN .* mlp\.down_proj"):
        anatomy_of(model)


@pytest.mark.parametrize("layer", [-1, 3])
def test_layers_that_do_not_exist_are_refused(layer):
    model = make_family("llama")
    anatomy = anatomy_of(model)
    with pytest.raises(ModelError, match="layers 0 to 2"):
        anatomy.select("all", [layer])
    with pytest.raises(ModelError, match="layers 0 to 2"):
        layer_module(model, anatomy, layer)

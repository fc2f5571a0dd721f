"""SPPFT: how the safety layers are found, and that they do not move."""

import copy
import math

import pytest
import torch
from builders import make_chat, make_context, make_model, make_prompts
from method_runs import TRAINING, make_method, same_weights, set_up, train

from cwac.errors import ConfigError, DataError
from cwac.first_token import refusal_tokens
from cwac.methods import sppft
from cwac.methods.sft import Sft
from cwac.methods.sppft import (
    PAIRS,
    Sppft,
    angle_gaps,
    expected_refusals,
    layer_parameters,
    locate,
    moved_bounds,
    rising_range,
)
from cwac.prompts import PromptSets
from cwac.seeding import generator

LAYERS = 5


def _context(**changes):
    model = make_model(make_chat(), num_hidden_layers=LAYERS)
    return make_context(training=TRAINING, model=model, **changes)


def _texts(context, kind):
    return [p.text for p in context.prompts.get("safety", kind)]


# Finding the layers


def test_gaps_of_angles_equal_a_pair_by_pair_computation():
    context = _context()
    found = angle_gaps(context, _texts(context, "harmless"), _texts(context, "harmful"))
    states = {
        kind: [_last_states(context, text) for text in _texts(context, kind)]
        for kind in ("harmless", "harmful")
    }
    source = generator(context.generator.initial_seed(), "pairs of requests")
    draw = lambda low, high: torch.randint(low, high, (PAIRS,), generator=source).tolist()  # noqa: E731
    first, shift, harmful = draw(0, 12), draw(1, 12), draw(0, 12)
    assert found.shape == (LAYERS,)
    for layer in range(LAYERS):
        total = 0.0
        for a, step, b in zip(first, shift, harmful, strict=True):
            own = states["harmless"][a][layer]
            total += _angle(own, states["harmful"][b][layer])
            total -= _angle(own, states["harmless"][(a + step) % 12][layer])
        assert found[layer].item() == pytest.approx(total / PAIRS, abs=1e-3)
    assert found.abs().max() > 0.01


def _last_states(context, text):
    ids = torch.tensor([context.chat.prompt_ids(text)])
    found = []
    handles = [
        context.model.get_submodule(f"{context.anatomy.layers_path}.{layer}").register_forward_hook(
            lambda _module, _args, out: found.append(
                (out[0] if isinstance(out, tuple) else out)[0, -1].double()
            )
        )
        for layer in range(LAYERS)
    ]
    with torch.no_grad():
        context.model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return found


def _angle(a, b):
    cosine = float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ([0.0, 0.5, 6.0, 12.0, 12.5, 13.0], (2, 3)),
        ([5.0, 5.1, 5.2, 5.3], (0, 0)),
        ([0.0, 2.0, 4.0, 6.0], (1, 3)),
        ([0.0, 3.0, 3.1, 6.0], (1, 1)),
        ([-1.0, -3.0, -2.0], (2, 2)),
        ([0.0, 0.0], (0, 0)),
    ],
)
def test_the_range_goes_from_the_onset_to_the_first_plateau(gaps, expected):
    assert rising_range(gaps) == expected


def test_bounds_move_to_the_extremum_and_never_cover_all_layers():
    gains = {(2, 2): 1.0, (2, 3): 5.0, (2, 4): 4.0, (3, 3): 5.0, (1, 3): 9.0, (0, 3): 2.0}
    assert moved_bounds((2, 2), 5, gains.__getitem__) == (1, 3)
    assert moved_bounds((0, 3), 5, lambda tried: tried[1] - tried[0]) == (0, 3)
    # Of equal gains the shorter range.
    assert moved_bounds((1, 3), 5, lambda _tried: 0.0) == (1, 1)


def test_expected_refusals_equal_a_scaled_copy_and_leave_the_weights_alone():
    context = _context()
    asked = _texts(context, "lookalike")
    signs = refusal_tokens(context.chat, ["sorry I cannot help", "sure"])
    found = expected_refusals(context, asked, signs, (1, 3), 1.5)
    plain = expected_refusals(context, asked, signs, (1, 3), 1.0)
    copied = copy.deepcopy(context.model)
    for layer in (1, 2, 3):
        block = copied.get_submodule(f"{context.anatomy.layers_path}.{layer}")
        for part in (block.self_attn, block.mlp):
            for parameter in part.parameters():
                parameter.data *= 1.5
    total = 0.0
    for text in asked:
        with torch.no_grad():
            ids = torch.tensor([context.chat.prompt_ids(text)])
            total += float(copied(input_ids=ids).logits[0, -1].double().softmax(-1)[signs].sum())
    assert found == pytest.approx(total, rel=1e-4)
    assert found != pytest.approx(plain, rel=1e-3)
    assert all(torch.equal(p, context.aligned[n]) for n, p in context.model.named_parameters())


@pytest.mark.parametrize("scale", [1.2, 0.8])
def test_locating_takes_the_range_with_the_most_or_fewest_refusals(monkeypatch, scale):
    context = _context()
    counts = {(1, 1): 3.0, (1, 2): 8.0, (1, 3): 5.0, (1, 4): 1.0, (2, 2): 7.0, (0, 2): 9.0}
    counts |= {(4, 4): 6.0, (3, 4): 5.0, (2, 4): 0.5}
    monkeypatch.setattr(sppft, "angle_gaps", lambda *_: torch.tensor([0.0, 9, 9, 9, 9]))
    monkeypatch.setattr(
        sppft,
        "expected_refusals",
        lambda _context, _asked, _signs, tried, _scale: counts[tried],
    )
    expected = (0, 2) if scale > 1 else (2, 4)
    assert locate(context, "sppft", scale=scale, prompts=100) == expected


def test_without_look_alikes_the_range_of_the_angles_stands(monkeypatch):
    prompts = make_prompts()
    parts = {
        part: found for part, found in prompts.parts.items() if part != ("safety", "lookalike")
    }
    context = _context(prompts=PromptSets(parts))
    monkeypatch.setattr(sppft, "angle_gaps", lambda *_: torch.arange(1.0, 6.0))
    assert locate(context, "sppft", scale=1.2, prompts=100) == (0, 3)


# Freezing them


def test_frozen_layers_keep_attention_and_mlp_exactly_and_all_else_learns():
    method = make_method(Sppft, first=1, layers=2)
    context = train(method, _context())
    frozen = {name for name, _ in layer_parameters(context, (1, 2))}
    assert len(frozen) == 2 * 7
    assert not any("norm" in name for name in frozen)
    for name, parameter in context.model.named_parameters():
        assert torch.equal(parameter, context.aligned[name]) == (name in frozen)
    assert method.diagnostics() == {"first_frozen_layer": 1.0, "last_frozen_layer": 2.0}


@pytest.mark.parametrize(
    ("found", "settings", "expected"),
    [
        ((1, 3), {}, (1, 3)),
        ((1, 3), {"layers": 1}, (2, 2)),
        ((1, 3), {"layers": 4}, (0, 3)),
        ((3, 4), {"layers": 4}, (1, 4)),
        ((0, 1), {"first": 3}, (3, 4)),
        ((0, 3), {"share": 0.3}, (1, 2)),
        ((0, 3), {"share": 0.1}, (1, 1)),
        ((0, 3), {"share": 0.99}, (0, 3)),
        ((0, 3), {"share": 0.3, "layers": 3}, (0, 2)),
        ((0, 3), {"share": 0.3, "first": 3}, (3, 4)),
    ],
)
def test_the_number_of_layers_grows_and_shrinks_the_located_range(
    monkeypatch, found, settings, expected
):
    monkeypatch.setattr("cwac.methods.sppft.locate", lambda *_args, **_settings: found)
    method = make_method(Sppft, **settings)
    method.setup(_context())
    assert method.frozen == expected


def test_no_frozen_layer_is_plain_fine_tuning():
    plain = train(make_method(Sft))
    assert same_weights(train(make_method(Sppft, layers=0)), plain)
    assert not same_weights(train(make_method(Sppft, layers=1)), plain)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layers": 5}, "layers = 5 is not allowed: the model has 5 layers"),
        ({"first": 4, "layers": 2}, "first = 4 is not allowed: 2 layers from there on"),
    ],
)
def test_impossible_ranges_are_said(settings, said):
    with pytest.raises(ConfigError, match=said):
        make_method(Sppft, **settings).setup(_context())


def test_a_scale_of_one_and_too_few_harmless_prompts_are_said():
    with pytest.raises(ConfigError, match="a factor of 1 changes nothing"):
        make_method(Sppft, scale=1.0)
    parts = dict(make_prompts().parts)
    parts["safety", "harmless"] = parts["safety", "harmless"][:1]
    with pytest.raises(DataError, match="two harmless safety requests"):
        set_up(make_method(Sppft), _context(prompts=PromptSets(parts)))

"""The controls of CWAC: other directions, other latents, other places, all else equal."""

import pytest
import torch
from builders import make_context, make_examples
from pydantic import ValidationError

from cwac.anatomy import residual_streams, weight_of
from cwac.config import MeasurementConfig, TrainingConfig
from cwac.errors import DataError, ModelError
from cwac.features import last_tokens, prompt_batch
from cwac.methods import METHODS
from cwac.methods._constraints import ActivationConstraint, WeightConstraint
from cwac.prompts import PromptSets
from cwac.training import fit, mix_poison

TRAINING = TrainingConfig(steps=8, batch_size=8, learning_rate=2e-3, weight_decay=0.01)
FREE_RANKS = MeasurementConfig(tail_energy=1e-2)


def _weight(context, **settings):
    return WeightConstraint(context, METHODS["weight_only"].settings_type(**settings))


def _activation(context, **settings):
    return ActivationConstraint(context, METHODS["activation_only"].settings_type(**settings))


def _trained(name, **settings):
    context = make_context(training=TRAINING, measurement=FREE_RANKS)
    method = METHODS[name](METHODS[name].settings_type(**settings))
    total = TRAINING.steps * TRAINING.batch_size
    examples = mix_poison(make_examples(), context.prompts.get("attack", "harmful"), 0.25, total, 0)
    fit(
        context.model, context.anatomy, context.chat, examples, TRAINING, method,
        seed=0, context=context,
    )  # fmt: skip
    return context, method


def _change(context, m):
    return (weight_of(context.model, m).double() - weight_of(context.aligned, m)).detach()


def _eigenvectors(context, m, kind, tokens="refusal"):
    """Dense float64 eigenvectors of a map's inputs, the largest eigenvalue first."""
    inputs = []
    handle = context.model.get_submodule(m.path).register_forward_hook(
        lambda _module, args, _out: inputs.append(args[0].detach()[0].double())
    )
    for prompt in context.prompts.get("safety", kind):
        ids, _ = context.chat.example_ids(prompt.text, prompt.answer)
        with torch.no_grad():
            context.model(input_ids=torch.tensor([ids]))
    handle.remove()
    columns = torch.cat(inputs)
    return torch.linalg.eigh(columns.T @ columns / len(columns)).eigenvectors.flip(1)


@pytest.mark.parametrize("choice", ["harmless", "trailing"])
def test_other_directions_equal_dense_eigenvectors_and_have_the_same_ranks(choice):
    context = make_context(measurement=FREE_RANKS)
    plain, control = _weight(context), _weight(context, subspace=choice)
    ranks = [basis.shape[1] for basis in plain.bases]
    assert len(set(ranks)) > 1
    assert [basis.shape[1] for basis in control.bases] == ranks
    for m, basis, rank in zip(control.maps, control.bases, ranks, strict=True):
        kind = "harmless" if choice == "harmless" else "harmful"
        vectors = _eigenvectors(context, m, kind)
        expected = vectors[:, :rank] if choice == "harmless" else vectors[:, -rank:]
        overlap = (expected.T @ basis.double()).square().sum() / rank
        assert overlap == pytest.approx(1.0, abs=1e-6)


def test_trailing_directions_are_orthogonal_to_the_leading_ones():
    context = make_context(measurement=MeasurementConfig(rank=10))
    plain, control = _weight(context), _weight(context, subspace="trailing")
    for a, b in zip(plain.bases, control.bases, strict=True):
        assert float((a.T @ b).abs().max()) < 1e-5


@pytest.mark.parametrize("choice", ["harmless", "trailing"])
def test_updates_stay_outside_the_control_and_not_outside_the_safety_subspace(choice):
    context, method = _trained("weight_only", subspace=choice)
    safety = context.yardstick.subspace
    for m, basis in zip(method.weight.maps, method.weight.bases, strict=True):
        change = _change(context, m)
        assert change.norm() > 1e-3
        assert (change @ basis.double()).norm() < 1e-5 * change.norm()
        assert (change @ safety.bases[m.path].double()).norm() > 1e-2 * change.norm()


@pytest.mark.parametrize("maps", [None, "all"])
def test_frozen_maps_keep_their_bits_and_others_move(maps):
    if maps == "all":
        context = make_context(training=TRAINING)
        constraint = _weight(context, projection="frozen", maps="all")
        with torch.no_grad():
            for parameter in context.model.parameters():
                parameter.add_(0.1)
        constraint.after_step()
    else:
        context, _ = _trained("weight_only", projection="frozen")
    for m in context.anatomy.maps:
        same = torch.equal(weight_of(context.model, m), weight_of(context.aligned, m))
        assert same == (maps == "all" or m.ffn_output)


def test_layers_narrow_the_constraint_to_their_maps():
    context, method = _trained("weight_only", layers=(1,))
    assert {m.layer for m in method.weight.maps} == {1}
    subspace = context.yardstick.subspace
    shares = [
        float((_change(context, m) @ subspace.bases[m.path].double()).norm())
        for m in context.anatomy.select("ffn")
    ]
    assert shares[0] > 1e-3
    assert shares[1] < 1e-6
    with pytest.raises(ModelError, match="no decoder layer 2"):
        _weight(make_context(), layers=(2,))
    with pytest.raises(ValidationError):
        METHODS["weight_only"].settings_type(layers=())


def test_the_token_set_reaches_the_fit():
    context = make_context(measurement=MeasurementConfig(rank=6))
    asked = []
    fitted = context.fit_subspace
    context.fit_subspace = lambda **changes: asked.append(changes) or fitted(**changes)
    _weight(context)
    _weight(context, tokens="template")
    _weight(context, tokens="template", subspace="trailing", tail_energy=0.1)
    assert asked[:2] == [
        {"tokens": "template"},
        {"tokens": "template", "tail_energy": 0.1, "rank": None},
    ]
    rank = asked[2].pop("rank")
    assert rank >= 1
    assert asked[2] == {"tokens": "template", "tail_energy": 0.1, "directions": "trailing"}


# Latents


def _means(context, kind):
    """Mean codes at the last prompt token, ``(width,)`` per layer, one prompt at a time."""
    features, sums = context.yardstick.features, {}
    prompts = context.prompts.get("safety", kind)
    for prompt in prompts:
        batch = prompt_batch(context.chat, [prompt.text])
        with torch.no_grad():
            streams = residual_streams(context.model, context.anatomy, batch, list(features.layers))
        count = max(1, context.chat.closing_tokens)
        for layer in features.layers:
            codes = features.encode(layer, last_tokens(streams[layer], batch.attention_mask, count))
            sums[layer] = sums.get(layer, 0) + codes[0].double().mean(dim=0) / len(prompts)
    return sums


def test_harmless_latents_are_the_highest_of_harmless_requests():
    context = make_context()
    constraint = _activation(context, latents="harmless", latent_count=10)
    harmful, harmless = _means(context, "harmful"), _means(context, "harmless")
    scores = {x: harmless[x] - harmful[x] for x in (0, 1)}
    every = torch.cat(list(scores.values())).sort(descending=True).values
    chosen = constraint.features.protected
    found = torch.cat([scores[x][chosen[x]] for x in (0, 1)]).sort(descending=True).values
    assert torch.allclose(found, every[:10], atol=1e-6)
    # The yardstick, which measures every arm, keeps its own.
    assert context.yardstick.features.protected[0] is not chosen[0]


def test_random_latents_fire_on_harmful_prompts_and_are_no_safety_latents():
    context = make_context()
    first = _activation(context, latents="random").features.protected
    harmful, safety = _means(context, "harmful"), context.yardstick.features.protected
    for layer, latents in first.items():
        assert 0 < len(latents) <= len(safety[layer])
        assert not set(latents.tolist()) & set(safety[layer].tolist())
        assert bool((harmful[layer][latents] > 0).all())
    again = _activation(make_context(), latents="random").features.protected
    other = _activation(make_context(seed=1), latents="random").features.protected
    assert all(torch.equal(first[x], again[x]) for x in first)
    assert not all(torch.equal(first[x], other[x]) for x in first)


@pytest.mark.parametrize("score", ["difference", "mean_harmful", "frequency"])
def test_safety_latents_can_be_chosen_anew(score):
    context = make_context()
    constraint = _activation(context, latent_count=5, latent_score=score, latent_layers=(1,))
    assert constraint.features.layers == (1,)
    assert 0 < len(constraint.features.protected[1]) <= 5
    if score == "mean_harmful":
        best = _means(context, "harmful")[1].topk(5).indices.sort().values
        assert torch.equal(constraint.features.protected[1], best)
    assert constraint.penalty(context.model).item() == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_on_the_chosen_latents_of_the_same_prompts():
    context = make_context()
    plain, control = _activation(context), _activation(context, latents="random")
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(0.02)
    losses = [constraint.penalty(context.model).item() for constraint in (plain, control)]
    assert min(losses) > 1e-4
    assert losses[0] != losses[1]
    for _ in range(3):
        assert torch.equal(plain.next_index(), control.next_index())


def test_what_latents_need_is_said():
    context = make_context()
    with pytest.raises(DataError, match=r"latent_layers = \[0, 7\].*layers \[0, 1\]"):
        _activation(context, latent_layers=(0, 7))
    only = PromptSets({("safety", "harmful"): context.prompts.get("safety", "harmful")})
    with pytest.raises(DataError, match="harmless safety requests"):
        _activation(make_context(prompts=only), latents="harmless")

"""Losses on what the model does on harmful requests: output distribution and residual stream."""

import copy

import pytest
import torch
from builders import CHAT_TEMPLATE, make_context, make_tokenizer
from method_runs import make_method, move, same_weights, set_up, train

from cwac.anatomy import layer_module
from cwac.chat import Chat
from cwac.methods.activation_only import ActivationOnly
from cwac.methods.kl_to_aligned import KlToAligned
from cwac.methods.residual_mse import ResidualMse
from cwac.methods.sft import Sft

KINDS = [KlToAligned, ResidualMse]


def _context():
    """A context whose template puts two tokens between the request and the answer."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE.replace(
        "<user>{{ m['content'] }}", "<user>{{ m['content'] }}<end>"
    )
    context = make_context(chat=Chat(tokenizer))
    assert context.chat.closing_tokens == 2
    return context


def _drawn(context, size):
    """The prompts that CWAC's loss is first computed on."""
    method = make_method(ActivationOnly, harmful_batch=size)
    method.setup(context)
    prompts = context.prompts.get("safety", "harmful")
    return [prompts[place] for place in method.activation.next_index().tolist()]


def _wide(context):
    """The aligned model in float64."""
    return copy.deepcopy(context.model).double()


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_is_plain_fine_tuning(kind):
    assert same_weights(train(make_method(kind, strength=0.0)), train(make_method(Sft)))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(KlToAligned, {}), (KlToAligned, {"tokens": "scored"}), (ResidualMse, {})],
)
def test_nothing_is_charged_at_the_aligned_weights(kind, settings):
    method = make_method(kind, **settings)
    context = set_up(method)
    assert method.penalty(context.model).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_cwacs_loss(kind):
    context = make_context()
    cwac, other = make_method(ActivationOnly), make_method(kind)
    for method in (cwac, other):
        method.setup(context)
    rounds = other.rounds if kind is ResidualMse else other.divergence.rounds
    for _ in range(5):
        assert torch.equal(cwac.activation.next_index(), rounds.take())
    assert cwac.extra_passes == other.extra_passes
    assert cwac.settings.harmful_batch == other.settings.harmful_batch


@pytest.mark.parametrize("tokens", ["response", "scored"])
def test_divergence_equals_a_dense_computation(tokens):
    context = _context()
    aligned, prompts = _wide(context), _drawn(context, 5)
    method = make_method(KlToAligned, strength=2.0, harmful_batch=5, tokens=tokens)
    method.setup(context)
    move(context, 0.05)
    tuned = _wide(context)
    values = []
    for prompt in prompts:
        ids, mask = context.chat.example_ids(prompt.text, prompt.answer)
        answered = mask.index(True)
        # A position says what comes next: the one before the answer predicts its first token.
        places = range(answered - 1, len(ids) - 1)
        if tokens == "scored":
            places = range(answered - context.chat.closing_tokens, answered)
        before, now = (
            m(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1) for m in (aligned, tuned)
        )
        values += [(before[t].exp() * (before[t] - now[t])).sum() for t in places]
    expected = torch.stack(values).mean()
    penalty = method.penalty(context.model)
    assert expected.item() > 1e-3
    assert penalty.item() == pytest.approx(2.0 * expected.item(), rel=1e-4)
    assert method.diagnostics()["safety_loss"] == pytest.approx(expected.item(), rel=1e-4)
    penalty.backward()
    (2.0 * expected).backward()
    for (name, a), b in zip(context.model.named_parameters(), tuned.parameters(), strict=True):
        assert (a.grad.double() - b.grad).norm() < 1e-3 * b.grad.norm(), name


def _streams(model, context, prompts):
    """Residual stream at the template's closing tokens, by layer, one prompt at a time."""
    found = {layer: [] for layer in context.yardstick.features.layers}
    for prompt in prompts:
        ids = context.chat.prompt_ids(prompt.text)
        handles = [
            layer_module(model, context.anatomy, layer).register_forward_hook(
                lambda _m, _a, out, layer=layer: found[layer].append(
                    out[0, -context.chat.closing_tokens :]
                )
            )
            for layer in found
        ]
        model(input_ids=torch.tensor([ids]))
        for handle in handles:
            handle.remove()
    return {layer: torch.stack(parts) for layer, parts in found.items()}


def test_residual_loss_equals_a_dense_computation():
    context = _context()
    aligned, prompts = _wide(context), _drawn(context, 5)
    method = make_method(ResidualMse, strength=3.0, harmful_batch=5)
    method.setup(context)
    move(context, 0.05)
    tuned = _wide(context)
    everything = _streams(aligned, context, context.prompts.get("safety", "harmful"))
    before, now = (_streams(model, context, prompts) for model in (aligned, tuned))
    expected = torch.stack([
        (now[x] - before[x]).square().sum(-1).mean() / everything[x].square().sum(-1).mean()
        for x in now
    ]).mean()  # fmt: skip
    penalty = method.penalty(context.model)
    assert expected.item() > 1e-3
    assert penalty.item() == pytest.approx(3.0 * expected.item(), rel=1e-4)
    assert method.diagnostics() == {
        "safety_loss": pytest.approx(expected.item(), rel=1e-4),
        "safety_loss_normalised": pytest.approx(expected.item(), rel=1e-4),
    }
    penalty.backward()
    (3.0 * expected).backward()
    for (name, a), b in zip(context.model.named_parameters(), tuned.parameters(), strict=True):
        if b.grad is not None and b.grad.norm() > 0:
            assert (a.grad.double() - b.grad).norm() < 1e-3 * b.grad.norm(), name


@pytest.mark.parametrize(("kind", "strength"), [(KlToAligned, 5.0), (ResidualMse, 50.0)])
def test_holding_keeps_it_nearer(kind, strength):
    losses = []
    for method in (make_method(kind, strength=strength), make_method(Sft)):
        judge = make_method(kind, harmful_batch=12)
        context = set_up(judge)
        train(method, context)
        judge.penalty(context.model)
        losses.append(judge.diagnostics()["safety_loss"])
    assert losses[0] < 0.5 * losses[1]

"""L2 to the initial weights and EWC: closed forms, and what being switched off leaves."""

import copy

import pytest
import torch
from builders import make_context
from method_runs import make_method, move, same_weights, set_up, train
from torch.nn import functional

from cwac.methods.ewc import Ewc
from cwac.methods.l2_to_init import L2ToInit
from cwac.methods.sft import Sft


def _moved_gradients(method, context):
    """The penalty after a random move, its gradients, and the move, all by parameter name."""
    move(context)
    context.model.zero_grad()
    penalty = method.penalty(context.model)
    penalty.backward()
    named = dict(context.model.named_parameters())
    gradients = {n: p.grad.double() for n, p in named.items()}
    moves = {n: p.detach().double() - context.aligned[n].double() for n, p in named.items()}
    return penalty.item(), gradients, moves


@pytest.mark.parametrize("kind", [L2ToInit, Ewc])
def test_nothing_is_charged_at_the_aligned_weights(kind):
    method = make_method(kind)
    context = set_up(method)
    assert method.penalty(context.model).item() == 0.0


@pytest.mark.parametrize("kind", [L2ToInit, Ewc])
def test_strength_zero_is_plain_fine_tuning(kind):
    assert same_weights(train(make_method(kind, strength=0.0)), train(make_method(Sft)))


def test_l2_is_the_strength_times_the_squared_distance_of_all_weights():
    method = make_method(L2ToInit, strength=0.7)
    penalty, gradients, moves = _moved_gradients(method, set_up(method))
    expected = 0.7 * sum(float(change.square().sum()) for change in moves.values())
    assert expected > 1e-2
    assert penalty == pytest.approx(expected, rel=1e-5)
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, 1.4 * moves[name], atol=1e-7)


def test_a_large_l2_strength_keeps_the_weights_near():
    distances = []
    for strength in (0.0, 0.5, 50.0):
        context = train(make_method(L2ToInit, strength=strength))
        named = context.model.named_parameters()
        distances.append(
            sum(float((p.detach() - context.aligned[n]).square().sum()) for n, p in named)
        )
    assert distances[0] > distances[1] > 2 * distances[2] > 0


def _dense_fisher(context, form):
    """Per parameter, float64: from a copy of the model, one backward pass per prompt or batch."""
    model = copy.deepcopy(context.model).double()
    chat, prompts = context.chat, context.prompts.get("safety", "harmful")
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    size = {"examples": 1, "batches": len(prompts)}[form]
    for start in range(0, len(prompts), size):
        losses = []
        for prompt in prompts[start : start + size]:
            ids, mask = chat.example_ids(prompt.text, prompt.answer)
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
            each = functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
            losses.append(each[torch.tensor(mask[1:])])
        model.zero_grad()
        joined = torch.cat(losses)
        (joined.sum() if form == "examples" else joined.mean()).backward()
        for name, parameter in model.named_parameters():
            total[name] += parameter.grad.square()
    return {n: t / (len(prompts) if form == "examples" else 1) for n, t in total.items()}


@pytest.mark.parametrize("form", ["examples", "batches"])
def test_fisher_information_equals_a_dense_computation(form):
    method = make_method(Ewc, fisher=form, fisher_batch=12, normalised=False)
    context = make_context()
    expected = _dense_fisher(context, form)
    set_up(method, context)
    for found, (name, dense) in zip(method.fisher, expected.items(), strict=True):
        assert dense.max() > 0, name
        assert torch.allclose(found.double(), dense, rtol=1e-3, atol=1e-6 * float(dense.max()))


@pytest.mark.parametrize("normalised", [True, False])
def test_ewc_is_half_the_strength_times_the_weighted_squared_distance(normalised):
    method = make_method(Ewc, strength=3.0, normalised=normalised)
    context = make_context()
    dense = _dense_fisher(context, "examples")
    if normalised:
        mean = torch.cat([part.flatten() for part in dense.values()]).mean()
        dense = {name: part / mean for name, part in dense.items()}
    set_up(method, context)
    penalty, gradients, moves = _moved_gradients(method, context)
    expected = 1.5 * sum(float((dense[n] * change.square()).sum()) for n, change in moves.items())
    assert penalty == pytest.approx(expected, rel=1e-3)
    for name, gradient in gradients.items():
        wanted = 3.0 * dense[name] * moves[name]
        assert torch.allclose(gradient, wanted, rtol=1e-2, atol=1e-4 * float(wanted.abs().max()))


def test_ewc_measures_as_many_prompts_as_asked():
    few, all_of_them = (make_method(Ewc, fisher_prompts=count) for count in (3, 200))
    for method in (few, all_of_them):
        set_up(method)
    pairs = zip(few.fisher, all_of_them.fisher, strict=True)
    assert not any(torch.allclose(a, b, rtol=0.1) for a, b in pairs)

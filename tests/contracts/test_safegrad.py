"""SafeGrad: the gradient that reaches the optimiser, against a dense computation."""

import copy

import pytest
import torch
from builders import make_context
from method_runs import make_method, move, same_weights, set_up, task_and_poison, train

from cwac.chat import collate
from cwac.config import TrainingConfig
from cwac.methods.safegrad import SafeGrad
from cwac.methods.sft import Sft


def _reference(context, prompts, tokens):
    """``KL(aligned || now)`` and its gradient by name, one prompt at a time, in float64."""
    now = copy.deepcopy(context.model).double()
    aligned = copy.deepcopy(now)
    aligned.load_state_dict({n: p.double() for n, p in context.aligned.items()}, strict=False)
    total, divisor = 0.0, 0
    for prompt in prompts:
        ids, mask = context.chat.example_ids(prompt.text, prompt.answer)
        batch = torch.tensor([ids])
        with torch.no_grad():
            before = aligned(input_ids=batch).logits[0].log_softmax(dim=-1)
        after = now(input_ids=batch).logits[0].log_softmax(dim=-1)
        kl = (before.exp() * (before - after)).sum(dim=-1)[:-1]
        answer = torch.tensor(mask[1:])
        total = total + (kl.sum() if tokens == "all" else kl[answer].sum())
        divisor += int(answer.sum())
    loss = total / divisor
    loss.backward()
    return loss.item(), {n: p.grad for n, p in now.named_parameters()}


def _task_gradient(context, examples):
    items = [context.chat.example_ids(e.prompt, e.answer) for e in examples]
    batch = collate(items, context.chat.pad_id)
    context.model(input_ids=batch.input_ids, labels=batch.labels).loss.backward()
    return {n: p.grad.double() for n, p in context.model.named_parameters()}


def _dot(a, b):
    return sum(float((a[n] * b[n]).sum()) for n in a)


@pytest.mark.parametrize("tokens", ["response", "all"])
@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_gradient_equals_a_dense_computation_in_float64(tokens, project, sign):
    method = make_method(SafeGrad, strength=0.7, project=project, tokens=tokens, harmful_batch=12)
    context = set_up(method)
    move(context, 0.03)
    task = _task_gradient(context, task_and_poison(context)[:8])
    loss, aligned = _reference(context, context.prompts.get("safety", "harmful"), tokens)
    # Task gradients that certainly agree and certainly conflict.
    scale = (_dot(task, task) / _dot(aligned, aligned)) ** 0.5
    for name, parameter in context.model.named_parameters():
        task[name] = task[name] + sign * 2.0 * scale * aligned[name]
        parameter.grad = task[name].float()
    overlap = _dot(task, aligned)
    assert (overlap > 0) == (sign > 0)
    method.before_clip(context.model)
    removed = overlap / _dot(aligned, aligned) if project and overlap < 0 else 0.0
    found = {n: p.grad.double() for n, p in context.model.named_parameters()}
    for name, value in found.items():
        expected = task[name] + (0.7 - removed) * aligned[name]
        assert torch.allclose(value, expected, atol=1e-4 * float(expected.abs().max()))
    assert method.diagnostics() == {
        "safety_loss": pytest.approx(loss, rel=1e-4),
        "conflict": float(sign < 0),
    }
    if project:
        # To first order, no step along the negative gradient leaves the aligned answers.
        size = (_dot(found, found) * _dot(aligned, aligned)) ** 0.5
        assert _dot(found, aligned) > 0.69 * _dot(aligned, aligned) - 1e-4 * size


def test_at_the_aligned_model_there_is_nothing_to_conflict_with():
    method = make_method(SafeGrad)
    context = set_up(method)
    task = _task_gradient(context, task_and_poison(context)[:8])
    method.before_clip(context.model)
    assert method.diagnostics()["safety_loss"] == pytest.approx(0.0, abs=1e-5)
    assert all(torch.equal(p.grad.double(), task[n]) for n, p in context.model.named_parameters())


def test_surgery_comes_before_clipping():
    """The norm that is reported and clipped is the combined gradient's."""
    seen = []

    class Spy(SafeGrad):
        def before_clip(self, model):
            super().before_clip(model)
            squares = [p.grad.double().square().sum() for p in model.parameters()]
            seen.append(float(sum(squares)) ** 0.5)

        def after_backward(self, model):
            squares = [p.grad.double().square().sum() for p in model.parameters()]
            seen.append(float(sum(squares)) ** 0.5)

    reports = []
    training = TrainingConfig(steps=4, batch_size=8, learning_rate=2e-2, clip_norm=0.05)
    train(make_method(Spy, strength=50.0), make_context(training=training), on_step=reports.append)
    combined, clipped = seen[::2], seen[1::2]
    assert [r.gradient_norm for r in reports[1:]] == pytest.approx(combined, rel=1e-4)
    assert clipped == pytest.approx([0.05] * 4, rel=1e-3)


def test_off_is_plain_fine_tuning_and_on_stays_nearer_to_the_aligned_answers():
    off = train(make_method(SafeGrad, strength=0.0, project=False))
    plain = train(make_method(Sft))
    assert same_weights(off, plain)
    prompts = off.prompts.get("safety", "harmful")
    free, _ = _reference(plain, prompts, "response")
    for settings in ({}, {"strength": 0.0}, {"project": False}):
        held = train(make_method(SafeGrad, **settings))
        assert any(not torch.equal(p, held.aligned[n]) for n, p in held.model.named_parameters())
        assert _reference(held, prompts, "response")[0] < 0.9 * free

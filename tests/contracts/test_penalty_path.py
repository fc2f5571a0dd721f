"""Where a penalty's gradient goes: against optimisers written out by hand."""

import pytest
import torch
from accelerate import Accelerator
from builders import make_chat, make_context, make_examples, make_model
from torch import nn

from cwac.config import TrainingConfig
from cwac.errors import ConfigError
from cwac.interfaces import MethodSettings, PenaltySettings
from cwac.methods import METHODS
from cwac.training import fit
from cwac.training.penalty import PenaltyPath

RATE, CLIP, BETAS, EPS = 0.1, 1.0, (0.9, 0.999), 1e-8
TASK = (torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 0.2, -0.4]))
PENALTY = (torch.tensor([4.0, 0.1, -3.0]), torch.tensor([0.5, 2.0, 0.1]))


def steps(way, optimiser="adamw", *, fused=True):
    """Make two updates of one parameter from known gradients; return it after each."""
    parameter = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    if optimiser == "sgd":
        made = torch.optim.SGD([parameter], lr=RATE)
    else:
        made = torch.optim.AdamW([parameter], lr=RATE, weight_decay=0.0, fused=fused)
    path = PenaltyPath(PenaltySettings(penalty_gradient=way, optimiser=optimiser), made, CLIP, 0)
    accelerator = Accelerator(cpu=True)
    after = []
    for task, penalty in zip(TASK, PENALTY, strict=True):
        path.backward(accelerator, (parameter * task).sum(), (parameter * penalty).sum())
        norm = float(torch.nn.utils.clip_grad_norm_([parameter], CLIP))
        path.before_step(norm)
        made.step()
        path.after_step(RATE)
        made.zero_grad()
        after.append(parameter.detach().clone())
    return after


def clipped(gradient):
    return gradient * min(1.0, CLIP / (float(gradient.norm()) + 1e-6))


def adam(first_gradients, second_gradients):
    """Adam by hand, its two moments fed from different gradients."""
    parameter, m, v = torch.tensor([1.0, 2.0, 3.0]), 0.0, 0.0
    after = []
    pairs = zip(first_gradients, second_gradients, strict=True)
    for step, (g, h) in enumerate(pairs, start=1):
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * h * h
        scale = (v / (1 - BETAS[1] ** step)).sqrt() + EPS
        parameter = parameter - RATE * (m / (1 - BETAS[0] ** step)) / scale
        after.append(parameter)
    return after


def same(got, expected):
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))


SUMS = [t + p for t, p in zip(TASK, PENALTY, strict=True)]


def test_summed_is_adam_on_the_sum():
    both = [clipped(g) for g in SUMS]
    assert same(steps("summed"), adam(both, both))


@pytest.mark.parametrize("fused", [True, False])
def test_second_moment_feeds_the_penalty_to_the_scale_and_the_clip_alone(fused):
    factors = [min(1.0, CLIP / (float(g.norm()) + 1e-6)) for g in SUMS]
    task = [f * t for f, t in zip(factors, TASK, strict=True)]
    both = [f * g for f, g in zip(factors, SUMS, strict=True)]
    got = steps("second_moment", fused=fused)
    assert same(got, adam(task, both))
    assert not same(got, adam(both, both))


def test_decoupled_is_adam_on_the_task_and_a_plain_step_of_the_penalty():
    after, parameter = [], torch.tensor([1.0, 2.0, 3.0])
    adams = adam([clipped(t) for t in TASK], [clipped(t) for t in TASK])
    moved = torch.zeros(3)
    for adam_only, penalty in zip(adams, PENALTY, strict=True):
        moved = moved - RATE * clipped(penalty)
        after.append(adam_only + moved)
    assert same(steps("decoupled"), after)
    assert not same(steps("decoupled"), [parameter, parameter])


def test_random_sign_is_the_sum_or_the_difference_and_both_occur():
    signs = set()
    for seed in range(20):
        parameter = nn.Parameter(torch.zeros(3))
        optimiser = torch.optim.SGD([parameter], lr=RATE)
        settings = PenaltySettings(penalty_gradient="random_sign")
        path = PenaltyPath(settings, optimiser, CLIP, seed)
        path.backward(
            Accelerator(cpu=True), (parameter * TASK[0]).sum(), (parameter * PENALTY[0]).sum()
        )
        plus, minus = TASK[0] + PENALTY[0], TASK[0] - PENALTY[0]
        assert torch.allclose(parameter.grad, plus) or torch.allclose(parameter.grad, minus)
        signs.add(bool(torch.allclose(parameter.grad, plus)))
    assert signs == {True, False}


def test_sgd_takes_plain_steps():
    expected, parameter = [], torch.tensor([1.0, 2.0, 3.0])
    for gradient in SUMS:
        parameter = parameter - RATE * clipped(gradient)
        expected.append(parameter)
    assert same(steps("summed", "sgd"), expected)


def test_a_second_moment_needs_an_optimiser_that_has_one():
    with pytest.raises(ConfigError, match="sgd has no second moment"):
        PenaltySettings.build({"penalty_gradient": "second_moment", "optimiser": "sgd"})


def run(name, **settings):
    chat = make_chat()
    model = make_model(chat)
    training = TrainingConfig(steps=4, batch_size=4, learning_rate=2e-2)
    context = make_context(model=model, chat=chat, training=training)
    kind = METHODS[name]
    method = kind(kind.settings_type.build(settings))
    fit(model, context.anatomy, chat, make_examples(16), training, method, seed=0, context=context)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


PENALISED = [n for n, kind in METHODS.items() if issubclass(kind.settings_type, PenaltySettings)]


@pytest.mark.parametrize("name", PENALISED)
def test_every_penalty_takes_the_way_that_its_settings_name(name):
    # On training inputs this penalty is part of the task's own pass.
    extra = {"inputs": "harmful"} if name == "refusal_direction_penalty" else {}
    summed = run(name, **extra)
    assert torch.equal(run(name, penalty_gradient="summed", **extra), summed)
    for way in ("second_moment", "decoupled"):
        assert not torch.equal(run(name, penalty_gradient=way, **extra), summed), way


def test_a_penalty_inside_the_task_loss_has_no_way_of_its_own():
    with pytest.raises(ConfigError, match="needs inputs = 'harmful'"):
        METHODS["refusal_direction_penalty"].settings_type.build({"penalty_gradient": "decoupled"})


def test_every_method_with_a_penalty_has_the_controls():
    from cwac.interfaces import Method

    with_penalty = {n for n, kind in METHODS.items() if kind.penalty is not Method.penalty}
    assert with_penalty == set(PENALISED)


def test_an_arm_may_have_a_learning_rate_of_its_own():
    fast = run("sft", learning_rate=4e-2)
    assert not torch.equal(fast, run("sft"))
    chat = make_chat()
    model = make_model(chat)
    training = TrainingConfig(steps=4, batch_size=4, learning_rate=4e-2)
    context = make_context(model=model, chat=chat, training=training)
    method = METHODS["sft"](MethodSettings())
    fit(model, context.anatomy, chat, make_examples(16), training, method, seed=0, context=context)
    assert torch.equal(fast, torch.cat([p.detach().flatten() for p in model.parameters()]))

"""Constrained SFT: the objective's gradient, its schedule, and the cached aligned beliefs."""

import copy

import pytest
import torch
from builders import make_context, make_examples
from method_runs import TRAINING, make_method, move, same_weights, set_up, task_and_poison, train
from torch.nn import functional

from cwac.chat import collate
from cwac.config import TrainingConfig
from cwac.methods.constrained_sft import ConstrainedSft
from cwac.methods.sft import Sft
from cwac.prompts import Example
from cwac.training import learning_rate


def _prepared(**settings):
    """A method with cached beliefs, a context whose model has moved since, and a batch."""
    method = make_method(ConstrainedSft, **settings)
    context = set_up(method)
    aligned = copy.deepcopy(context.model).double()
    long = Example(id="long", prompt="sing", answer="a song of a kite, a cake and a garden chair")
    examples = [long, *task_and_poison(context)]
    assert method.training_data(examples) is examples
    move(context, 0.1)
    rows = examples[:6]
    items = [context.chat.example_ids(e.prompt, e.answer) for e in rows]
    return method, context, aligned, items, collate(items, context.chat.pad_id)


def _log_probabilities(model, items):
    """Per example: the answer tokens' log-probabilities, float64, one example at a time."""
    for ids, mask in items:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        each = -functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        yield each[torch.tensor(mask[1:])]


def _betas(count):
    return torch.tensor([0.5, 2.0, 2.0, 2.0, 2.0, *[0.1] * count], dtype=torch.float64)[:count]


def test_gradient_is_that_of_the_papers_objective():
    method, context, aligned, items, batch = _prepared()
    tuned = copy.deepcopy(context.model).double()
    objective, plain = 0.0, 0.0
    pairs = zip(_log_probabilities(tuned, items), _log_probabilities(aligned, items), strict=True)
    for now, before in pairs:
        beta = _betas(len(now))
        ratio = now - before.detach()
        objective = objective - (2 / beta * functional.logsigmoid(beta * ratio)).sum()
        plain -= now.detach().sum().item()
    objective.backward()
    loss = method.task_loss(context.model, batch)
    loss.backward()
    # The value stays the cross-entropy's, so that task losses compare between methods.
    assert loss.item() == pytest.approx(plain, rel=1e-5)
    for (name, a), b in zip(context.model.named_parameters(), tuned.parameters(), strict=True):
        assert (a.grad.double() - b.grad).norm() < 1e-3 * b.grad.norm(), name


def test_weights_are_one_at_the_aligned_model_and_fall_as_a_token_is_learned():
    method, _, _, items, batch = _prepared()
    counts = [sum(mask) for _ids, mask in items]
    assert max(counts) > 5
    tokens = sum(counts)
    assert method.token_weights(batch, torch.zeros(tokens)).tolist() == [1.0] * tokens
    expected = torch.cat([2 * torch.sigmoid(-3.0 * _betas(count)) for count in counts])
    found = method.token_weights(batch, torch.full((tokens,), -3.0))
    assert torch.allclose(found, expected.float())
    assert (expected < 1).all()


def test_released_code_keeps_a_least_weight():
    method, _, _, items, batch = _prepared(floor=1e-3)
    lag = torch.full((sum(sum(mask) for _ids, mask in items),), -100.0)
    weights = method.token_weights(batch, lag)
    assert weights.min().item() == pytest.approx(1e-3)
    assert _prepared()[0].token_weights(batch, lag).min().item() < 1e-20


def _adamw(**changes):
    """Plain fine-tuning's trajectory under another optimiser: the loss is the same at step one."""
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    return torch.optim.AdamW([{"params": [weight]}], lr=1.0, **changes)


def test_the_published_optimiser_is_set_before_every_update():
    method = make_method(ConstrainedSft, adam_beta1=0.5, warmup_steps=5)
    set_up(method)
    optimiser = _adamw()
    rates = []
    for _ in range(TRAINING.steps):
        method.before_update(optimiser)
        assert optimiser.param_groups[0]["betas"] == (0.5, 0.999)
        rates.append(optimiser.param_groups[0]["lr"])
    # The experiment's own schedule with a warm-up of as many steps, worked out by the loop.
    same = TRAINING.model_copy(update={"warmup_fraction": 5 / TRAINING.steps})
    assert rates == pytest.approx([learning_rate(same, step) for step in range(TRAINING.steps)])
    assert rates[:5] == pytest.approx([TRAINING.learning_rate * (k + 1) / 5 for k in range(5)])


def test_an_optimiser_without_betas_keeps_its_own_and_the_default_touches_nothing():
    method = make_method(ConstrainedSft, adam_beta1=0.5)
    set_up(method)
    plain = torch.optim.SGD(_adamw().param_groups[0]["params"], lr=1.0)
    method.before_update(plain)
    assert "betas" not in plain.param_groups[0]
    for settings in ({}, {"strength": 0.0, "adam_beta1": 0.5, "warmup_steps": 5}):
        method = make_method(ConstrainedSft, **settings)
        set_up(method)
        optimiser = _adamw()
        method.before_update(optimiser)
        assert optimiser.param_groups[0]["betas"] == (0.9, 0.999)
        assert optimiser.param_groups[0]["lr"] == 1.0


def test_the_published_optimiser_trains_with_its_rate_and_other_weights():
    reports = []
    published = train(
        make_method(ConstrainedSft, adam_beta1=0.5, warmup_steps=5), on_step=reports.append
    )
    assert reports[1].learning_rate == pytest.approx(TRAINING.learning_rate / 5)
    assert not same_weights(published, train(make_method(ConstrainedSft)))
    assert not same_weights(published, train(make_method(ConstrainedSft, warmup_steps=5)))
    off = make_method(ConstrainedSft, strength=0.0, adam_beta1=0.5, warmup_steps=5)
    assert same_weights(train(off), train(make_method(Sft)))


def test_strength_multiplies_the_schedule():
    _, _, _, items, batch = _prepared()
    lag = torch.full((sum(sum(mask) for _ids, mask in items),), -2.0)
    double = make_method(ConstrainedSft, strength=2.0).token_weights(batch, lag)
    same = make_method(ConstrainedSft).token_weights(batch, 2 * lag)
    assert torch.allclose(double, same)


def test_strength_zero_is_plain_fine_tuning():
    off = train(make_method(ConstrainedSft, strength=0.0))
    assert same_weights(off, train(make_method(Sft)))


def test_betas_of_zero_weigh_every_token_like_cross_entropy():
    names = ("beta_first", "beta_early", "beta_late")
    method = make_method(ConstrainedSft, **dict.fromkeys(names, 0.0))
    assert same_weights(train(method), train(make_method(Sft)))


def test_beliefs_are_the_aligned_models_whatever_the_padding_and_the_cut():
    training = TrainingConfig(steps=2, batch_size=12, max_length=16)
    context = make_context(training=training)
    aligned = copy.deepcopy(context.model).double()
    method = make_method(ConstrainedSft)
    method.setup(context)
    examples = make_examples(24)
    method.training_data(examples)
    move(context)
    items = [context.chat.example_ids(e.prompt, e.answer) for e in examples]
    assert max(len(ids) for ids, _mask in items) > 16
    for start in (0, 12):
        batch = collate(items[start : start + 12], context.chat.pad_id, max_length=16)
        cut = [
            (ids[: int(real)], [label >= 0 for label in labels[: int(real)]])
            for ids, labels, real in zip(
                batch.input_ids.tolist(), batch.labels.tolist(), batch.attention_mask.sum(1),
                strict=True,
            )
        ]  # fmt: skip
        expected = torch.cat(list(_log_probabilities(aligned, cut)))
        assert torch.allclose(method.aligned.of(batch).double(), expected, atol=1e-5)


def test_early_tokens_are_learned_less():
    """The first answer tokens' probabilities rise less than under plain fine-tuning."""
    gains = {}
    for kind, settings in ((Sft, {}), (ConstrainedSft, {"strength": 5.0})):
        method = make_method(kind, **settings)
        context = make_context(training=TRAINING.model_copy(update={"learning_rate": 5e-3}))
        examples = task_and_poison(context)
        items = [context.chat.example_ids(e.prompt, e.answer) for e in make_examples()]
        before = [part.detach() for part in _log_probabilities(context.model, items)]
        train(method, context, examples=examples)
        after = [part.detach() for part in _log_probabilities(context.model, items)]
        rises = [now[1:5] - then[1:5] for now, then in zip(after, before, strict=True)]
        gains[kind] = torch.cat(rises).mean().item()
    assert 0 < gains[ConstrainedSft] < 0.8 * gains[Sft]

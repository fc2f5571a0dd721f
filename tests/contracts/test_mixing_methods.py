"""Methods that show safety demonstrations: what is replaced, and what stays where it was."""

from itertools import pairwise

import pytest
import torch
from builders import make_context, make_prompts
from method_runs import TRAINING, make_method, move, same_weights, set_up, task_and_poison, train

from cwac.errors import DataError
from cwac.methods.lisa import Lisa
from cwac.methods.safe_instruct import SafeInstruct
from cwac.methods.sft import Sft
from cwac.prompts import PromptSets

TOTAL = TRAINING.steps * TRAINING.batch_size


def _mixed(kind, *, ratio=0.25, **settings):
    """What a method trains on, beside what plain fine-tuning would, and the demonstrations."""
    method = make_method(kind, **settings)
    context = set_up(method)
    plain = task_and_poison(context, ratio)
    shown = {p.text: p.answer for p in context.prompts.get("safety", "harmful")}
    return plain, list(method.training_data(plain)), shown


# SafeInstr


@pytest.mark.parametrize(("share", "count"), [(0.03, 3), (0.25, 24), (0.001, 1)])
def test_demonstrations_take_the_place_of_task_examples_alone(share, count):
    plain, mixed, shown = _mixed(SafeInstruct, share=share)
    assert len(mixed) == len(plain) == TOTAL
    changed = [i for i in range(TOTAL) if mixed[i] != plain[i]]
    assert len(changed) == count
    assert not any(plain[i].poison for i in changed)
    assert all(shown[mixed[i].prompt] == mixed[i].answer for i in changed)
    assert not any(mixed[i].poison for i in changed)
    # Evenly over the task's places: neither all at the end nor clumped.
    free = [i for i in range(TOTAL) if not plain[i].poison]
    gaps = [free.index(b) - free.index(a) for a, b in pairwise(changed)]
    assert all(abs(gap - len(free) / count) <= 1 for gap in gaps)


def test_every_demonstration_comes_once_per_round():
    plain, mixed, shown = _mixed(SafeInstruct, share=0.25)
    order = [m.prompt for m, p in zip(mixed, plain, strict=True) if m != p]
    first, second = order[:12], order[12:24]
    assert sorted(first) == sorted(second) == sorted(shown)
    assert first != second


def test_the_share_that_leaves_no_task_example_is_refused():
    with pytest.raises(DataError, match=r"show 48 demonstrations .* only 24 of 96"):
        _mixed(SafeInstruct, ratio=0.75, share=0.5)


@pytest.mark.parametrize("kind", [SafeInstruct, Lisa])
def test_prompts_without_safe_answers_are_said(kind):
    prompts = make_prompts()
    parts = dict(prompts.parts)
    parts["safety", "harmful"] = tuple(
        p.model_copy(update={"answer": None}) for p in prompts.get("safety", "harmful")
    )
    with pytest.raises(DataError, match="has an answer"):
        make_method(kind).setup(make_context(prompts=PromptSets(parts)))


OFF = [(SafeInstruct, {"share": 0.0}), (Lisa, {"alignment_steps": 0})]


@pytest.mark.parametrize(("kind", "settings"), OFF)
def test_switched_off_it_is_plain_fine_tuning(kind, settings):
    assert same_weights(train(make_method(kind, **settings)), train(make_method(Sft)))


@pytest.mark.parametrize(("kind", "settings"), [(SafeInstruct, {"share": 0.25}), (Lisa, {})])
def test_it_learns_the_demonstrations(kind, settings):
    losses = {}
    for name, method in (("sft", make_method(Sft)), ("method", make_method(kind, **settings))):
        context = train(method)
        losses[name] = _refusal_loss(context)
    assert losses["method"] < losses["sft"] - 0.05


def _refusal_loss(context):
    total, count = 0.0, 0
    for prompt in context.prompts.get("safety", "harmful"):
        ids, mask = context.chat.example_ids(prompt.text, prompt.answer)
        with torch.no_grad():
            logits = context.model(input_ids=torch.tensor([ids])).logits[0].double()
        for place in (i for i, learned in enumerate(mask) if learned):
            total -= float(logits[place - 1].log_softmax(dim=-1)[ids[place]])
            count += 1
    return total / count


# Lisa


def test_whole_batches_of_the_alignment_state_are_replaced_and_no_other():
    plain, mixed, shown = _mixed(Lisa, alignment_steps=2, finetune_steps=3)
    assert len(mixed) == TOTAL
    size = TRAINING.batch_size
    for step in range(TRAINING.steps):
        rows, before = (part[step * size : step * size + size] for part in (mixed, plain))
        if step in (0, 1, 5, 6, 10, 11):
            assert all(shown[row.prompt] == row.answer and not row.poison for row in rows)
        else:
            assert rows == before


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_the_proximal_term_is_half_rho_times_the_squared_distance_from_the_last_switch(start):
    method = make_method(
        Lisa, strength=3.0, alignment_steps=2, finetune_steps=3, proximal_from=start
    )
    context = set_up(method)
    anchor = {n: p.detach().clone().double() for n, p in context.model.named_parameters()}
    for step in range(TRAINING.steps):
        found = method.penalty(context.model)
        if step < start * TRAINING.steps:
            assert found is None
        else:
            moved = {n: p.detach().double() for n, p in context.model.named_parameters()}
            squared = sum(float((moved[n] - anchor[n]).square().sum()) for n in moved)
            assert found.item() == pytest.approx(1.5 * squared, rel=1e-5)
            assert (squared > 0) == (step not in (0, 2, 5, 7, 10))
        move(context, seed=step)
        method.after_step(context.model)
        if step + 1 in (2, 5, 7, 10, 12):
            anchor = {n: p.detach().clone().double() for n, p in context.model.named_parameters()}


def test_its_gradient_pulls_back_towards_the_switch():
    method = make_method(Lisa, strength=2.0)
    context = set_up(method)
    move(context)
    method.penalty(context.model).backward()
    for name, parameter in context.model.named_parameters():
        expected = 2.0 * (parameter.double() - context.aligned[name].double())
        assert torch.allclose(parameter.grad.double(), expected, atol=1e-7)


def test_a_stronger_proximal_term_keeps_each_spell_shorter():
    """The distance that a spell covers is what the term bounds; the update is not zero."""
    covered = {}
    for strength in (0.0, 1.0, 100.0):
        method = make_method(Lisa, strength=strength, alignment_steps=2, finetune_steps=20)
        train(method)
        covered[strength] = sum(
            float((now.detach() - then).square().sum())
            for now, then in zip(method.weights, method.anchor, strict=True)
        )
    assert 0 < covered[100.0] < covered[1.0] < covered[0.0]

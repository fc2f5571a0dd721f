"""The refusal direction penalty: directions, both forms, both inputs, and the task's own value."""

import copy

import pytest
import torch
from builders import CHAT_TEMPLATE, make_context, make_tokenizer
from method_runs import TRAINING, make_method, move, same_weights, set_up, task_and_poison, train
from torch.nn import functional

from cwac.anatomy import layer_module
from cwac.chat import Chat, collate
from cwac.errors import DataError, ModelError
from cwac.methods.activation_only import ActivationOnly
from cwac.methods.refusal_direction_penalty import RefusalDirectionPenalty
from cwac.methods.sft import Sft
from cwac.prompts import PromptSets


def _context():
    """A context whose template puts two tokens between the request and the answer."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE.replace(
        "<user>{{ m['content'] }}", "<user>{{ m['content'] }}<end>"
    )
    return make_context(chat=Chat(tokenizer), training=TRAINING)


def _run(model, context, ids):
    """Scores and every layer's residual stream of one text, float64: ``(L, V)``, ``(n, L, d)``."""
    streams = []
    handles = [
        layer_module(model, context.anatomy, layer).register_forward_hook(
            lambda _module, _args, out: streams.append(out[0])
        )
        for layer in range(context.anatomy.n_layers)
    ]
    scores = model(input_ids=torch.tensor([ids])).logits[0]
    for handle in handles:
        handle.remove()
    return scores, torch.stack(streams)


def _differences(aligned, context):
    """Mean refused harmful minus mean harmless, at the last prompt token: ``(layers, d)``."""
    means = []
    for kind in ("harmful", "harmless"):
        texts = [prompt.text for prompt in context.prompts.get("safety", kind)]
        last = [_run(aligned, context, context.chat.prompt_ids(t))[1][:, -1] for t in texts]
        means.append(torch.stack(last).mean(dim=0))
    return (means[0] - means[1]).detach()


def _each(moved, differences, form, units):
    """A token's penalty from ``h - h0`` of shape ``(layers, tokens, d)``: ``(tokens,)``."""
    length = differences.norm(dim=1, keepdim=True)
    unit = differences / length
    vectors = {"gap": unit / length, "published": differences if form == "squared" else unit}[units]
    products = (moved * vectors[:, None]).sum(dim=-1)
    return (products.square() if form == "squared" else products.abs()).mean(dim=0)


FORMS = [(form, units) for form in ("squared", "absolute") for units in ("gap", "published")]


@pytest.mark.parametrize(("form", "units"), FORMS)
def test_penalty_on_training_inputs_equals_a_dense_computation(form, units):
    method = make_method(RefusalDirectionPenalty, strength=2.0, form=form, units=units)
    context = _context()
    aligned = copy.deepcopy(context.model).double()
    differences = _differences(aligned, context)
    set_up(method, context)
    examples = task_and_poison(context)
    assert method.training_data(examples) is examples
    assert method.penalty(context.model) is None
    move(context, 0.05)
    tuned = copy.deepcopy(context.model).double()

    items = [context.chat.example_ids(e.prompt, e.answer) for e in examples[:6]]
    plain, held = 0.0, 0.0
    for ids, mask in items:
        scores, now = _run(tuned, context, ids)
        before = _run(aligned, context, ids)[1].detach()
        # The positions before the answer's tokens: the first is the last of the prompt.
        places = [place - 1 for place, learned in enumerate(mask) if learned]
        targets = torch.tensor([ids[place + 1] for place in places])
        plain = plain + functional.cross_entropy(scores[places], targets, reduction="sum")
        held = held + _each((now - before)[:, places], differences, form, units).sum()
    loss = method.task_loss(context.model, collate(items, context.chat.pad_id))
    assert held.item() > 1e-6
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    count = sum(sum(mask) for _ids, mask in items)
    assert method.diagnostics()["safety_loss"] == pytest.approx(held.item() / count, rel=1e-3)
    loss.backward()
    (plain + 2.0 * held).backward()
    for (name, a), b in zip(context.model.named_parameters(), tuned.parameters(), strict=True):
        assert (a.grad.double() - b.grad).norm() < 1e-3 * b.grad.norm(), name


@pytest.mark.parametrize(("form", "units"), FORMS)
def test_penalty_on_harmful_prompts_equals_a_dense_computation(form, units):
    settings = {"inputs": "harmful", "harmful_batch": 5, "form": form, "units": units}
    method = make_method(RefusalDirectionPenalty, strength=3.0, **settings)
    context = _context()
    aligned = copy.deepcopy(context.model).double()
    differences = _differences(aligned, context)
    drawn = make_method(ActivationOnly, harmful_batch=5)
    drawn.setup(context)
    set_up(method, context)
    move(context, 0.05)
    tuned = copy.deepcopy(context.model).double()
    each = []
    for place in drawn.activation.next_index().tolist():
        ids = context.chat.prompt_ids(context.prompts.get("safety", "harmful")[place].text)
        moved = _run(tuned, context, ids)[1] - _run(aligned, context, ids)[1]
        each.append(_each(moved[:, -2:], differences, form, units))
    expected = 3.0 * torch.cat(each).mean()
    assert expected.item() > 1e-8
    assert method.penalty(context.model).item() == pytest.approx(expected.item(), rel=1e-3)
    batch = collate([context.chat.example_ids("how", "sure")], context.chat.pad_id)
    assert method.task_loss(context.model, batch) is None


def test_a_move_across_the_whole_gap_costs_the_strength():
    method = make_method(RefusalDirectionPenalty, strength=0.5, inputs="harmful", layers=(1,))
    context = set_up(method, _context())
    difference = _differences(copy.deepcopy(context.model).double(), context)[1].float()
    method.aligned.changes = lambda _model, _index: {1: -difference.expand(8, 2, -1)}
    assert method.penalty(context.model).item() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("inputs", ["training", "harmful"])
def test_strength_zero_is_plain_fine_tuning(inputs):
    off = make_method(RefusalDirectionPenalty, strength=0.0, inputs=inputs)
    assert same_weights(train(off), train(make_method(Sft)))


def test_the_early_strength_holds_for_its_share_of_the_steps():
    method = make_method(RefusalDirectionPenalty, early_strength=2.0, early_share=0.25)
    seen = []
    train(method, on_step=lambda _report: seen.append(method.strength))
    assert seen == [2.0] * 3 + [10.0] * 10


def test_a_strong_penalty_keeps_the_projections():
    left = {}
    for strength in (0.0, 30.0):
        context = make_context(training=TRAINING)
        judge = make_method(RefusalDirectionPenalty, inputs="harmful", harmful_batch=12)
        set_up(judge, context)
        train(make_method(RefusalDirectionPenalty, strength=strength, inputs="harmful"), context)
        judge.penalty(context.model)
        left[strength] = judge.diagnostics()["safety_loss"]
    assert left[30.0] < 0.3 * left[0.0]


def test_what_is_missing_is_said():
    whole = make_context().prompts
    harmful = PromptSets({("safety", "harmful"): whole.get("safety", "harmful")})
    with pytest.raises(DataError, match="needs harmless safety requests"):
        set_up(make_method(RefusalDirectionPenalty), make_context(prompts=harmful))
    same = PromptSets(
        {("safety", k): whole.get("safety", "harmful") for k in ("harmful", "harmless")}
    )
    with pytest.raises(DataError, match="layer 0 has no refusal direction"):
        set_up(make_method(RefusalDirectionPenalty), make_context(prompts=same))
    with pytest.raises(ModelError, match="no decoder layer 7"):
        set_up(make_method(RefusalDirectionPenalty, layers=(7,)))

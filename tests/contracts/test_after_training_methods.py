"""Methods that change the weights once, after plain fine-tuning: against dense float64."""

import copy

import pytest
import torch
from builders import make_context, make_transposed
from method_runs import TRAINING, change_of, make_method, move, same_weights, set_up, train
from torch.nn import functional

from cwac.anatomy import weight_of
from cwac.chat import collate
from cwac.errors import DataError, ModelError
from cwac.generation import Answer
from cwac.methods import resta
from cwac.methods._twin import tune
from cwac.methods.resta import Resta
from cwac.methods.safe_delta import SafeDelta, inverse_factor, realigned, safety_batches
from cwac.methods.safe_merge import SafeMerge
from cwac.methods.safelora import SafeLora
from cwac.methods.sft import Sft

OFF = {
    Resta: {"strength": 0.0},
    SafeLora: {"threshold": 0.0},
    SafeMerge: {"threshold": 0.0},
    SafeDelta: {"budget": 1.0, "never": 0.0},
}
KINDS = pytest.mark.parametrize("kind", OFF, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def plain():
    return train(make_method(Sft))


def _base(context):
    return dict(context.base_model().named_parameters())


def _finished(kind, **settings):
    """A tiny model with a random update, post-processed; what it was before; the method."""
    context = make_context(training=TRAINING)
    method = make_method(kind, **settings)
    set_up(method, context)
    move(context)
    before = {n: p.detach().clone().double() for n, p in context.model.named_parameters()}
    method.finish(context.model)
    return context, before, method


@KINDS
def test_off_is_plain_fine_tuning(kind, plain):
    assert same_weights(train(make_method(kind, **OFF[kind])), plain)


@KINDS
def test_training_itself_is_plain_and_its_end_is_not(kind, plain):
    reports = []
    context = train(make_method(kind), on_step=reports.append)
    expected = []
    train(make_method(Sft), on_step=expected.append)
    assert [r.task_loss for r in reports] == [r.task_loss for r in expected]
    assert not same_weights(context, plain)


# RESTA


def test_resta_adds_the_change_from_base_to_aligned_to_every_parameter():
    context, before, _ = _finished(Resta, strength=0.3)
    base = _base(context)
    for name, parameter in context.model.named_parameters():
        aligned = context.aligned[name].double()
        expected = before[name] + 0.3 * (aligned - base[name].double())
        assert torch.allclose(parameter.double(), expected, atol=1e-7)
        assert (expected - aligned).norm() > 1e-3


def test_resta_drops_a_share_of_the_changes_and_scales_the_rest():
    context, before, _ = _finished(Resta, strength=0.0, drop=0.25)
    kept, total = 0, 0
    for name, parameter in context.model.named_parameters():
        start = context.aligned[name].double()
        change, was = parameter.double() - start, before[name] - start
        dropped = change == 0
        assert torch.allclose(change[~dropped], was[~dropped] / 0.75, atol=1e-6)
        kept, total = kept + int((~dropped).sum()), total + dropped.numel()
    assert kept / total == pytest.approx(0.75, abs=0.02)
    again, _, _ = _finished(Resta, strength=0.0, drop=0.25)
    assert same_weights(context, again)


def test_the_published_vector_points_from_a_harm_tuned_model_to_the_aligned_one(monkeypatch):
    """Against a tuning of a second aligned model on the answers that the base model gives."""
    monkeypatch.setattr(resta, "answer", _compliances)
    context, before, method = _finished(Resta, strength=0.7, unaligned="harm_tuned")
    assert {e.prompt: e.answer for e in method.examples} == {
        p.text: f"sure {p.text}" for p in context.prompts.get("safety", "harmful")
    }
    twin = make_context(training=TRAINING)
    tune(twin.model, twin, method.examples, 3, "harm tuning")
    squares = 0.0
    for name, parameter in context.model.named_parameters():
        vector = context.aligned[name].double() - twin.model.get_parameter(name).detach().double()
        squares += float(vector.square().sum())
        assert torch.allclose(parameter.double(), before[name] + 0.7 * vector, atol=1e-6)
    assert squares > 1e-3
    assert method.diagnostics() == {"added_norm": pytest.approx(0.7 * squares**0.5, rel=1e-4)}
    again, _, _ = _finished(Resta, strength=0.7, unaligned="harm_tuned")
    assert same_weights(context, again)
    other, _, _ = _finished(Resta, strength=0.7)
    assert not same_weights(context, other)


def _compliances(model, chat, requests, **_limits):
    """What the base model would answer; one that was never trained answers nothing."""
    return [Answer(text=f"sure {text}", tokens=3, cut=False) for text in requests]


def test_the_published_vector_at_strength_zero_is_plain_fine_tuning(plain):
    assert same_weights(train(make_method(Resta, strength=0.0, unaligned="harm_tuned")), plain)


def test_a_base_model_of_another_shape_is_said():
    for kind in (Resta, SafeLora):
        context = make_context(training=TRAINING)
        short = copy.deepcopy(context.model)
        short.model.layers[1].mlp.down_proj = torch.nn.Linear(40, 32, bias=False)
        context.base_model = lambda short=short: short
        method = make_method(kind)
        set_up(method, context)
        with pytest.raises(ModelError, match="model before alignment has no"):
            method.finish(context.model)


# SafeLoRA


def _dense_projector(context, entry, how):
    aligned, base = weight_of(context.aligned, entry), weight_of(_base(context), entry)
    v = (aligned - base).detach().double()
    if how == "released":
        return v @ v.T / v.norm()
    # V is of rank 4 up to the rounding of float32, which the pseudo-inverse must cut off.
    return v @ torch.linalg.pinv(v, rtol=1e-4)


@pytest.mark.parametrize("how", ["released", "exact"])
def test_safelora_projects_the_maps_of_low_cosine(how):
    probe = _finished(SafeLora, projector=how)[2]
    threshold = sorted(probe.cosines.values())[6]
    context, before, method = _finished(SafeLora, projector=how, threshold=threshold)
    assert len(method.projected) == 6
    maps = {m.parameter: m for m in context.anatomy.maps}
    for name, parameter in context.model.named_parameters():
        entry = maps.get(name)
        if entry is None:
            assert torch.equal(parameter.double(), before[name])
            continue
        dense, start = _dense_projector(context, entry, how), context.aligned[name].double()
        change = before[name] - start
        pulled = dense @ change
        cosine = (change * pulled).sum() / (change.norm() * pulled.norm())
        assert method.cosines[entry.path] == pytest.approx(float(cosine), abs=1e-4)
        strays = bool(cosine < threshold - 1e-9) and entry.path in method.projected
        assert strays == (entry.path in method.projected)
        expected = start + (pulled if strays else change)
        assert torch.allclose(parameter.double(), expected, atol=2e-6)
        assert (parameter.double() - start).norm() > 1e-6


def test_safelora_in_number_mode_projects_as_many_of_the_lowest():
    _, _, method = _finished(SafeLora, number=3)
    assert len(method.projected) == 3
    assert max(method.cosines[p] for p in method.projected) <= min(
        c for p, c in method.cosines.items() if p not in method.projected
    )
    assert method.diagnostics()["projected_maps"] == 3


def test_safelora_projects_transposed_weights_on_their_output_side():
    chat = make_context().chat
    model = make_transposed(chat)
    context = make_context(training=TRAINING, model=model, chat=chat)
    method = make_method(SafeLora, threshold=1.0, projector="exact", maps="ffn")
    set_up(method, context)
    move(context)
    method.finish(context.model)
    for entry in context.anatomy.select("ffn"):
        change, dense = change_of(context, entry), _dense_projector(context, entry, "exact")
        assert change.norm() > 1e-3
        assert (change - dense @ change).norm() < 1e-3 * change.norm()


# SafeMERGE


def test_safe_merge_averages_straying_maps_with_a_safety_tuned_model():
    probe = _finished(SafeMerge)[2]
    threshold = sorted(probe.cosines.values())[5]
    context, before, method = _finished(SafeMerge, threshold=threshold, safety_share=0.5)
    assert len(method.merged) == 5

    # The same tuning of an aligned model that was never fine-tuned.
    twin = make_context(training=TRAINING)
    tune(twin.model, twin, method.examples, 6, "safety tuning")
    maps = {m.parameter: m for m in context.anatomy.maps}
    for name, parameter in context.model.named_parameters():
        start = context.aligned[name].double()
        expected = before[name]
        if name in maps and maps[name].path in method.merged:
            safe = twin.model.get_parameter(name).detach().double()
            expected = start + 0.8 * (before[name] - start) + 0.2 * (safe - start)
            assert (safe - start).norm() > 1e-3
        assert torch.allclose(parameter.double(), expected, atol=1e-6)


def test_safety_tuning_learns_the_safe_answers_and_nothing_else():
    context = make_context(training=TRAINING)
    method = make_method(SafeMerge)
    set_up(method, context)
    shown = {e.prompt: e.answer for e in method.examples}
    assert shown == {p.text: p.answer for p in context.prompts.get("safety", "harmful")}

    def loss():
        items = [context.chat.example_ids(p, a) for p, a in shown.items()]
        batch = collate(items, context.chat.pad_id)
        with torch.no_grad():
            logits = context.model(input_ids=batch.input_ids).logits
        flat = logits[:, :-1].flatten(0, 1)
        return functional.cross_entropy(flat, batch.labels[:, 1:].flatten()).item()

    before = loss()
    random = torch.get_rng_state()
    tune(context.model, context, method.examples, 60, "safety tuning")
    assert loss() < 0.5 * before
    assert torch.equal(torch.get_rng_state(), random)


# Safe Delta


def _problem(rows=5, columns=7):
    stream = torch.Generator().manual_seed(3)
    inputs = torch.randn(60, columns, generator=stream, dtype=torch.float64)
    inputs = inputs * torch.linspace(0.2, 3.0, columns, dtype=torch.float64)
    # Correlated, or there is nothing that a later column could make up for.
    inputs += 2 * torch.randn(60, 1, generator=stream, dtype=torch.float64)
    aligned = torch.randn(rows, columns, generator=stream, dtype=torch.float64)
    tuned = aligned + 0.1 * torch.randn(rows, columns, generator=stream, dtype=torch.float64)
    return aligned, tuned, inputs.T @ inputs / len(inputs)


def _settings(**changes):
    return SafeDelta.settings_type(**({"never": 0.0} | changes))


def test_safe_delta_compensates_as_the_optimal_brain_surgeon():
    """Every accepted change against an explicit inverse of the columns that are left."""
    aligned, tuned, moment = _problem()
    damping = 0.01
    found, accepted = realigned(
        aligned, tuned, inverse_factor(moment, damping), _settings(budget=0.5)
    )
    assert 0.2 < accepted.double().mean() < 0.9
    damped = moment + damping * moment.diagonal().mean() * torch.eye(7, dtype=torch.float64)
    expected = aligned.clone()
    for row in range(5):
        for column in range(7):
            if not accepted[row, column]:
                continue
            inverse = torch.linalg.inv(damped[column:, column:])
            moved = tuned[row, column] - expected[row, column]
            expected[row, column:] += moved * inverse[0] / inverse[0, 0]
            assert expected[row, column] == pytest.approx(float(tuned[row, column]))
    assert torch.allclose(found, expected, atol=1e-10)
    # What it is for: the safety inputs are changed less than without compensation.
    change = found - aligned
    bare = torch.where(accepted, tuned - aligned, torch.zeros(()).double())
    assert (change @ damped * change).sum() < 0.9 * (bare @ damped * bare).sum()


def test_safe_delta_accepts_the_least_sensitive_changes_within_the_budget():
    aligned, tuned, moment = _problem(40, 7)
    factor = inverse_factor(moment, 0.01)
    damped = moment + 0.01 * moment.diagonal().mean() * torch.eye(7, dtype=torch.float64)
    sensitivity = torch.stack([1 / torch.linalg.inv(damped[j:, j:])[0, 0] for j in range(7)])
    cost = (tuned - aligned).square() * sensitivity
    shares = []
    for budget in (0.0, 0.05, 0.3, 1.0):
        _, accepted = realigned(aligned, tuned, factor, _settings(budget=budget))
        assert cost[accepted].sum() <= budget * cost.sum() + 1e-12
        if bool(accepted.any()):
            worst = sensitivity.expand_as(cost)[accepted].max()
            # Whatever is less sensitive than an accepted change is accepted too.
            assert bool(accepted[sensitivity.expand_as(cost) < worst].all())
        shares.append(float(accepted.double().mean()))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    _, spared = realigned(aligned, tuned, factor, _settings(budget=1.0, never=0.15))
    most = sensitivity.argmax()
    assert int((~spared).sum()) == int(0.15 * 280)
    assert int((~spared[:, most]).sum()) == min(40, int(0.15 * 280))


def test_the_released_budget_is_an_absolute_size_of_the_change():
    aligned, tuned, moment = _problem(40, 7)
    factor = inverse_factor(moment, 0.01)
    rule = _settings(budget_rule="released", budget=0.5)
    _, accepted = realigned(aligned, tuned, factor, rule)
    weights = 1 / factor.diagonal().square()
    allowed = weights.mean() * 0.5 / 2 * 40 / 4096
    assert ((tuned - aligned).square() * weights)[accepted].sum() <= allowed
    _, smaller = realigned(aligned, aligned + 0.5 * (tuned - aligned), factor, rule)
    assert smaller.sum() > accepted.sum() > 0


@pytest.mark.parametrize("compensation", ["columns", "released", "off"])
def test_blocks_and_compensation_keep_accepted_values(compensation):
    aligned, tuned, moment = _problem(6, 11)
    factor = inverse_factor(moment, 0.01)
    for block in (3, 2048):
        settings = _settings(budget=0.4, compensation=compensation, block=block)
        found, accepted = realigned(aligned, tuned, factor, settings)
        assert torch.equal(found[accepted], tuned[accepted])
        assert bool(accepted.any())
        if compensation == "off":
            assert torch.equal(found[~accepted], aligned[~accepted])
        else:
            assert not torch.equal(found[~accepted], aligned[~accepted])


def test_safe_delta_measures_the_aligned_models_inputs_on_its_own_answers():
    context = make_context(training=TRAINING)
    method = make_method(SafeDelta, samples=5)
    batches = safety_batches(context, 5)
    set_up(method, context)
    entry = context.anatomy.select("ffn")[1]
    read = []
    handle = context.model.get_submodule(entry.path).register_forward_hook(
        lambda _module, args, _out: read.append(args[0].detach())
    )
    for row in range(5):
        kept = batches[0].attention_mask[row].bool()
        with torch.no_grad():
            context.model(input_ids=batches[0].input_ids[row : row + 1, kept])
    handle.remove()
    columns = torch.cat([x[0] for x in read]).double()
    expected = columns.T @ columns / len(columns)
    assert torch.allclose(method.moments.matrix(entry.path), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("rest", ["tuned", "aligned"])
def test_other_parameters_stay_tuned_or_return_to_the_aligned_model(rest):
    context, before, method = _finished(SafeDelta, rest=rest)
    linear = {m.parameter for m in context.anatomy.maps}
    for name, parameter in context.model.named_parameters():
        if name not in linear:
            wanted = before[name] if rest == "tuned" else context.aligned[name].double()
            assert torch.equal(parameter.double(), wanted)
        else:
            assert not torch.equal(parameter.double(), context.aligned[name].double())
    assert 0 < method.diagnostics()["accepted_share"] < 1


def test_refusals_are_needed_and_their_absence_is_said():
    for kind in (SafeDelta, SafeMerge):
        context = make_context(training=TRAINING)
        context.yardstick.features.prompt_ids = ()
        with pytest.raises(DataError, match="refused harmful requests"):
            set_up(make_method(kind), context)

"""What every method promises, and what the constraints of CWAC guarantee.

The first tests run over the registry, so that a new method is tested by being listed.
"""

import copy
import functools
import json
from typing import TypeVar

import pytest
import torch
from builders import make_chat, make_context, make_examples, make_model, make_transposed
from method_runs import TRAINING, change_of, make_method, same_weights, train
from safetensors.torch import load_file
from torch.nn import functional

from cwac.anatomy import weight_of
from cwac.chat import collate
from cwac.config import MeasurementConfig, TrainingConfig
from cwac.errors import ConfigError, DataError
from cwac.features import activation_loss
from cwac.interfaces import Method, MethodSettings
from cwac.methods import METHODS
from cwac.prompts import KINDS, PromptSets
from cwac.training import learning_rate, mix_poison

FULL = [name for name in METHODS if "full" in METHODS[name].adapters]
"""Methods that work under full fine-tuning; test_lora.py has the others' promises."""


def _run(name, settings=None, *, context=None, training=TRAINING, **loop):
    """Train a fresh tiny model; return its context, reports and method."""
    reports, method = [], make_method(name, **(settings or {}))
    context = context or make_context(training=training)
    return train(method, context, on_step=reports.append, **loop), reports, method


@functools.cache
def _plain(name):
    """The run with every default, once for all tests; they read it and change nothing."""
    return _run(name)


def _deltas(context, maps=None):
    """Change of every constrained map, by path."""
    return {m.path: change_of(context, m) for m in maps or context.anatomy.select("ffn")}


def _inside_share(delta, basis):
    """Norm of the update's part inside a subspace, over the update's norm."""
    dense = basis.double() @ basis.double().T
    return float((delta @ dense).norm() / delta.norm())


# Every method


@pytest.mark.parametrize("name", METHODS)
def test_says_what_it_is(name):
    kind = METHODS[name]
    assert kind.name == name
    assert all((kind.title, kind.summary.endswith("."), kind.source))
    assert set(kind.adapters) in ({"full"}, {"lora"}, {"full", "lora"})
    assert len(kind.summary) < 120
    settings = kind.settings_type()
    assert json.loads(settings.canonical_json()) == settings.model_dump(mode="json")
    assert settings.non_default() == {}
    if kind.strength_knob is not None:
        assert kind.strength_knob in kind.settings_type.model_fields
    with pytest.raises(ConfigError, match="unknown key 'strenght'"):
        kind.settings_type.build({"strenght": 1})


def test_the_type_of_the_settings_is_read_from_the_brackets():
    class Strength(MethodSettings):
        strength: float = 0.5

    AnyStrength = TypeVar("AnyStrength", bound=Strength)

    class Shared(Method[AnyStrength]):
        pass

    class More(Strength):
        more: int = 1

    class Mine(Shared[More]):
        pass

    class Heir(Mine):
        pass

    assert Mine.settings_type is Heir.settings_type is More
    assert Method.settings_type is Shared.settings_type is MethodSettings


@pytest.mark.parametrize("name", FULL)
def test_is_deterministic(name):
    first, reports, _ = _plain(name)
    again, reports_again, _ = _run(name)
    assert same_weights(first, again)
    numbers = [
        [(r.task_loss, r.penalty, r.gradient_norm) for r in found]
        for found in (reports, reports_again)
    ]
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("name", FULL)
def test_converges_on_a_batch_that_can_be_memorised(name):
    training = TrainingConfig(steps=50, batch_size=4, learning_rate=1e-2)
    settings = {"strength": 0.05} if "strength" in METHODS[name].settings_type.model_fields else {}
    _, reports, _ = _run(name, settings, training=training, examples=make_examples(4) * 50)
    assert reports[-1].task_loss < 0.2 * reports[1].task_loss


@pytest.mark.parametrize("name", FULL)
def test_leaves_the_aligned_weights_and_the_model_mode_alone(name):
    context = make_context(training=TRAINING)
    before = copy.deepcopy(context.aligned)
    method = METHODS[name](METHODS[name].settings_type())
    context.model.train()
    method.setup(context)
    assert context.model.training
    assert all(
        torch.equal(p, before[n]) and p.grad is None for n, p in context.model.named_parameters()
    )
    _run(name, context=context)
    assert all(torch.equal(context.aligned[n], before[n]) for n in before)


@pytest.mark.parametrize("name", FULL)
def test_sees_only_the_safety_prompts(name):
    """Other splits may be empty or absent: the constraints must not need them."""
    whole = make_context(training=TRAINING)
    safety = {("safety", kind): whole.prompts.get("safety", kind) for kind in KINDS}
    examples = mix_poison(make_examples(), (), 0.0, TRAINING.steps * TRAINING.batch_size, 0)
    only = make_context(training=TRAINING, prompts=PromptSets(safety))
    first, _, _ = _run(name, context=whole, examples=examples)
    second, _, _ = _run(name, context=only, examples=examples)
    assert same_weights(first, second)


@pytest.mark.parametrize("name", FULL)
def test_accumulation_does_not_change_the_result(name):
    whole, reports, _ = _plain(name)
    split_training = TRAINING.model_copy(update={"gradient_accumulation": 4})
    split, split_reports, _ = _run(name, training=split_training)
    for path, delta in _deltas(whole, whole.anatomy.maps).items():
        other = _deltas(split, split.anatomy.maps)[path]
        # Adam makes full steps of gradients that are rounding noise, and how sums are rounded
        # differs between processors (0.7 % of a delta was seen); a wrong weight of a
        # micro-batch shows as tens of per cent. A frozen map has not changed in either.
        assert (delta - other).norm() <= 2e-2 * delta.norm()
    for a, b in zip(reports[1:], split_reports[1:], strict=True):
        assert a.task_loss == pytest.approx(b.task_loss, rel=1e-3)
        if a.penalty:
            assert a.penalty == pytest.approx(b.penalty, rel=2e-2)


# Switched off: the arms differ by nothing but their constraints

EQUAL = [
    (("cwac", {"weight": False, "activation": False}), "sft"),
    (("cwac", {"weight": False, "strength": 0.0}), "sft"),
    (("activation_only", {"strength": 0.0}), "sft"),
    (("cwac", {"activation": False}), "weight_only"),
    (("cwac", {"strength": 0.0}), "weight_only"),
    (("cwac", {"weight": False}), "activation_only"),
]


@pytest.mark.parametrize(("off", "plain"), EQUAL, ids=[json.dumps(pair[0]) for pair in EQUAL])
def test_a_constraint_switched_off_leaves_nothing_behind(off, plain):
    first, _, _ = _run(*off)
    second, _, _ = _plain(plain)
    assert same_weights(first, second)


def test_constraints_switched_on_do_something():
    arms = [_plain(name)[0] for name in FULL]
    assert not any(same_weights(a, b) for i, a in enumerate(arms) for b in arms[:i])


# The weight constraint


@pytest.mark.parametrize("name", ["weight_only", "cwac"])
@pytest.mark.parametrize("maps", ["ffn", "all"])
@pytest.mark.parametrize("subspace", ["safety", "random"])
def test_updates_stay_outside_the_subspace_and_are_not_zero(name, maps, subspace):
    context, _, method = _run(name, {"maps": maps, "subspace": subspace})
    constraint = method.weight
    assert len(constraint.maps) == len(context.anatomy.select(maps))
    for found, basis in zip(constraint.maps, constraint.bases, strict=True):
        delta = _deltas(context, [found])[found.path]
        assert delta.norm() > 1e-2
        assert _inside_share(delta, basis) < 1e-5
        # An unconstrained update has far more there, so that the test can fail.
    free, _, _ = _plain("sft")
    for found, basis in zip(constraint.maps, constraint.bases, strict=True):
        assert _inside_share(_deltas(free, [found])[found.path], basis) > 0.1


def test_exact_form_equals_a_dense_projection_in_float64():
    context = make_context()
    subspace = context.yardstick.subspace
    method = METHODS["weight_only"](METHODS["weight_only"].settings_type(maps="all"))
    method.setup(context)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=noise))
    moved = {n: p.detach().clone().double() for n, p in context.model.named_parameters()}
    method.after_step(context.model)
    constrained = {m.parameter for m in subspace.maps}
    for name, parameter in context.model.named_parameters():
        if name not in constrained:
            assert torch.equal(parameter.double(), moved[name])
    for m in subspace.maps:
        basis = subspace.bases[m.path].double()
        dense = torch.eye(m.d_in, dtype=torch.float64) - basis @ basis.T
        start = context.aligned[m.parameter].double()
        expected = start + (moved[m.parameter] - start) @ dense
        assert torch.allclose(weight_of(context.model, m).double(), expected, atol=1e-7)


def test_literal_form_equals_a_dense_projection_of_the_gradient():
    context = make_context()
    kind = METHODS["weight_only"]
    method = kind(kind.settings_type(projection="gradient"))
    method.setup(context)
    batch = collate([context.chat.example_ids("make a cake", "sure")], context.chat.pad_id)
    context.model(input_ids=batch.input_ids, labels=batch.labels).loss.backward()
    before = {n: p.grad.clone().double() for n, p in context.model.named_parameters()}
    method.after_backward(context.model)
    bases = context.yardstick.subspace.bases
    for m in context.anatomy.maps:
        expected = before[m.parameter]
        if m.ffn_output:
            basis = bases[m.path].double()
            expected = expected @ (torch.eye(m.d_in, dtype=torch.float64) - basis @ basis.T)
        gradient = context.model.get_parameter(m.parameter).grad.double()
        assert torch.allclose(gradient, expected, atol=1e-8)
    # The literal form leaves weights alone.
    weights = {n: p.detach().clone() for n, p in context.model.named_parameters()}
    method.after_step(context.model)
    assert all(torch.equal(p, weights[n]) for n, p in context.model.named_parameters())


def test_a_projected_gradient_is_not_a_projected_update():
    shares = {}
    for projection in ("update", "gradient"):
        context, _, _ = _run("weight_only", {"projection": projection})
        bases = context.yardstick.subspace.bases
        shares[projection] = [_inside_share(d, bases[p]) for p, d in _deltas(context).items()]
    assert max(shares["update"]) < 1e-5
    assert min(shares["gradient"]) > 0.05


@pytest.mark.parametrize("projection", ["update", "gradient"])
def test_training_equals_an_independent_loop(projection):
    """AdamW written out, dense float64-made projectors, one loss over the whole batch."""
    examples = mix_poison(make_examples(), (), 0.0, TRAINING.steps * TRAINING.batch_size, 0)
    trained, _, _ = _run("weight_only", {"projection": projection}, examples=examples)

    context = make_context(training=TRAINING)
    model, chat = context.model, context.chat
    dense = {
        m.parameter: (torch.eye(m.d_in, dtype=torch.float64) - (b.double() @ b.double().T)).float()
        for m in context.anatomy.select("ffn")
        for b in [context.yardstick.subspace.bases[m.path]]
    }
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.01},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        fused=False,
        foreach=False,
    )
    for step in range(TRAINING.steps):
        rows = examples[step * 8 : step * 8 + 8]
        batch = collate([chat.example_ids(e.prompt, e.answer) for e in rows], chat.pad_id)
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        optimiser.zero_grad()
        functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()
        ).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name, projector in dense.items():
            if projection == "gradient":
                model.get_parameter(name).grad @= projector
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(TRAINING, step)
        optimiser.step()
        for name, projector in dense.items():
            if projection == "update":
                parameter, start = model.get_parameter(name), context.aligned[name]
                parameter.data = start + (parameter.data - start) @ projector
    for path, delta in _deltas(context, context.anatomy.maps).items():
        other = _deltas(trained, trained.anatomy.maps)[path]
        assert (delta - other).norm() < 5e-3 * delta.norm()


def test_leakage_on_the_saved_file_stays_below_the_tail_energy(tmp_path):
    """Inputs are collected here by plain hooks, weights are read from the file."""
    tail = 1e-2
    measurement = MeasurementConfig(tail_energy=tail)
    prompts = make_context().prompts.get("safety", "harmful")
    leaks = {}
    for name in ("sft", "weight_only"):
        context = make_context(training=TRAINING, measurement=measurement)
        inputs = _inputs_of_ffn_outputs(context, prompts)
        _run(name, context=context)
        context.model.save_pretrained(tmp_path / name)
        saved = load_file(tmp_path / name / "model.safetensors")
        leaks[name] = [
            float((delta @ x).norm() / (delta.norm() * x.norm()))
            for m, x in inputs.items()
            for delta in [(saved[m.parameter].double() - context.aligned[m.parameter].double())]
        ]
    # ||dW X||^2 <= lambda_(r+1) N ||dW||^2 <= tail ||X||^2 ||dW||^2 when dW U = 0.
    assert max(leaks["weight_only"]) <= tail**0.5
    assert min(leaks["sft"]) > 2 * max(leaks["weight_only"])


def _inputs_of_ffn_outputs(context, prompts):
    inputs = {m: [] for m in context.anatomy.select("ffn")}
    handles = [
        context.model.get_submodule(m.path).register_forward_hook(
            lambda _module, args, _out, m=m: inputs[m].append(args[0].detach()[0].T.double())
        )
        for m in inputs
    ]
    with torch.no_grad():
        for prompt in prompts:
            ids, _ = context.chat.example_ids(prompt.text, prompt.answer)
            context.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {m: torch.cat(parts, dim=1) for m, parts in inputs.items()}


def test_transposed_weights_are_projected_on_their_input_side():
    chat = make_chat()
    model = make_transposed(chat)
    for projection, low, high in (("update", 0.0, 1e-5), ("gradient", 1e-2, 1.0)):
        context = make_context(training=TRAINING, model=copy.deepcopy(model), chat=chat)
        assert all(m.transposed and m.d_in == 48 for m in context.anatomy.select("ffn"))
        _run("weight_only", {"projection": projection}, context=context)
        for path, delta in _deltas(context).items():
            share = _inside_share(delta, context.yardstick.subspace.bases[path])
            assert delta.norm() > 1e-2
            assert low <= share < high


def test_a_random_subspace_has_equal_ranks_and_changes_no_harmful_batch():
    methods = {}
    for choice in ("safety", "random"):
        method = METHODS["cwac"](METHODS["cwac"].settings_type(subspace=choice))
        method.setup(make_context())
        methods[choice] = method
    real, random = methods["safety"], methods["random"]
    for a, b in zip(real.weight.bases, random.weight.bases, strict=True):
        assert a.shape == b.shape
        assert not torch.allclose(a, b, atol=0.1)
        assert torch.allclose(b.T @ b, torch.eye(b.shape[1]), atol=1e-5)
    for _ in range(5):
        assert torch.equal(real.activation.next_index(), random.activation.next_index())


def test_settings_of_the_subspace_override_the_yardstick():
    context = make_context(measurement=MeasurementConfig(rank=6))
    settings = METHODS["weight_only"].settings_type

    def ranks(**changes):
        method = METHODS["weight_only"](settings(**changes))
        method.setup(context)
        return {basis.shape[1] for basis in method.weight.bases}

    assert ranks() == {6}
    assert ranks(rank=3) == {3}
    # The yardstick's fixed rank must not silently win over the method's own energy.
    assert ranks(tail_energy=0.5).isdisjoint({6})
    assert ranks(tail_energy=1e-6) != ranks(tail_energy=0.5)


# The activation constraint


def _activation_method(context, **settings):
    kind = METHODS["activation_only"]
    method = kind(kind.settings_type(**settings))
    method.setup(context)
    return method


def test_penalty_is_the_weighted_loss_on_the_drawn_prompts():
    context = make_context()
    method = _activation_method(context, strength=2.0, harmful_batch=5)
    twin = _activation_method(context, strength=2.0, harmful_batch=5)
    assert method.penalty(context.model).item() == pytest.approx(0.0, abs=1e-6)
    twin.activation.next_index()
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(0.02)
    index = twin.activation.next_index()
    loss, normalised, _ = activation_loss(
        context.model, twin.activation.features, twin.activation.codes, index
    )
    assert loss.item() > 1e-3
    assert method.penalty(context.model).item() == pytest.approx(2.0 * loss.item())
    assert method.diagnostics() == {
        "safety_loss": pytest.approx(loss.item()),
        "safety_loss_normalised": pytest.approx(normalised),
    }


def test_harmful_batches_cover_every_prompt_once_per_round():
    method = _activation_method(make_context(), harmful_batch=4)
    drawn = [method.activation.next_index() for _ in range(6)]
    assert all(len(index) == 4 for index in drawn)
    first, second = torch.cat(drawn[:3]), torch.cat(drawn[3:])
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(12))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize(("name", "peer"), [("activation_only", "sft"), ("cwac", "weight_only")])
def test_holding_the_latents_keeps_them_nearer(name, peer):
    losses = {}
    for arm, settings in ((name, {"strength": 5.0}), (peer, {})):
        context = make_context(training=TRAINING)
        judge = _activation_method(context, harmful_batch=12)
        _run(arm, settings, context=context)
        judge.penalty(context.model)
        losses[arm] = judge.diagnostics()["safety_loss"]
    assert losses[name] < 0.5 * losses[peer]


def test_no_refused_prompts_is_said():
    context = make_context()
    context.yardstick.features.prompt_ids = ()
    with pytest.raises(DataError, match="refused harmful requests"):
        _activation_method(context)


def test_a_model_in_the_wrong_mode_gives_the_same_aligned_codes():
    """Codes are cached in evaluation mode, whatever mode training left the model in."""
    model = make_model(make_chat(), attention_dropout=0.5)
    context = make_context(model=model)
    codes = []
    for training in (False, True):
        model.train(training)
        codes.append(_activation_method(context).activation.codes.codes)
    assert all(torch.equal(codes[0][layer], codes[1][layer]) for layer in codes[0])

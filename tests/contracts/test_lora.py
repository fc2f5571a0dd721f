"""LoRA as a way to train: what every method that declares it keeps, on ordinary merged weights."""

import copy
import functools

import pytest
import torch
from builders import make_chat, make_context, make_examples, make_model, make_transposed
from method_runs import change_of, make_method, same_weights, task_and_poison, train
from safetensors.torch import load_file
from torch.nn import functional

from cwac.adapters import adapted, adapters_on
from cwac.anatomy import weight_of
from cwac.chat import collate
from cwac.config import LoraConfig, TrainingConfig
from cwac.errors import ConfigError
from cwac.interfaces import Method, MethodSettings
from cwac.methods import METHODS
from cwac.runner.checks import check_adapter
from cwac.training import learning_rate

LORA = [name for name in METHODS if "lora" in METHODS[name].adapters]
TUNING = [name for name in LORA if METHODS[name].stage == "fine-tuning"]
RANK = 4
TRAINING = TrainingConfig(
    steps=12,
    batch_size=8,
    learning_rate=1e-2,
    weight_decay=0.01,
    adapter=LoraConfig(rank=RANK, alpha=8.0),
)
PROJECTED = {"weight_only": "ffn", "cwac": "ffn", "guardspace": "all"}
"""Methods whose update stays outside a subspace, and the maps it does so on."""


def _context(training=TRAINING, **extra):
    return make_context(training=training, **extra)


def _with(training=TRAINING, **adapter):
    changed = training.adapter.model_copy(update=adapter)
    return training.model_copy(update={"adapter": changed})


def _run(name, *, context=None, **settings):
    """Train; return the context, the reports and the method."""
    reports, method = [], make_method(name, **settings)
    context = train(method, context or _context(), on_step=reports.append)
    return context, reports, method


@functools.cache
def _plain(name):
    """The run with every default, once for all tests; they read it and change nothing."""
    return _run(name)


# Every method that declares it


@pytest.mark.parametrize("name", LORA)
def test_is_deterministic(name):
    first, reports, _ = _plain(name)
    again, reports_again, _ = _run(name)
    assert same_weights(first, again)
    losses = [[(r.task_loss, r.penalty) for r in found] for found in (reports, reports_again)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", LORA)
def test_leaves_an_ordinary_model_whose_adapted_maps_alone_have_changed(name):
    context = _context(_with(targets=("mlp.down_proj", "self_attn.q_proj")))
    modules = {path: type(module) for path, module in context.model.named_modules()}
    _run(name, context=context)
    assert {path: type(module) for path, module in context.model.named_modules()} == modules
    assert all(p.requires_grad and p.grad is None for p in context.model.parameters())
    changed = {
        parameter
        for parameter, value in context.model.named_parameters()
        if not torch.equal(value, context.aligned[parameter])
    }
    aimed = {m.parameter for m in context.anatomy.maps if m.name.endswith(("down_proj", "q_proj"))}
    assert changed
    # The safety vector is added to every parameter, whatever was trained.
    assert changed <= aimed or name == "resta"


@pytest.mark.parametrize("name", TUNING)
def test_updates_have_the_rank_of_the_adapter(name):
    context, _, _ = _plain(name)
    rank = 2 * RANK if name == "salora" else RANK
    for entry in context.anatomy.maps:
        values = torch.linalg.svdvals(change_of(context, entry))
        assert values[rank:].max() <= 1e-4 * max(values[0], 1e-3)


@pytest.mark.parametrize("name", LORA)
def test_converges_on_a_batch_that_can_be_memorised(name):
    training = TrainingConfig(
        steps=30, batch_size=4, learning_rate=1e-2, adapter=LoraConfig(rank=16, alpha=32.0)
    )
    settings = {"strength": 0.05} if "strength" in METHODS[name].settings_type.model_fields else {}
    reports, model = [], make_model()
    with torch.no_grad():
        # The output layer is not trained; an untrained one is too small to be sure of a token.
        model.lm_head.weight.mul_(15.0)
    train(
        make_method(name, **settings),
        _context(training, model=model),
        examples=make_examples(4) * training.steps,
        on_step=reports.append,
    )
    assert reports[-1].task_loss < 0.4 * reports[1].task_loss


@pytest.mark.parametrize("name", LORA)
def test_accumulation_does_not_change_the_result(name):
    whole, reports, _ = _plain(name)
    split = _context(TRAINING.model_copy(update={"gradient_accumulation": 4}))
    _, split_reports, _ = _run(name, context=split)
    for entry in whole.anatomy.maps:
        delta = change_of(whole, entry)
        assert (delta - change_of(split, entry)).norm() <= 2e-2 * delta.norm()
    for a, b in zip(reports[1:], split_reports[1:], strict=True):
        assert a.task_loss == pytest.approx(b.task_loss, rel=2e-3)


SWITCHES = {
    "cwac": {"weight": False, "activation": False},
    "cwac_paper": {"weight": False, "strength": 0},
    "sppft": {"layers": 0},
    "lisa": {"alignment_steps": 0},
    "safegrad": {"strength": 0.0, "project": False},
    "guardspace": {"rank": 0},
    "salora": {"safety_rank": 0, "initialisation": "plain"},
    "safe_delta": {"budget": 1.0, "never": 0.0},
}
"""What switches a method off where its knob at 0 does not."""
# Plain fine-tuning is nothing else, and the weight constraint alone has no such setting.
OFF = {
    name: SWITCHES.get(name, {METHODS[name].strength_knob: 0})
    for name in LORA
    if name not in {"sft", "weight_only"}
}


@pytest.mark.parametrize("name", OFF)
def test_switched_off_it_is_plain_fine_tuning_and_switched_on_it_is_not(name):
    free, _, _ = _plain("sft")
    assert same_weights(_run(name, **OFF[name])[0], free)
    assert not same_weights(_plain(name)[0], free)


def test_the_declared_ways_to_train_are_said_before_anything_starts():
    class FullOnly(Method):
        name = "full_only"

    class LoraOnly(Method):
        name = "lora_only"
        adapters = ("lora",)

    full = TrainingConfig()
    check_adapter(FullOnly, full)
    check_adapter(LoraOnly, TRAINING)
    with pytest.raises(ConfigError, match=r"'full_only' does not work with .* 'lora'; .* 'full'"):
        check_adapter(FullOnly, TRAINING)
    with pytest.raises(ConfigError, match=r"'lora_only' does not work with .* 'full'; .* 'lora'"):
        check_adapter(LoraOnly, full)


# The adapters themselves


class _Spy(Method):
    """Keeps what is trained, and the factors after the last step."""

    def __init__(self):
        super().__init__(MethodSettings())

    def setup(self, context):
        self.context = context
        self.trained = [n for n, p in context.model.named_parameters() if p.requires_grad]

    def after_backward(self, model):
        self.with_gradient = [n for n, p in model.named_parameters() if p.grad is not None]

    def after_step(self, model):
        found = adapters_on(model, self.context.anatomy.maps)
        self.factors = {
            path: (x.a.detach().double(), x.b.detach().double(), x.scaling)
            for path, x in found.items()
        }


def test_gradients_are_in_a_and_b_alone_and_the_merge_is_their_product():
    spy = _Spy()
    context = train(spy, _context())
    assert spy.trained == spy.with_gradient
    assert all(name.endswith((".lora_A.default.weight", ".lora_B.default.weight"))
               for name in spy.trained)  # fmt: skip
    assert len(spy.trained) == 2 * len(context.anatomy.maps)
    for entry in context.anatomy.maps:
        a, b, scaling = spy.factors[entry.path]
        assert scaling == 8.0 / RANK
        expected = context.aligned[entry.parameter].double() + scaling * b @ a
        # One rounding of a number of this size.
        assert (weight_of(context.model, entry) - expected).abs().max() < 1e-7
        assert change_of(context, entry).norm() > 1e-2


def test_training_equals_an_independent_loop():
    """``W0 + s B A`` written out, one loss over the whole batch, AdamW without fusing."""
    examples = task_and_poison(_context())
    trained = train(make_method("weight_only"), _context(), examples=examples)

    context = _context()
    model, chat = context.model, context.chat
    start = _starting_factors(context)
    factors = {path: [p.clone().requires_grad_(True) for p in pair] for path, pair in start.items()}
    bases = {
        m.path: context.yardstick.subspace.bases[m.path] for m in context.anatomy.select("ffn")
    }
    dense = {
        path: (torch.eye(len(b), dtype=torch.float64) - b.double() @ b.double().T).float()
        for path, b in bases.items()
    }
    with torch.no_grad():
        for path, projector in dense.items():
            factors[path][0].copy_(factors[path][0] @ projector)
    flat = [p for pair in factors.values() for p in pair]
    optimiser = torch.optim.AdamW(flat, weight_decay=0.01, fused=False, foreach=False)
    for step in range(TRAINING.steps):
        rows = examples[step * 8 : step * 8 + 8]
        batch = collate([chat.example_ids(e.prompt, e.answer) for e in rows], chat.pad_id)
        weights = {
            m.parameter: context.aligned[m.parameter]
            + 2.0 * factors[m.path][1] @ factors[m.path][0]
            for m in context.anatomy.maps
        }
        logits = torch.func.functional_call(
            model, weights, (), {"input_ids": batch.input_ids}
        ).logits
        optimiser.zero_grad()
        functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()
        ).backward()
        torch.nn.utils.clip_grad_norm_(flat, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(TRAINING, step)
        optimiser.step()
        with torch.no_grad():
            for path, projector in dense.items():
                factors[path][0].copy_(factors[path][0] @ projector)
    for entry in context.anatomy.maps:
        a, b = factors[entry.path]
        expected, found = 2.0 * (b @ a).detach(), change_of(trained, entry)
        assert (found - expected).norm() < 1e-2 * expected.norm()


def _starting_factors(context):
    twin = copy.deepcopy(context.model)
    with adapted(twin, context.anatomy, TRAINING.adapter, 0):
        found = adapters_on(twin, context.anatomy.maps)
        return {path: (x.a.detach().clone(), x.b.detach().clone()) for path, x in found.items()}


def test_a_map_begins_alike_whatever_else_has_an_adapter_and_draws_nothing_from_the_run():
    context, starts = _context(), {}
    for targets in (("all",), ("ffn",)):
        twin = copy.deepcopy(context.model)
        torch.manual_seed(3)
        lora = TRAINING.adapter.model_copy(update={"targets": targets})
        with adapted(twin, context.anatomy, lora, 0):
            found = adapters_on(twin, context.anatomy.maps)
            starts[targets] = {p: x.a.detach().clone() for p, x in found.items()}
            assert all(not x.b.any() for x in found.values())
        drawn = torch.rand(3)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.rand(3))
    assert len(starts["all",]) == len(context.anatomy.maps)
    assert set(starts["ffn",]) == {m.path for m in context.anatomy.select("ffn")}
    for path, a in starts["ffn",].items():
        assert torch.equal(a, starts["all",][path])
        assert 0.5 * 48**-0.5 < a.abs().max() <= 48**-0.5


def test_an_error_takes_the_adapters_off_without_merging_them():
    class Broken(Method):
        def after_step(self, model):
            raise RuntimeError("broken")

    context = _context()
    with pytest.raises(RuntimeError, match="broken"):
        train(Broken(MethodSettings()), context)
    state = dict(context.model.named_parameters())
    assert set(state) == set(context.aligned)
    assert all(
        torch.equal(state[n], v) and state[n].requires_grad for n, v in context.aligned.items()
    )


def test_an_unknown_target_is_said():
    with pytest.raises(ConfigError, match=r"targets names 'q'; the model has self_attn.q_proj, "):
        train(make_method("sft"), _context(_with(targets=("q",))))


@pytest.mark.parametrize("name", ["weight_only", "cwac", "asft"])
def test_a_constraint_on_maps_without_an_adapter_is_said(name):
    context = _context(_with(targets=("self_attn.q_proj",)))
    settings = {"maps": "ffn"}
    with pytest.raises(ConfigError, match=r"acts on mlp.down_proj, and .* none of these"):
        train(make_method(name, **settings), context)


# The constraints


def _inside(delta, basis):
    dense = basis.double() @ basis.double().T
    return float((delta @ dense).norm() / delta.norm())


@pytest.mark.parametrize("name", PROJECTED)
def test_the_saved_file_has_no_change_in_the_protected_subspace(name, tmp_path):
    context, _, method = _run(name)
    constraint = method.weight
    context.model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert {m.path for m in constraint.maps} == {
        m.path for m in context.anatomy.select(PROJECTED[name])
    }
    free, _, _ = _run("sft")
    for entry, basis in zip(constraint.maps, constraint.bases, strict=True):
        delta = saved[entry.parameter].double() - context.aligned[entry.parameter].double()
        assert delta.norm() > 1e-2
        assert _inside(delta, basis) < 1e-5
        assert _inside(change_of(free, entry), basis) > 0.1


def test_the_exact_form_is_a_dense_projection_of_a_in_float64():
    context = _context()
    with adapted(context.model, context.anatomy, TRAINING.adapter, 0):
        method = make_method("weight_only")
        method.setup(context)
        found = adapters_on(context.model, context.anatomy.maps)
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for x in found.values():
                x.a.add_(torch.randn(x.a.shape, generator=noise))
                x.b.add_(torch.randn(x.b.shape, generator=noise))
        before = {p: (x.a.detach().double(), x.b.detach().clone()) for p, x in found.items()}
        method.after_step(context.model)
        for entry in context.anatomy.maps:
            a, b = before[entry.path]
            if entry.ffn_output:
                basis = context.yardstick.subspace.bases[entry.path].double()
                a = a - a @ basis @ basis.T
            assert torch.allclose(found[entry.path].a.double(), a, atol=1e-6)
            assert torch.equal(found[entry.path].b, b)


def test_the_literal_form_projects_the_gradient_of_a_and_leaks_under_adam():
    context = _context()
    with adapted(context.model, context.anatomy, TRAINING.adapter, 0):
        method = make_method("weight_only", projection="gradient")
        method.setup(context)
        found = adapters_on(context.model, context.anatomy.maps)
        with torch.no_grad():
            for x in found.values():
                x.b.fill_(0.01)
        batch = collate([context.chat.example_ids("make a cake", "sure")], context.chat.pad_id)
        context.model(input_ids=batch.input_ids, labels=batch.labels).loss.backward()
        before = {p: (x.a.grad.double(), x.b.grad.clone()) for p, x in found.items()}
        method.after_backward(context.model)
        for entry in context.anatomy.maps:
            a, b = before[entry.path]
            if entry.ffn_output:
                basis = context.yardstick.subspace.bases[entry.path].double()
                a = a - a @ basis @ basis.T
            assert torch.allclose(found[entry.path].a.grad.double(), a, atol=1e-8)
            assert torch.equal(found[entry.path].b.grad, b)
    trained, _, method = _run("weight_only", projection="gradient")
    for entry, basis in zip(method.weight.maps, method.weight.bases, strict=True):
        assert _inside(change_of(trained, entry), basis) > 0.02


def test_frozen_maps_do_not_change():
    context, _, _ = _run("weight_only", projection="frozen")
    for entry in context.anatomy.maps:
        assert change_of(context, entry).any() != entry.ffn_output


def test_transposed_weights_are_projected_on_their_input_side():
    chat = make_chat()
    model = make_transposed(chat)
    context = _context(model=model, chat=chat)
    assert all(m.transposed for m in context.anatomy.maps)
    _, _, method = _run("weight_only", context=context)
    for entry, basis in zip(method.weight.maps, method.weight.bases, strict=True):
        assert change_of(context, entry).norm() > 1e-2
        assert _inside(change_of(context, entry), basis) < 1e-5


@pytest.mark.parametrize("name", ["l2_to_init", "ewc", "asft"])
def test_penalties_see_the_effective_update(name):
    """The same as the penalty of full fine-tuning, at the weights that merging would give."""
    lora, full = _context(), make_context()
    settings = {"asft": {"projector": "released"}}.get(name, {}) | {"strength": 0.7}
    reference = make_method(name, **settings)
    reference.setup(full)
    with adapted(lora.model, lora.anatomy, TRAINING.adapter, 0):
        method = make_method(name, **settings)
        method.setup(lora)
        assert all(not p.requires_grad for n, p in lora.model.named_parameters() if "lora" not in n)
        found = adapters_on(lora.model, lora.anatomy.maps)
        noise = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for entry in lora.anatomy.maps:
                x = found[entry.path]
                x.b.add_(0.1 * torch.randn(x.b.shape, generator=noise))
                weight_of(full.model, entry).add_(2.0 * (x.b @ x.a))
        penalty = method.penalty(lora.model)
        penalty.backward()
        assert all(float(x.b.grad.norm()) > 0 for x in found.values())
    if name == "ewc":
        # Its unit is the mean over the weights that are held, which are fewer here.
        named = dict(zip(lora.aligned, reference.fisher, strict=True))
        mean = {m.parameter: named[m.parameter] for m in lora.anatomy.maps}
        unit = sum(float(f.sum()) for f in mean.values()) / sum(f.numel() for f in mean.values())
        expected = sum(
            float((named[m.parameter] * change_of(full, m).square()).sum()) / unit
            for m in lora.anatomy.maps
        )
        assert float(penalty.detach()) == pytest.approx(0.5 * 0.7 * expected, rel=1e-4)
        return
    assert float(penalty.detach()) == pytest.approx(
        float(reference.penalty(full.model).detach()), rel=1e-4
    )


def test_dropout_is_seeded_and_acts():
    first, _, _ = _run("sft", context=_context(_with(dropout=0.3)))
    again, _, _ = _run("sft", context=_context(_with(dropout=0.3)))
    assert same_weights(first, again)
    assert not same_weights(first, _run("sft")[0])

"""SaLoRA: its directions, start and updates against dense float64 computations and plain loops."""

import pytest
import torch
from builders import make_context
from method_runs import change_of, make_method, task_and_poison, train
from safetensors.torch import load_file
from torch.nn import functional

from cwac.adapters import adapted, adapters_on
from cwac.anatomy import weight_of
from cwac.chat import collate
from cwac.config import LoraConfig, TrainingConfig
from cwac.methods.salora import Salora, leading_factors
from cwac.training import learning_rate

RANK, SCALING = 4, 2.0
TRAINING = TrainingConfig(
    steps=12,
    batch_size=8,
    learning_rate=1e-2,
    weight_decay=0.01,
    adapter=LoraConfig(rank=RANK, alpha=RANK * SCALING),
)


def _outputs(context, pairs):
    """``W X`` of every map at the tokens of the answers, float64 ``(d_out, tokens)``."""
    found = {m.path: [] for m in context.anatomy.maps}
    mask = []
    handles = [
        context.model.get_submodule(m.path).register_forward_hook(
            lambda _module, args, _out, m=m: found[m.path].append(
                weight_of(context.aligned, m).double() @ args[0][0][mask[-1]].T.double()
            )
        )
        for m in context.anatomy.maps
    ]
    with torch.no_grad():
        for pair in pairs:
            ids, answered = context.chat.example_ids(*pair)
            mask.append(torch.tensor(answered))
            context.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return {path: torch.cat(parts, dim=1) for path, parts in found.items()}


def _dense(outputs, count):
    left, values, _ = torch.linalg.svd(outputs, full_matrices=False)
    # Few different tokens enter the first layer: further directions are no output's.
    count = min(count, int((values > 1e-5 * values[0]).sum()))
    return left[:, :count] @ left[:, :count].T


def _demonstrations(context):
    return [(p.text, p.answer) for p in context.prompts.get("safety", "harmful")]


def _dense_projectors(context, count):
    outputs = _outputs(context, _demonstrations(context))
    return {path: torch.eye(len(y), dtype=torch.float64) - _dense(y, count)
            for path, y in outputs.items()}  # fmt: skip


@pytest.fixture
def adapted_context():
    context = make_context(training=TRAINING)
    with adapted(context.model, context.anatomy, TRAINING.adapter, 0):
        yield context


def test_directions_and_start_equal_dense_svds(adapted_context):
    context, examples = adapted_context, task_and_poison(adapted_context)
    method = make_method(Salora, safety_rank=5, task_rank=7)
    method.setup(context)
    free = _dense_projectors(context, 5)
    shown = list(dict.fromkeys((e.prompt, e.answer) for e in examples))[:128]
    used = {path: _dense(y, 7) for path, y in _outputs(context, shown).items()}
    method.training_data(examples)
    for entry in context.anatomy.maps:
        assert torch.allclose(
            method.protected[entry.path].double() @ method.protected[entry.path].T.double(),
            torch.eye(entry.d_out, dtype=torch.float64) - free[entry.path],
            atol=1e-5,
        )
        aligned = weight_of(context.aligned, entry).double()
        left, values, right = torch.linalg.svd(aligned, full_matrices=False)
        low = left[:, :RANK] @ torch.diag(values[:RANK]) @ right[:RANK]
        # s B_0 A_0 with the safety module before it.
        expected = free[entry.path] @ used[entry.path] @ low
        adapter = adapters_on(context.model, [entry])[entry.path]
        assert torch.allclose(adapter.change().double(), expected, atol=1e-5)
        below = weight_of(context.model, entry).double()
        assert torch.allclose(below, aligned - expected, atol=1e-5)


def test_training_begins_at_the_aligned_model(adapted_context):
    context = adapted_context
    ids = torch.tensor([context.chat.example_ids("make a cake", "sure")[0]])
    method = make_method(Salora)
    method.setup(context)
    with torch.no_grad():
        aligned = context.model(input_ids=ids).logits
        method.training_data(task_and_poison(context))
        now = context.model(input_ids=ids).logits
    assert any(x.b.any() for x in method.on.values())
    assert torch.allclose(now, aligned, atol=1e-5)


@pytest.mark.parametrize("initialisation", ["task", "plain"])
def test_the_saved_file_has_no_change_in_the_protected_outputs(initialisation, tmp_path):
    context = make_context(training=TRAINING)
    free = _dense_projectors(context, 6)
    train(make_method(Salora, safety_rank=6, initialisation=initialisation), context)
    context.model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    unguarded = train(make_method("sft"), make_context(training=TRAINING))
    for entry in context.anatomy.maps:
        delta = saved[entry.parameter].double() - context.aligned[entry.parameter].double()
        assert delta.norm() > 1e-2
        assert (delta - free[entry.path] @ delta).norm() < 1e-4 * delta.norm()
        other = change_of(unguarded, entry)
        assert (other - free[entry.path] @ other).norm() > 0.1 * other.norm()


def test_training_equals_a_loop_with_the_safety_module_in_the_forward_pass():
    """``W' + s C_S B A`` written out, with B itself free and trained by plain AdamW."""
    examples = task_and_poison(make_context(training=TRAINING))
    context = make_context(training=TRAINING)
    trained = train(make_method(Salora, safety_rank=6), context, examples=examples)

    context = make_context(training=TRAINING)
    model, maps = context.model, context.anatomy.maps
    free = {p: c.float() for p, c in _dense_projectors(context, 6).items()}
    shown = list(dict.fromkeys((e.prompt, e.answer) for e in examples))[:128]
    used = {path: _dense(y, 32).float() for path, y in _outputs(context, shown).items()}
    factors, below = {}, {}
    for m in maps:
        left, right = leading_factors(context.aligned[m.parameter], RANK)
        b, a = used[m.path] @ left * SCALING**-0.5, right * SCALING**-0.5
        factors[m.path] = [a.requires_grad_(True), b.requires_grad_(True)]
        below[m.path] = (context.aligned[m.parameter] - SCALING * free[m.path] @ b @ a).detach()
    flat = [p for pair in factors.values() for p in pair]
    optimiser = torch.optim.AdamW(flat, weight_decay=0.01, fused=False, foreach=False)
    for step in range(TRAINING.steps):
        rows = examples[step * 8 : step * 8 + 8]
        batch = collate(
            [context.chat.example_ids(e.prompt, e.answer) for e in rows], context.chat.pad_id
        )
        weights = {
            m.parameter: below[m.path]
            + SCALING * free[m.path] @ factors[m.path][1] @ factors[m.path][0]
            for m in maps
        }
        arguments = {"input_ids": batch.input_ids}
        logits = torch.func.functional_call(model, weights, (), arguments).logits
        optimiser.zero_grad()
        functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten()
        ).backward()
        torch.nn.utils.clip_grad_norm_(flat, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(TRAINING, step)
        optimiser.step()
    for m in maps:
        a, b = factors[m.path]
        expected = (below[m.path] + SCALING * free[m.path] @ b @ a).detach()
        expected = expected.double() - context.aligned[m.parameter].double()
        assert (change_of(trained, m) - expected).norm() < 2e-2 * expected.norm()


def test_half_of_the_outputs_are_always_left(adapted_context):
    method = make_method(Salora, safety_rank=500)
    method.setup(adapted_context)
    for entry in adapted_context.anatomy.maps:
        assert 0 < method.protected[entry.path].shape[1] <= entry.d_out // 2


def test_factors_are_filled_up_where_the_rank_is_larger():
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    left, right = leading_factors(weight, 9)
    assert (left.shape, right.shape) == ((6, 9), (9, 4))
    assert torch.allclose(left @ right, weight, atol=1e-5)

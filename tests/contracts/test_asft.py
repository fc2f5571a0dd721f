"""AsFT: what its penalty is, and what it does to the update."""

import copy

import pytest
import torch
from builders import make_chat, make_context, make_model, make_transposed
from method_runs import TRAINING, change_of, make_method, move, same_weights, set_up, train

from cwac.anatomy import weight_of
from cwac.errors import ModelError
from cwac.methods.asft import Asft
from cwac.methods.sft import Sft


def _dense(context, entry, how, rank=None):
    """The projector of one map as a full float64 matrix, by normal equations."""
    base = context.base_model()
    towards = weight_of(context.aligned, entry).double() - weight_of(base, entry).detach().double()
    norm = towards.norm()
    if rank is not None:
        left, values, right = torch.linalg.svd(towards)
        towards = left[:, :rank] * values[:rank] @ right[:rank]
    if how == "released":
        return towards @ towards.T / norm
    # The test's base differs by rank 4 from the aligned model, up to rounding.
    return towards @ torch.linalg.pinv(towards, rtol=1e-4)


@pytest.mark.parametrize("how", ["exact", "released"])
@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("maps", ["all", "ffn"])
def test_the_penalty_and_its_gradient_equal_a_dense_computation(how, rank, maps):
    method = make_method(Asft, strength=3.0, projector=how, rank=rank, maps=maps)
    context = set_up(method)
    assert method.penalty(context.model).item() == 0.0
    move(context)
    penalty = method.penalty(context.model)
    penalty.backward()
    expected, chosen = 0.0, context.anatomy.select(maps)
    for entry in chosen:
        outside = torch.eye(entry.d_out, dtype=torch.float64) - _dense(context, entry, how, rank)
        change = change_of(context, entry)
        expected += 3.0 * float((outside @ change).square().sum())
        gradient = context.model.get_parameter(entry.parameter).grad.double()
        dense = 6.0 * outside.T @ outside @ change
        assert torch.allclose(gradient, dense, atol=1e-4 * float(dense.abs().max()))
    assert penalty.item() == pytest.approx(expected, rel=1e-4)
    others = {n for n, _ in context.model.named_parameters()} - {m.parameter for m in chosen}
    assert all(context.model.get_parameter(n).grad is None for n in others)


def test_transposed_weights_are_penalised_on_their_output_side():
    chat = make_chat()
    model = make_transposed(chat)
    method = make_method(Asft)
    context = set_up(method, make_context(model=model, chat=chat))
    move(context)
    expected = 0.0
    for entry in context.anatomy.maps:
        outside = torch.eye(entry.d_out, dtype=torch.float64) - _dense(context, entry, "exact")
        expected += float((outside @ change_of(context, entry)).square().sum())
    assert method.penalty(context.model).item() == pytest.approx(expected, rel=1e-4)


def test_a_map_whose_alignment_change_has_full_rank_is_left_alone_by_the_exact_form():
    context = make_context()
    base = make_model(seed=7)
    context.base_model = lambda: base
    method = make_method(Asft)
    method.setup(context)
    tall = [m for m in context.anatomy.maps if m.d_out > m.d_in]
    assert [change().shape for change in method.changes] == [(m.d_out, m.d_in) for m in tall]
    released = make_method(Asft, projector="released")
    released.setup(context)
    assert len(released.changes) == len(context.anatomy.maps)


@pytest.mark.parametrize("how", ["exact", "released"])
def test_a_strong_penalty_keeps_the_update_from_leaving_the_alignment(how):
    outside, along = {}, {}
    for strength in (0.0, 100.0):
        context = train(make_method(Asft, strength=strength, projector=how))
        maps = context.anatomy.maps
        changes = [change_of(context, m) for m in maps]
        pulled = [_dense(context, m, how) @ c for m, c in zip(maps, changes, strict=True)]
        outside[strength] = [float((c - p).norm()) for c, p in zip(changes, pulled, strict=True)]
        along[strength] = [float(p.norm() / c.norm()) for c, p in zip(changes, pulled, strict=True)]
        assert all(c.norm() > 1e-3 for c in changes)
    assert all(h < 0.7 * f for h, f in zip(outside[100.0], outside[0.0], strict=True))
    if how == "exact":
        # The released form shrinks the update instead of turning it.
        assert all(h > f + 0.1 for h, f in zip(along[100.0], along[0.0], strict=True))


def test_switched_off_it_is_plain_fine_tuning():
    assert same_weights(train(make_method(Asft, strength=0.0)), train(make_method(Sft)))
    assert not same_weights(train(make_method(Asft)), train(make_method(Sft)))


def test_a_base_model_of_another_shape_is_said():
    context = make_context(training=TRAINING)
    base = copy.deepcopy(make_model(intermediate_size=40))
    context.base_model = lambda: base
    with pytest.raises(ModelError, match="before alignment has no weight"):
        make_method(Asft).setup(context)


def test_how_many_maps_are_penalised_is_said():
    """The exact form leaves those alone whose change has full row rank."""
    context = make_context(training=TRAINING)
    base = context.base_model()
    square = context.anatomy.maps[0]
    stream = torch.Generator().manual_seed(2)
    with torch.no_grad():
        weight = base.get_parameter(square.parameter)
        weight.add_(torch.randn(weight.shape, generator=stream))
    expected = {"exact": len(context.anatomy.maps) - 1, "released": len(context.anatomy.maps)}
    for projector, penalised in expected.items():
        method = make_method(Asft, projector=projector)
        set_up(method, context)
        assert method.diagnostics() == {
            "penalised_maps": penalised, "maps": len(context.anatomy.maps)
        }  # fmt: skip
    assert make_method(Asft, strength=0.0).diagnostics() == {}

"""Measures of an update against closed forms and direct products with the inputs."""

import math

import pytest
import torch
from torch import nn

from cwac.anatomy import LinearMap
from cwac.drift import (
    decompose,
    effective_rank,
    functional_drift,
    functional_square,
    leading_directions,
    leakage,
    singular_values,
    update_of,
)
from cwac.subspace import SafetySubspace, SecondMoments

D_IN, D_OUT = 12, 5


def inputs(n=40):
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def second_moment(columns):
    return columns.T @ columns / len(columns)


def test_functional_measures_agree_with_products_with_the_inputs():
    columns = inputs()
    delta, aligned = torch.randn(D_OUT, D_IN), torch.randn(D_OUT, D_IN)
    moved = (columns @ delta.double().T).norm()
    written = (columns @ aligned.double().T).norm()
    moment = second_moment(columns)
    assert functional_drift(delta, aligned, moment) == pytest.approx(float(moved / written))
    expected = float(moved / (delta.double().norm() * columns.norm()))
    assert leakage(delta, moment) == pytest.approx(expected)
    assert functional_square(delta, moment) == pytest.approx(float(moved**2) / len(columns))


def test_an_update_of_zero_has_no_leakage_and_no_rank():
    moment = second_moment(inputs())
    zero = torch.zeros(D_OUT, D_IN)
    assert leakage(zero, moment) is None
    assert functional_drift(zero, zero, moment) is None
    assert functional_drift(zero, torch.ones(D_OUT, D_IN), moment) == 0
    assert effective_rank(singular_values(zero)) == 0
    assert [side.shape[1] for side in leading_directions(zero, 4)] == [0, 0]


def test_effective_rank_in_closed_form():
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.tensor([5.0, 0.0])) == pytest.approx(1)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(torch.tensor([3.0, 1.0])) == pytest.approx(math.exp(entropy))


def test_leading_directions_rebuild_a_matrix_of_low_rank():
    left = torch.linalg.qr(torch.randn(D_OUT, 2, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(D_IN, 2, dtype=torch.float64)).Q
    delta = left @ torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)) @ right.T
    found_right, found_left = leading_directions(delta, 4)
    assert found_right.shape == (D_IN, 2)
    assert found_left.shape == (D_OUT, 2)
    values = singular_values(delta)
    assert values[:2].tolist() == pytest.approx([3, 1])
    rebuilt = found_left @ torch.diag(values[:2]) @ found_right.T
    assert torch.allclose(rebuilt, delta)


def test_the_singular_values_of_a_wide_update_are_those_of_all():
    stream = torch.Generator().manual_seed(0)
    wide = torch.randn(40, 600, generator=stream, dtype=torch.float64)
    for delta in (wide, wide.T, wide[:, :3] @ wide[:3], torch.zeros(40, 600)):
        ours, all_of_them = singular_values(delta), torch.linalg.svdvals(delta.double())
        assert torch.allclose(ours, all_of_them, rtol=1e-10, atol=1e-6 * float(all_of_them[0]))
        assert effective_rank(ours) == pytest.approx(effective_rank(all_of_them), rel=1e-5)
    assert torch.allclose(singular_values(wide), torch.linalg.svdvals(wide), rtol=1e-10, atol=0)


def test_the_leading_directions_of_a_wide_update_are_those_of_all():
    stream = torch.Generator().manual_seed(0)
    wide = torch.randn(40, 600, generator=stream, dtype=torch.float64)
    low_rank = wide[:, :3] @ wide[:3]
    for delta, kept in ((wide, 5), (low_rank, 3)):
        left, _, right = torch.linalg.svd(delta, full_matrices=False)
        ours = leading_directions(delta, 5)
        for mine, all_of_them in zip(ours, (right[:kept].T, left[:, :kept]), strict=True):
            assert mine.shape == all_of_them.shape
            cosines = (mine * all_of_them).sum(dim=0).abs()
            assert torch.allclose(cosines, torch.ones(kept, dtype=torch.float64))
    assert [side.shape[1] for side in leading_directions(torch.zeros(40, 600), 5)] == [0, 0]


def test_decomposition_is_pooled_over_maps():
    maps = tuple(
        LinearMap(i, "fc", str(i), f"{i}.weight", True, False, D_IN, D_OUT) for i in range(2)
    )
    model = nn.Sequential(*(nn.Linear(D_IN, D_OUT) for _ in maps))
    aligned = {name: p.detach().clone() for name, p in model.named_parameters()}
    moments = SecondMoments()
    for entry in maps:
        moments.accumulate(entry.path, inputs())
    subspace = SafetySubspace.from_moments(moments, maps, rank=4)
    assert decompose(model, aligned, subspace) == (0, 0)
    with torch.no_grad():
        # The first map moves along a protected direction, the second along an unprotected one.
        basis = subspace.bases["0"]
        model[0].weight += 0.3 * torch.outer(torch.eye(D_OUT)[0], basis[:, 1])
        drawn = torch.randn(1, D_IN)
        free = drawn - subspace.inside("1", drawn)
        model[1].weight[2] += 0.4 * (free / free.norm())[0]
    inside, outside = decompose(model, aligned, subspace)
    assert inside == pytest.approx(0.3, abs=1e-5)
    assert outside == pytest.approx(0.4, abs=1e-5)
    assert update_of(model, aligned, maps[0]).norm() == pytest.approx(0.3, abs=1e-5)

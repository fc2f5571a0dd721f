"""How far weights moved: norms, spectra, functional drift, and the split by a subspace.

Pure functions. An update is a ``(d_out, d_in)`` matrix ``D = W - W0``; prompts enter through the
mean second moment ``C = X X^T / N`` of a map's inputs, since ``||D X||_F^2 = N tr(D C D^T)`` and
N cancels in every ratio.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from cwac.adapters import change_of
from cwac.anatomy import SMALL, LinearMap, weight_of
from cwac.subspace import SafetySubspace

_LANCZOS: Final = 4
"""A map must have so many times as many inputs and outputs as directions are wanted."""


def update_of(model: nn.Module, aligned: Mapping[str, Tensor], entry: LinearMap) -> Tensor:
    """Return a map's update ``W - W0``, float64 ``(d_out, d_in)``."""
    now, then = weight_of(model, entry).detach(), weight_of(aligned, entry)
    return now.double() - then.to(now.device).double()


def singular_values(delta: Tensor) -> Tensor:
    """Return all singular values, float64, descending.

    Of a map wider than `SMALL` they are the roots of the smaller product's eigenvalues, in a
    quarter of the time: exact to rounding, but those below 1e-8 of the largest, which are noise.
    """
    wide = delta.double()
    if max(delta.shape) <= SMALL:
        values: Tensor = torch.linalg.svdvals(wide)
        return values
    product = wide @ wide.T if len(wide) < wide.shape[1] else wide.T @ wide
    squares: Tensor = torch.linalg.eigvalsh(product).flip(0).clamp_min(0)
    return squares.sqrt()


def effective_rank(values: Tensor) -> float:
    """Return ``exp(H(s / sum s))``, the effective rank of Roy & Vetterli (2007); 0 for zero.

    Parameters
    ----------
    values : Tensor
        Singular values.
    """
    total = values.sum()
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


def functional_square(matrix: Tensor, moment: Tensor) -> float:
    """Return ``||M X||_F^2 / N = tr(M C M^T)``."""
    wide = matrix.double()
    # Rounding may leave a tiny negative number for an update that does not act on X at all.
    return max(float(((wide @ moment.to(wide)) * wide).sum()), 0.0)


def functional_drift(delta: Tensor, aligned: Tensor, moment: Tensor) -> float | None:
    """Return ``||D X||_F / ||W0 X||_F``, None where W0 does not act on X."""
    return root_ratio(functional_square(delta, moment), functional_square(aligned, moment))


def leakage(delta: Tensor, moment: Tensor) -> float | None:
    """Return ``||D X||_F / (||D||_F ||X||_F)``, in [0, 1]; None for an update of zero."""
    norms = float(delta.double().square().sum()) * float(moment.trace())
    return root_ratio(functional_square(delta, moment), norms)


def root_ratio(numerator: float, denominator: float) -> float | None:
    """Return the square root of a ratio of squared norms, None where it is not defined."""
    return (numerator / denominator) ** 0.5 if denominator > 0 else None


def leading_directions(delta: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the leading right ``(d_in, k)`` and left ``(d_out, k)`` singular directions.

    `k` is `count`, or less where the update has fewer directions above rounding. Of a map wider
    than `SMALL` Lanczos finds these alone, fifteen times as fast and equal to rounding.
    """
    if max(delta.shape) > SMALL and min(delta.shape) > _LANCZOS * count and delta.any():
        left, values, right = _lanczos(delta.double(), count)
    else:
        left, values, right = torch.linalg.svd(delta.double(), full_matrices=False)
    kept = int((values[:count] > 1e-6 * values[0]).sum()) if len(values) else 0
    return right[:kept].T, left[:, :kept]


def _lanczos(delta: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    # A fixed start: the same update gives the same directions.
    start = np.ones(min(delta.shape))
    left, values, right = svds(delta.detach().cpu().numpy(), k=count, v0=start)
    # They come in no order that is promised.
    order = np.argsort(values)[::-1]
    parts = (left[:, order], values[order], right[order])
    first, second, third = (torch.from_numpy(part).to(delta.device) for part in parts)
    return first, second, third


@torch.no_grad()
def decompose(
    model: nn.Module, aligned: Mapping[str, Tensor], subspace: SafetySubspace
) -> tuple[float, float]:
    """Return the update's Frobenius norms inside and outside a subspace, pooled over its maps.

    Cheap enough for a probe during training: one thin product per map.
    """
    inside = outside = 0.0
    for entry in subspace.maps:
        delta = change_of(model, aligned, entry)
        within = subspace.inside(entry.path, delta)
        inside += float(within.square().sum())
        outside += float((delta - within).square().sum())
    return inside**0.5, outside**0.5

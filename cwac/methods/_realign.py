"""The change from base to aligned weights, and how far a fine-tuning change agrees with it."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from cwac.anatomy import LinearMap, weight_of
from cwac.errors import ModelError
from cwac.interfaces import MethodContext

Projector = Literal["released", "exact"]


def alignment_changes(context: MethodContext, maps: Sequence[LinearMap]) -> dict[str, Tensor]:
    """Return ``V = W_aligned - W_base`` per map path, ``(d_out, d_in)`` on the run's device.

    Raises
    ------
    ModelError
        The base model is of another shape.
    """
    # The method declares that it needs the base model, so that a run without one never starts.
    assert context.base_model is not None
    base = dict(context.base_model().named_parameters())
    changes = {}
    for entry in maps:
        aligned = weight_of(context.aligned, entry)
        if entry.parameter not in base or base[entry.parameter].shape != (
            aligned.T.shape if entry.transposed else aligned.shape
        ):
            raise ModelError(
                f"the model before alignment has no weight {entry.parameter} of the aligned shape."
            )
        changes[entry.path] = aligned - weight_of(base, entry).detach().to(aligned)
    return changes


def pulled_back(change: Tensor, towards: Tensor, how: Projector) -> Tensor:
    """Return ``C change`` for the projector of an alignment change V.

    Parameters
    ----------
    change, towards : Tensor
        ``(d_out, d_in)``: the fine-tuning change, and V.
    how : str
        ``released``: ``C = V V^T / ||V||_F``, which is no projector: it scales every direction by
        ``sigma^2 / ||V||_F``. ``exact``: the orthogonal projector onto V's columns,
        ``V (V^T V)^+ V^T``, which is the identity wherever V has full row rank.
    """
    factor, scale = projector_factor(towards, how)
    return factor @ (factor.T @ change) * scale


def projector_factor(
    towards: Tensor, how: Projector, rank: int | None = None
) -> tuple[Tensor, float]:
    """Return F and s with ``C = s F F^T``, so that C itself, ``(d_out, d_out)``, is never formed.

    Parameters
    ----------
    towards : Tensor
        The alignment change V, ``(d_out, d_in)``.
    how : str
        As for :func:`pulled_back`.
    rank : int, optional
        Keep V's leading singular directions alone; all that are not rounding without it.

    Returns
    -------
    (Tensor, float)
        F of ``(d_out, k)``; no column where V is zero.
    """
    norm = float(towards.norm())
    if norm == 0:
        return towards[:, :0], 1.0
    if how == "released" and rank is None:
        return towards, 1 / norm
    left, values, _ = torch.linalg.svd(towards, full_matrices=False)
    # Differences of rounded weights are never of low rank exactly.
    tolerance = max(towards.shape) * torch.finfo(towards.dtype).eps * values[0]
    kept = min(int((values > tolerance).sum()), rank or len(values))
    basis = left[:, :kept]
    return (basis, 1.0) if how == "exact" else (basis * values[:kept], 1 / norm)


def agreement(change: Tensor, pulled: Tensor) -> float:
    """Return the cosine of a change and its projection; 0 where either is zero.

    It is never negative, because the projector is positive semi-definite.
    """
    norms = change.double().norm() * pulled.double().norm()
    if norms == 0:
        return 0.0
    return max(0.0, float((change.double() * pulled.double()).sum() / norms))

"""How much of a second moment lies in a subspace, and how many directions it takes."""

import torch
from torch import Tensor


def rank_for(values: Tensor, tail_energy: float) -> int:
    """Return how many leading eigenvalues leave at most `tail_energy` of the trace.

    Parameters
    ----------
    values : Tensor
        Eigenvalues, descending, none negative.
    """
    # Tails are summed from the small end, where cancellation would hide them otherwise.
    tails = torch.cat([values.flip(0).cumsum(0).flip(0), values.new_zeros(1)])
    return int((tails > tail_energy * tails[0]).sum())


def tail_share(values: Tensor, rank: int) -> float:
    """Return the share of the trace beyond the `rank` leading eigenvalues."""
    total = float(values.sum())
    return float(values[rank:].sum()) / total if total else 0.0


def outside_energy(basis: Tensor, moment: Tensor) -> float:
    """Return ``||X - U U^T X||^2 / ||X||^2`` from ``C = X X^T / N``."""
    wide = basis.to(moment)
    # tr((I - P) C (I - P)) directly: the difference of two traces loses small values.
    rest = moment - wide @ (wide.T @ moment)
    rest = rest - (rest @ wide) @ wide.T
    return float(rest.trace().clamp_min(0) / moment.trace())

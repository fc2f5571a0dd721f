"""How near two subspaces are, and how much of a second moment lies in one."""

import torch
from torch import Tensor

from cwac.anatomy import SMALL
from cwac.errors import ConfigError


def principal_angles(a: Tensor, b: Tensor, *, orthonormal: bool = False) -> Tensor:
    """Return the principal angles between two column spaces, in degrees, ascending.

    Both matrices need full column rank; they need not be orthonormal. Small angles are taken
    from sines (Knyazev & Argentati 2002), where cosines lose half of the digits.

    Parameters
    ----------
    orthonormal : bool
        Whether both are known to have orthonormal columns, so that nothing makes them so.
    """
    q_a, q_b = _spans(a, b, orthonormal=orthonormal)
    if q_a.shape[1] < q_b.shape[1]:
        q_a, q_b = q_b, q_a
    cross = q_a.T @ q_b
    cosines = torch.linalg.svdvals(cross).clamp(0, 1)
    sines = torch.linalg.svdvals(q_b - q_a @ cross).clamp(0, 1).flip(0)
    small = cosines.square() >= 0.5
    return torch.rad2deg(torch.where(small, torch.arcsin(sines), torch.arccos(cosines)))


def _spans(a: Tensor, b: Tensor, *, orthonormal: bool) -> tuple[Tensor, Tensor]:
    if orthonormal:
        return a.double(), b.double()
    return torch.linalg.qr(a.double()).Q, torch.linalg.qr(b.double()).Q


def mso(a: Tensor, b: Tensor, *, orthonormal: bool = False) -> float:
    """Return ``||Q_A^T Q_B||_F^2 / min(k_A, k_B)``: the mean squared cosine, in [0, 1].

    Parameters
    ----------
    orthonormal : bool
        Whether both are known to have orthonormal columns, so that nothing makes them so.

    Raises
    ------
    ConfigError
        One of the spaces has no direction.
    """
    if min(a.shape[1], b.shape[1]) == 0:
        raise ConfigError("the overlap with a subspace of rank 0 is not defined.")
    q_a, q_b = _spans(a, b, orthonormal=orthonormal)
    return float((q_a.T @ q_b).square().sum() / min(a.shape[1], b.shape[1]))


def haar_baseline(k_a: int, k_b: int, dimension: int) -> float:
    """Return the expected MSO of two independent Haar-random subspaces, ``max(k) / d``."""
    return max(k_a, k_b) / dimension


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


def tail_share(values: Tensor, rank: int, energy: float | None = None) -> float:
    """Return the share of the trace beyond the `rank` leading eigenvalues.

    Parameters
    ----------
    energy : float, optional
        The trace, where `values` are not all eigenvalues.
    """
    if energy is not None:
        return max(energy - float(values[:rank].sum()), 0.0) / energy if energy else 0.0
    total = float(values.sum())
    return float(values[rank:].sum()) / total if total else 0.0


def outside_energy(basis: Tensor, moment: Tensor) -> float:
    """Return ``||X - U U^T X||^2 / ||X||^2`` from ``C = X X^T / N``."""
    wide = basis.to(moment)
    if len(moment) > SMALL:
        # The same trace from products with the basis alone, a quarter of the work.
        seen = wide.T @ (moment @ wide)
        inside = 2 * seen.trace() - (seen * (wide.T @ wide)).sum()
        return float((moment.trace() - inside).clamp_min(0) / moment.trace())
    # tr((I - P) C (I - P)) directly: the difference of two traces loses small values.
    rest = moment - wide @ (wide.T @ moment)
    rest = rest - (rest @ wide) @ wide.T
    return float(rest.trace().clamp_min(0) / moment.trace())

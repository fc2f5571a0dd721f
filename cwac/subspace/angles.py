"""How near two subspaces are: principal angles, their mean squared cosine, and its chance level."""

import torch
from torch import Tensor

from cwac.errors import ConfigError


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Return the principal angles between two column spaces, in degrees, ascending.

    Both matrices need full column rank; they need not be orthonormal. Small angles are taken
    from sines (Knyazev & Argentati 2002), where cosines lose half of the digits.
    """
    q_a, q_b = torch.linalg.qr(a.double()).Q, torch.linalg.qr(b.double()).Q
    if q_a.shape[1] < q_b.shape[1]:
        q_a, q_b = q_b, q_a
    cross = q_a.T @ q_b
    cosines = torch.linalg.svdvals(cross).clamp(0, 1)
    sines = torch.linalg.svdvals(q_b - q_a @ cross).clamp(0, 1).flip(0)
    small = cosines.square() >= 0.5
    return torch.rad2deg(torch.where(small, torch.arcsin(sines), torch.arccos(cosines)))


def mso(a: Tensor, b: Tensor) -> float:
    """Return ``||Q_A^T Q_B||_F^2 / min(k_A, k_B)``: the mean squared cosine, in [0, 1].

    Raises
    ------
    ConfigError
        One of the spaces has no direction.
    """
    if min(a.shape[1], b.shape[1]) == 0:
        raise ConfigError("the overlap with a subspace of rank 0 is not defined.")
    q_a, q_b = torch.linalg.qr(a.double()).Q, torch.linalg.qr(b.double()).Q
    return float((q_a.T @ q_b).square().sum() / min(a.shape[1], b.shape[1]))


def haar_baseline(k_a: int, k_b: int, dimension: int) -> float:
    """Return the expected MSO of two independent Haar-random subspaces, ``max(k) / d``."""
    return max(k_a, k_b) / dimension

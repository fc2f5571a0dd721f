"""The safety subspace: what it protects, what lies in it, and how near another one is."""

from cwac.subspace.geometry import (
    haar_baseline,
    mso,
    outside_energy,
    principal_angles,
    rank_for,
    tail_share,
)
from cwac.subspace.moments import SecondMoments, collect_second_moments, token_mask
from cwac.subspace.protected import Projector, SafetySubspace, remove_protected_

__all__ = [
    "Projector",
    "SafetySubspace",
    "SecondMoments",
    "collect_second_moments",
    "haar_baseline",
    "mso",
    "outside_energy",
    "principal_angles",
    "rank_for",
    "remove_protected_",
    "tail_share",
    "token_mask",
]

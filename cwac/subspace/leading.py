"""The leading directions of a second moment: all where they are few, no more than needed else.

Stands alone, because it is linear algebra that knows no model: `SafetySubspace` says which rank,
this module finds that many eigenvectors at the least cost.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from cwac.config import Directions
from cwac.subspace.geometry import rank_for
from cwac.subspace.moments import WIDE, SecondMoments

_FIRST: Final = 64
"""Directions that Lanczos is asked for at first; then twice as many, until the energy is there."""
_LANCZOS_SHARE: Final = 0.125
"""Share of all directions beyond which the full solver is cheaper. Measured at 1,536 inputs: 278
directions take as long as all of them do, 521 three times as long."""


@dataclass(frozen=True)
class Directed:
    """Protected directions of one map.

    Attributes
    ----------
    basis : Tensor
        ``(d_in, rank)``, float32, orthonormal columns.
    values : Tensor
        Eigenvalues from the largest on, float64: all of them, or those that were needed.
    energy : float
        The trace: what all eigenvalues sum to, known without them.
    """

    basis: Tensor
    values: Tensor
    energy: float


def directions_of(
    moments: SecondMoments, path: str, tail_energy: float, rank: int | None, which: Directions
) -> Directed:
    """Return a map's protected directions, at the least cost that gives them.

    Up to 2,048 inputs all eigenvectors are found in float64 (the stored fits' way, and the fastest
    where a third of them is protected). Beyond, the Gram matrix of the tokens is solved where they
    are fewer than the inputs (it has the same eigenvalues but zeros), else Lanczos finds the
    leading ones until the trace says that at most `tail_energy` is left; once these are many, and
    for trailing directions, all are found.

    Parameters
    ----------
    path : str
        Of the map; its moments decide which way is taken.
    tail_energy : float
        Share of the trace that may be left, where no `rank` is given.
    """
    rows = moments.rows(path)
    if which == "leading" and rows is not None:
        values, vectors = _from_rows(rows)
        energy = float(values.sum())
        kept = rank_for(values, tail_energy) if rank is None else min(rank, len(values))
        return Directed(_clean(vectors[:, :kept]), values, energy)
    moment = moments.matrix(path)
    if which == "leading" and len(moment) > WIDE:
        leading = _lanczos(moment, tail_energy, rank)
        if leading is not None:
            return leading
    values, vectors = torch.linalg.eigh(moment)
    values = values.flip(0).clamp_min(0)
    if which == "leading":
        vectors = vectors.flip(1)
    kept = min(rank, len(values)) if rank is not None else rank_for(values, tail_energy)
    return Directed(vectors[:, :kept].float().contiguous(), values, float(values.sum()))


def _from_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, descending, and eigenvectors of ``X^T X / N`` from ``X X^T / N``.

    With ``X X^T u = s u``, ``X^T u`` is an eigenvector of ``X^T X`` to the same s.
    """
    wide = rows.double()
    values, left = torch.linalg.eigh(wide @ wide.T / len(wide))
    values, left = values.flip(0).clamp_min(0), left.flip(1)
    # What is zero but for rounding has no direction of its own among the inputs.
    real = int((values > values[0] * len(rows) * torch.finfo(torch.float64).eps).sum())
    return values, wide.T @ left[:, :real]


def _clean(vectors: Tensor) -> Tensor:
    """Return orthonormal columns in float32; directions that belong to small values lost digits."""
    orthonormal: Tensor = torch.linalg.qr(vectors).Q
    return orthonormal.float().contiguous()


def _lanczos(moment: Tensor, tail_energy: float, rank: int | None) -> Directed | None:
    """Return the leading directions, None where they are so many that all are cheaper."""
    energy, most = float(moment.trace()), int(_LANCZOS_SHARE * len(moment))
    count = _FIRST if rank is None else rank
    # A fixed start: the same moment gives the same directions.
    start = np.ones(len(moment))
    while count <= most:
        found, vectors = eigsh(moment.cpu().numpy(), k=count, which="LA", v0=start)
        values = torch.from_numpy(found[::-1].copy()).clamp_min(0)
        kept = count
        if rank is None:
            left = energy - values.cumsum(0)
            enough = (left <= tail_energy * energy).nonzero()
            kept = int(enough[0]) + 1 if len(enough) else 0
        if kept:
            columns = torch.from_numpy(vectors[:, ::-1][:, :kept].copy()).to(moment.device)
            return Directed(columns.float().contiguous(), values[:kept], energy)
        count *= 2
    return None

"""Angles between updates and the safety subspace, and between the updates of two runs.

Input side: the update's leading right singular directions against the protected inputs U.
Output side: its leading left singular directions against the directions that the aligned map
writes on refused requests, the leading left singular vectors of ``W0 U diag(lambda)^(1/2)``
(W0 C^(1/2) without the unprotected tail), cut by the yardstick's own rule.
"""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cwac.abreast import abreast
from cwac.anatomy import SMALL, LinearMap, weight_of
from cwac.drift import leading_directions, update_of
from cwac.interfaces import MeasureContext, Measurement, Metric
from cwac.metrics.weights import computed_apart
from cwac.records import TABLES
from cwac.seeding import generator
from cwac.subspace import SafetySubspace, haar_baseline, mso, principal_angles, rank_for

UPDATE_DIRECTIONS: Final = 8
"""Leading directions of an update that are compared with the safety subspace; the same number
for every arm, so that their random baselines agree."""
PAIR_DIRECTIONS: Final = 4
"""Leading directions that are stored for comparisons between runs."""
ARRAYS: Final = "update_bases"
_FEW: Final = 0.75
"""Columns of noise over their length up to which they are as good as independent."""


class SubspaceOverlap(Metric):
    """Principal angles and MSO of each map's update with the safety subspace, on both sides.

    MSO is ``||Q_A^T Q_B||_F^2 / min(k_A, k_B)``, the mean squared cosine; two independent random
    subspaces have ``max(k) / d`` on average. A random subspace of equal rank, the same for every
    arm, stands beside each value. A map that did not move, or that the yardstick has no
    basis for, has no rows.
    """

    name = "subspace_overlap"

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a tuned model; nothing for the aligned model, which has no update."""
        if context.is_aligned:
            return Measurement()
        overlaps: list[dict[str, Any]] = []
        angles: list[dict[str, Any]] = []
        bases: dict[str, np.ndarray] = {}
        maps = context.anatomy.maps
        each = abreast(partial(_of_map, context), maps, wide=computed_apart(context))
        for index, (mine, of_mine, leading) in enumerate(each):
            overlaps += mine
            angles += of_mine
            bases |= leading
            context.progress((index + 1) / len(maps))
        tables = {
            "subspace_overlap": pd.DataFrame(overlaps, columns=list(TABLES["subspace_overlap"])),
            "principal_angles": pd.DataFrame(angles, columns=list(TABLES["principal_angles"])),
        }
        return Measurement(tables=tables, arrays={ARRAYS: bases})


_Found = tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, np.ndarray]]
"""A map's overlaps and angles, and its update's leading directions."""


def _of_map(context: MeasureContext, entry: LinearMap) -> _Found:
    overlaps: list[dict[str, Any]] = []
    angles: list[dict[str, Any]] = []
    bases: dict[str, np.ndarray] = {}
    # All bases here are orthonormal. The organism's numbers were taken without saying so.
    known = max(entry.d_in, entry.d_out) > SMALL
    delta = update_of(context.model, context.aligned, entry)
    sides = leading_directions(delta, UPDATE_DIRECTIONS)
    safety = _safety_sides(context, entry)
    for side, update in zip(("input", "output"), sides, strict=True):
        if update.shape[1] == 0:
            continue
        bases[f"{entry.layer}|{entry.name}|{side}"] = _in_bytes(update[:, :PAIR_DIRECTIONS])
        if side not in safety:
            continue
        random = _random(context, entry, side, safety[side].shape)
        place = {"layer": entry.layer, "map": entry.name, "side": side}
        overlaps.append(place | _overlap(update.cpu(), safety[side], random, known))
        angles.extend(place | row for row in _angles(update.cpu(), safety[side], random, known))
    return overlaps, angles, bases


def _in_bytes(basis: Tensor) -> np.ndarray:
    """Return directions as int8, each scaled to its largest entry.

    They are a third of a run's size. Lengths do not matter, because comparing makes the
    directions orthonormal again. Measured from 64 to 2,048 dimensions, the rounding moves the MSO
    of two runs by less than 0.0015 and an angle by less than 0.4 degrees, 1 degree where the two
    subspaces all but coincide. float16 would be exact to 0.03 degrees at twice the size.
    """
    values = basis.cpu().double().numpy()
    return np.ascontiguousarray(np.rint(127 * values / np.abs(values).max(axis=0)).astype(np.int8))


def _safety_sides(context: MeasureContext, entry: LinearMap) -> dict[str, Tensor]:
    subspace = context.yardstick.subspace
    if not subspace.ranks.get(entry.path):
        return {}
    aligned = weight_of(context.aligned, entry)
    output = output_directions(subspace, entry.path, aligned)
    return {"input": subspace.bases[entry.path].double().cpu(), "output": output.cpu()}


def output_directions(subspace: SafetySubspace, path: str, aligned: Tensor) -> Tensor:
    """Return the safety subspace on a map's output side, float64 ``(d_out, k)``.

    The leading left singular vectors of ``W0 U diag(lambda)^(1/2)``: the directions that hold
    the output's energy on refused requests, up to the fit's own tail energy, or as many as the
    fit's fixed rank.
    """
    basis = subspace.bases[path].double()
    scale = subspace.eigenvalues[path][: basis.shape[1]].to(basis).sqrt()
    written = aligned.to(basis.device).double() @ (basis * scale)
    fixed = subspace.settings.get("rank")
    tail = float(subspace.settings.get("tail_energy", 1e-3))
    # The organism's numbers were taken from all singular vectors.
    find = _all_left if max(aligned.shape) <= SMALL else _left_of_product
    energies, left = find(written)
    kept = min(fixed, len(energies)) if fixed else rank_for(energies, tail)
    return left(kept)


_Left = tuple[Tensor, Callable[[int], Tensor]]
"""Squared singular values, descending, and what gives so many leading left singular vectors."""


def _all_left(matrix: Tensor) -> _Left:
    left, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    return values.square(), lambda kept: left[:, :kept]


def _left_of_product(matrix: Tensor) -> _Left:
    """Give the same from the smaller of ``M M^T`` and ``M^T M``, in a fraction of the time."""
    tall = len(matrix) > matrix.shape[1]
    energies, vectors = torch.linalg.eigh(matrix.T @ matrix if tall else matrix @ matrix.T)
    energies, vectors = energies.flip(0).clamp_min(0), vectors.flip(1)
    if not tall:
        return energies, lambda kept: vectors[:, :kept]
    lengths = energies.sqrt().clamp_min(torch.finfo(energies.dtype).tiny)
    return energies, lambda kept: matrix @ vectors[:, :kept] / lengths[:kept]


def _random(context: MeasureContext, entry: LinearMap, side: str, shape: tuple[int, ...]) -> Tensor:
    # Drawn from the yardstick's seed, not the run's: every arm meets the same one.
    stream = generator(context.config.measurement.seed, "random overlap", entry.path, side)
    noise = torch.randn(*shape, generator=stream, dtype=torch.float64)
    if max(entry.d_in, entry.d_out) <= SMALL or shape[1] > _FEW * shape[0]:
        basis: Tensor = torch.linalg.qr(noise).Q
        return basis
    # The same space, a third of the time: few columns of noise are far from dependent.
    factor = torch.linalg.cholesky(noise.T @ noise, upper=True)
    same: Tensor = torch.linalg.solve_triangular(factor, noise, upper=True, left=False)
    return same


def _overlap(update: Tensor, safety: Tensor, random: Tensor, known: bool) -> dict[str, Any]:
    (dimension, k_update), k_safety = update.shape, safety.shape[1]
    return {
        "k_update": k_update,
        "k_safety": k_safety,
        "dimension": dimension,
        "mso": mso(update, safety, orthonormal=known),
        "haar_baseline": haar_baseline(k_update, k_safety, dimension),
        "random_mso": mso(update, random, orthonormal=known),
    }


def _angles(update: Tensor, safety: Tensor, random: Tensor, known: bool) -> list[dict[str, Any]]:
    pairs = zip(
        principal_angles(update, safety, orthonormal=known).tolist(),
        principal_angles(update, random, orthonormal=known).tolist(),
        strict=True,
    )
    return [
        {"index": index, "degrees": degrees, "random_degrees": by_chance}
        for index, (degrees, by_chance) in enumerate(pairs)
    ]


def pair_overlap(arrays_by_run: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Compare the leading update directions of every two runs, map by map and side by side.

    Parameters
    ----------
    arrays_by_run : mapping
        By run id, the arrays ``update_bases`` that :class:`SubspaceOverlap` leaves.

    Returns
    -------
    DataFrame
        Table ``pair_overlap``; each pair once. A map that did not move in one of the two runs
        has no row.
    """
    keys = sorted({key for arrays in arrays_by_run.values() for key in arrays}, key=_key_order)
    parts = [
        _pairs_of_map(key, {run: a[key] for run, a in arrays_by_run.items() if key in a})
        for key in keys
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame(columns=list(TABLES["pair_overlap"]))
    return pd.concat(parts, ignore_index=True)


def _key_order(key: str) -> tuple[int, str]:
    layer, rest = key.split("|", 1)
    return int(layer), rest


def _pairs_of_map(key: str, bases: Mapping[str, np.ndarray]) -> pd.DataFrame:
    runs = list(bases)
    if len(runs) < 2:
        return pd.DataFrame(columns=list(TABLES["pair_overlap"]))
    layer, name, side = key.split("|")
    ranks = np.array([basis.shape[1] for basis in bases.values()])
    first, second = np.array(list(combinations(range(len(runs)), 2))).T
    stacked = _orthonormal(list(bases.values()), int(ranks.max()))
    dimension, width = stacked.shape[1:]
    # One product of all bases with all bases holds the cosines of every pair.
    flat = stacked.transpose(1, 0, 2).reshape(dimension, -1)
    blocks = (flat.T @ flat).reshape(len(runs), width, len(runs), width)
    cosines = np.linalg.svd(blocks[first, :, second, :], compute_uv=False).clip(0, 1)
    fewer = np.minimum(ranks[first], ranks[second])
    counted = np.arange(width) < fewer[:, None]
    return pd.DataFrame(
        {
            "run_a": np.array(runs)[first],
            "run_b": np.array(runs)[second],
            "layer": int(layer),
            "map": name,
            "side": side,
            "mso": (cosines**2).sum(1, where=counted) / fewer,
            "haar_baseline": np.maximum(ranks[first], ranks[second]) / dimension,
            "mean_degrees": np.rad2deg(np.arccos(cosines)).sum(1, where=counted) / fewer,
        }
    )


def _orthonormal(bases: list[np.ndarray], width: int) -> np.ndarray:
    """Return bases as ``(runs, d, width)``, orthonormal again after storage in bytes."""
    stacked = np.zeros((len(bases), bases[0].shape[0], width))
    for index, basis in enumerate(bases):
        # A narrower basis keeps columns of zeros, whose cosines are the last and not counted.
        stacked[index, :, : basis.shape[1]] = np.linalg.qr(basis.astype(np.float64))[0]
    return stacked

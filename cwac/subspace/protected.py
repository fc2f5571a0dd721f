"""`SafetySubspace`: eigenbases of the safety second moment, and exact projection of updates.

The columns of X are the inputs of a linear map on refused harmful requests. Its mean second
moment ``C = X X^T / N`` is summed in float64 and diagonalised in float64; the leading
eigenvectors U are protected and bases are kept in float32. ``Pi = I - U U^T`` is never formed:
``D Pi = D - (D U) U^T`` (CWAC, arXiv 2604.12384, eq 12-15, with the complement stored).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from cwac.abreast import abreast
from cwac.anatomy import SMALL, LinearMap, select_maps
from cwac.artifacts import read_tensors, reading
from cwac.config import Directions, Maps
from cwac.errors import ConfigError
from cwac.intake import read_json
from cwac.subspace.geometry import outside_energy, tail_share
from cwac.subspace.leading import Directed, directions_of
from cwac.subspace.moments import WIDE, SecondMoments


@torch.no_grad()
def remove_protected_(target: Tensor, delta: Tensor, basis: Tensor) -> None:
    """Take what acts on protected directions out in place: ``T <- T - (D U) U^T``.

    With the weight as `target` and its total change as `delta` this is the exact constraint,
    ``W <- W0 + (W - W0)(I - U U^T)``; with the gradient as both it is the paper's literal
    reading, which Adam undoes in part.

    Parameters
    ----------
    target, delta : Tensor
        ``(d_out, d_in)`` views, float32. Sharded ones (FSDP2's `DTensor`) work too, with a basis
        on their mesh; where input directions are split, processes sum their products.
    basis : Tensor
        ``(d_in, rank)`` with orthonormal columns.
    """
    target.addmm_(delta @ basis, basis.T, alpha=-1.0)


class Projector:
    """The same for one map at every step, by fewer products where most directions are protected.

    ``(W - W0)(I - U U^T)`` is ``(W - W0) V V^T`` with V the directions that are free: equal but
    for rounding, and as much cheaper as V has fewer columns than U. Maps of at most `SMALL` inputs
    are projected by U, as stored runs were.

    Parameters
    ----------
    basis : Tensor
        ``(d_in, rank)`` with orthonormal columns.

    Attributes
    ----------
    free : Tensor or None
        ``(d_in, d_in - rank)`` with orthonormal columns; None where U is used.
    """

    def __init__(self, basis: Tensor) -> None:
        self.basis = basis
        size, rank = basis.shape
        self.free: Tensor | None = None
        if size > SMALL and rank > size / 2:
            self.free = torch.linalg.qr(basis, mode="complete").Q[:, rank:].contiguous()

    def update_(self, weight: Tensor, aligned: Tensor, delta: Tensor) -> None:
        """Take the protected part out of a weight's change in place; `delta` is the change."""
        if self.free is None:
            remove_protected_(weight, delta, self.basis)
        else:
            torch.addmm(aligned, delta @ self.free, self.free.T, out=weight)

    def gradient_(self, gradient: Tensor) -> None:
        """Take the protected part out of a gradient in place."""
        if self.free is None:
            remove_protected_(gradient, gradient, self.basis)
        else:
            torch.mm(gradient @ self.free, self.free.T, out=gradient)


@dataclass
class SafetySubspace:
    """Protected input directions of linear maps.

    Attributes
    ----------
    maps : tuple of LinearMap
        The maps that have a basis.
    bases : dict of str to Tensor
        By map path, float32 ``(d_in, rank)`` with orthonormal columns: the directions in which
        an update may not act.
    eigenvalues : dict of str to Tensor
        Eigenvalues of the second moment, float64, descending: all of them, of maps of more than
        2,048 inputs the protected directions' alone. Empty for a control, whose basis does not
        consist of the leading eigenvectors.
    tokens : int
        Columns that the moments were taken over.
    moments, heldout, heldout_fitted : SecondMoments or None
        What it was fitted on, and the same maps' inputs on held-out requests; not kept for maps
        of more than 2,048 inputs. Held-out moments serve the tables alone and are not stored.
    """

    maps: tuple[LinearMap, ...]
    bases: dict[str, Tensor]
    eigenvalues: dict[str, Tensor]
    tokens: int
    moments: SecondMoments | None = None
    heldout: SecondMoments | None = None
    heldout_fitted: SecondMoments | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    energies: dict[str, float] = field(default_factory=dict)
    """The trace of a map's second moment, where not all its eigenvalues are known."""

    @classmethod
    def from_moments(
        cls,
        moments: SecondMoments,
        maps: Sequence[LinearMap],
        *,
        tail_energy: float = 1e-3,
        rank: int | None = None,
        heldout: SecondMoments | None = None,
        heldout_fitted: SecondMoments | None = None,
        directions: Directions = "leading",
        progress: Callable[[float], None] = lambda _share: None,
    ) -> Self:
        """Diagonalise second moments and protect their leading directions.

        Parameters
        ----------
        tail_energy : float
            The smallest rank is taken whose unprotected energy is at most this share of the
            trace.
        rank : int, optional
            Protect this many directions instead; at most d_in of each map.
        heldout : SecondMoments, optional
            The same maps' inputs on the prompt tokens of requests that had no part in the fit.
        heldout_fitted : SecondMoments, optional
            Those requests' inputs at the kind of tokens that the fit is made on.
        directions : str
            ``trailing`` takes as many of the last directions instead, the smallest eigenvalue
            first: a control.
        progress : callable, optional
            Called with the share of the maps that is done.

        Raises
        ------
        ConfigError
            `tail_energy` or `rank` is out of range.
        DataError
            A map has no inputs.
        """
        if rank is not None and rank < 1:
            raise ConfigError(f"rank = {rank} is not allowed; it must be at least 1.")
        if not 0 < tail_energy < 1:
            raise ConfigError(f"tail_energy = {tail_energy} is not allowed; it must lie in (0, 1).")
        sources = list(dict.fromkeys(moments.source(entry.path) for entry in maps))
        solved: dict[str, Directed] = {}
        each = abreast(
            lambda source: directions_of(moments, source, tail_energy, rank, directions),
            sources,
            wide=moments.on_cpu and max((entry.d_in for entry in maps), default=0) > SMALL,
        )
        for source, found in zip(sources, each, strict=True):
            progress(len(solved) / len(sources))
            solved[source] = found
        of = {entry.path: solved[moments.source(entry.path)] for entry in maps}
        return cls(
            maps=tuple(maps),
            bases={path: one.basis for path, one in of.items()},
            eigenvalues={path: one.values for path, one in of.items()},
            tokens=moments.tokens,
            moments=moments.up_to(WIDE),
            heldout=None if heldout is None else heldout.up_to(WIDE),
            heldout_fitted=None if heldout_fitted is None else heldout_fitted.up_to(WIDE),
            settings={"tail_energy": tail_energy, "rank": rank},
            energies={e.path: of[e.path].energy for e in maps if len(of[e.path].values) < e.d_in},
        )._as_control(directions == "trailing")

    @property
    def ranks(self) -> dict[str, int]:
        """Protected directions per map."""
        return {path: basis.shape[1] for path, basis in self.bases.items()}

    def __contains__(self, path: object) -> bool:
        return path in self.bases

    def select(self, which: Maps, layers: Sequence[int] | None = None) -> Self:
        """Return the part on FFN output projections or on all maps; tensors are shared."""
        maps = select_maps(self.maps, which, layers)
        paths = {entry.path for entry in maps}
        return replace(
            self,
            maps=maps,
            bases={p: b for p, b in self.bases.items() if p in paths},
            eigenvalues={p: v for p, v in self.eigenvalues.items() if p in paths},
        )

    def cut_like(self, other: "SafetySubspace") -> Self:
        """Return the first directions alone, as many per map as `other` has there."""
        bases = {p: b[:, : other.bases[p].shape[1]] for p, b in self.bases.items()}
        return replace(self, bases=bases)

    def to(self, device: torch.device | str) -> Self:
        """Return the subspace with its bases on `device`."""
        return replace(self, bases={p: b.to(device) for p, b in self.bases.items()})

    def random_like(self, generator: torch.Generator) -> Self:
        """Return Haar-random bases of equal ranks: the control."""
        bases = {}
        for path, basis in self.bases.items():
            noise = torch.randn(basis.shape, generator=generator, dtype=torch.float64)
            bases[path] = torch.linalg.qr(noise).Q.float().to(basis.device)
        return replace(self, bases=bases)._as_control(True)

    def _as_control(self, control: bool) -> Self:
        # What is derived from the eigenvalues holds for the leading directions alone.
        if not control:
            return self
        return replace(self, eigenvalues={}, moments=None, heldout=None, heldout_fitted=None)

    # What is done with a basis; every delta and weight is a (d_out, d_in) view.

    def inside(self, path: str, delta: Tensor) -> Tensor:
        """Return the part of an update that acts on protected directions, ``(D U) U^T``."""
        basis = self.bases[path].to(delta)
        return (delta @ basis) @ basis.T

    def inside_energy(self, path: str, delta: Tensor) -> float:
        """Return ``||D U||^2 / ||D||^2``; NaN for an update of zero."""
        total = delta.double().square().sum()
        return float((delta.double() @ self.bases[path].to(delta).double()).square().sum() / total)

    # Storage and tables

    def save(self, folder: Path) -> None:
        """Write ``subspace.safetensors`` and ``subspace.json`` into an existing folder."""
        # Maps that share inputs share their basis; it is written once.
        first: dict[int, str] = {}
        alias = {p: first.setdefault(id(b), p) for p, b in self.bases.items()}
        parts = {
            "basis": {p: self.bases[p] for p in first.values()},
            "eigenvalues": {
                p: self.eigenvalues[p] for p in first.values() if p in self.eigenvalues
            },
        }
        description: dict[str, Any] = {
            "maps": [asdict(entry) for entry in self.maps],
            "alias": alias,
            "tokens": self.tokens,
            "settings": self.settings,
        }
        if self.energies:
            description["energies"] = self.energies
        if self.moments is not None:
            parts["moments"] = self.moments.tensors()
            description["moments"] = self.moments.description()
        write_parts(folder, parts, description)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ArtifactError
            A file is missing or broken.
        """
        with reading(f"the safety subspace in {folder}"):
            parts, description = read_parts(folder)
            moments = None
            if "moments" in description:
                moments = SecondMoments.from_tensors(
                    parts.get("moments", {}), description["moments"]
                )
            alias: dict[str, str] = description["alias"]
            values = parts.get("eigenvalues", {})
            return cls(
                maps=tuple(LinearMap(**entry) for entry in description["maps"]),
                bases={p: parts["basis"][first] for p, first in alias.items()},
                eigenvalues={p: values[first] for p, first in alias.items() if first in values},
                tokens=int(description["tokens"]),
                moments=moments,
                settings=description["settings"],
                energies=dict(description.get("energies", {})),
            )

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the ``eigenvalues`` and ``subspace_quality`` tables."""
        eigenvalues: list[dict[str, Any]] = []
        quality: list[dict[str, Any]] = []
        outside = self._outsides()
        for entry in self.maps:
            values = self.eigenvalues.get(entry.path)
            if values is None:
                continue
            rank = self.ranks[entry.path]
            place = {"layer": entry.layer, "map": entry.name}
            eigenvalues.extend(
                place | {"index": index, "eigenvalue": float(value), "kept": index < rank}
                for index, value in enumerate(values)
            )
            quality.append(
                place
                | {
                    "d_in": entry.d_in,
                    "rank": rank,
                    "tokens": self.tokens,
                    "outside_energy_fit": tail_share(values, rank, self.energies.get(entry.path)),
                    "outside_energy_heldout": outside(entry.path, self.heldout),
                    "outside_energy_heldout_fitted": outside(entry.path, self.heldout_fitted),
                }
            )
        return {
            "eigenvalues": pd.DataFrame(
                eigenvalues, columns=["layer", "map", "index", "eigenvalue", "kept"]
            ),
            "subspace_quality": pd.DataFrame(
                quality,
                columns=[
                    "layer", "map", "d_in", "rank", "tokens", "outside_energy_fit",
                    "outside_energy_heldout", "outside_energy_heldout_fitted",
                ],
            ),
        }  # fmt: skip

    def _outsides(self) -> Callable[[str, SecondMoments | None], float | None]:
        """Return what gives a map's energy outside; maps that share inputs and basis share it."""
        known: dict[tuple[int, int, str], float] = {}

        def outside(path: str, moments: SecondMoments | None) -> float | None:
            if moments is None or path not in moments:
                return None
            basis = self.bases[path]
            key = (id(moments), id(basis), moments.source(path))
            if key not in known:
                known[key] = outside_energy(basis, moments.matrix(path))
            return known[key]

        return outside


TENSORS: Final = "subspace.safetensors"
DESCRIPTION: Final = "subspace.json"


def write_parts(
    folder: Path, parts: Mapping[str, Mapping[str, Tensor]], description: Mapping[str, Any]
) -> None:
    """Write tensors by kind and map, and their description, into an existing folder."""
    tensors = {
        f"{kind}|{path}": tensor.contiguous().cpu()
        for kind, by_path in parts.items()
        for path, tensor in by_path.items()
    }
    save_file(tensors, folder / TENSORS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")


def read_parts(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return what :func:`write_parts` wrote."""
    description = read_json(folder / DESCRIPTION)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_tensors(folder / TENSORS).items():
        kind, path = key.split("|", 1)
        parts.setdefault(kind, {})[path] = tensor
    return parts, description

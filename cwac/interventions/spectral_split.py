"""Spectral split: the update's leading singular directions alone, and without them."""

from functools import partial
from typing import Final, Literal

import torch
from torch import Tensor

from cwac.anatomy import LinearMap, weight_of
from cwac.interfaces import DissectContext
from cwac.interventions._asking import Weights
from cwac.interventions._parts import holding_as_much, projected
from cwac.interventions.bench import Part, Trial, WeightTrials
from cwac.seeding import generator

COUNTS: Final = (1, 4, 16, 64)
MATRICES: Final = Part("all matrices")
Directions = Literal["leading", "equal norm", "equal number"]


class SpectralSplit(WeightTrials):
    """Every matrix's update cut to its k leading singular directions, or rid of them.

    Matrices are the linear maps, the embedding and the output layer; norms and biases stay tuned.
    Controls keep or remove random directions in their place: the fewest that hold at least the
    same norm of each matrix's update, or k of them, which hold less. Both project and scale
    nothing: what is removed is part of the update, what is kept too. Directions are those of a
    matrix's narrower side, where its update has full rank.
    """

    name = "spectral_split"
    by_grain = False
    version = 3

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return each number of directions, alone and removed, and the controls."""
        spectra = _Spectra(context)
        kinds: tuple[tuple[Directions, str], ...] = (
            ("leading", ""),
            ("equal norm", ", random of equal norm"),
            ("equal number", ", random of equal number"),
        )
        return [
            Trial(
                MATRICES,
                f"{word}{suffix}",
                partial(spectra.split, count, directions, removed=removed),
                dose=float(count),
                control=directions != "leading",
                answers=directions == "leading",
                accuracy=removed and directions != "equal number",
            )
            for count in COUNTS
            if count < spectra.largest
            for word, removed in (("only leading", False), ("leading removed", True))
            for directions, suffix in kinds
        ]


class _Spectra:
    """The singular vectors of every matrix's update, taken once when the first is asked for."""

    def __init__(self, context: DissectContext) -> None:
        self.context = context
        anatomy = context.anatomy
        outer = [anatomy.embedding] + ([] if anatomy.tied else [anatomy.output])
        self.entries = [*anatomy.maps, *outer]
        self.largest = max(min(entry.d_in, entry.d_out) for entry in self.entries)
        self._vectors: dict[str, Tensor] = {}

    def split(self, count: int, directions: Directions, *, removed: bool) -> Weights:
        """Return the matrices with some directions alone, or without them.

        No directions and all of a matrix's are its stored tensors.
        """
        stream = generator(self.context.config.seed, "dissect", "spectral_split", str(count))
        weights = {}
        for entry in self.entries:
            # The narrower side is turned to be the input.
            turned = entry.d_out < entry.d_in
            aligned, tuned = (
                weight.T if turned else weight
                for weight in (
                    weight_of(self.context.aligned, entry), weight_of(self.context.tuned, entry)
                )
            )  # fmt: skip
            basis = self._leading(entry, tuned - aligned, count)
            if directions != "leading":
                noise = torch.randn(len(basis), len(basis), generator=stream, dtype=torch.float64)
                random, delta = torch.linalg.qr(noise).Q.to(basis), tuned - aligned
                basis = (
                    random[:, : basis.shape[1]]
                    if directions == "equal number"
                    else holding_as_much(delta, random, (delta @ basis).square().sum())
                )
            kept = projected(aligned, tuned, basis, inside=not removed)
            weights[entry.parameter] = kept.T if turned != entry.transposed else kept
        return weights

    def _leading(self, entry: LinearMap, delta: Tensor, count: int) -> Tensor:
        """Return the leading singular vectors on the narrower side, ``(size, k)``."""
        size = delta.shape[1]
        if count >= size:
            return torch.eye(size).to(delta)
        if entry.path not in self._vectors:
            precise = delta.double()
            vectors = torch.linalg.eigh(precise.T @ precise).eigenvectors
            # The largest come last.
            self._vectors[entry.path] = vectors.flip(1)[:, : max(COUNTS)].to(delta)
        return self._vectors[entry.path][:, :count]

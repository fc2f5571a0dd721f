"""Spectral split: the update's leading singular directions alone, and without them."""

from functools import partial
from typing import Final

import torch
from torch import Tensor

from cwac.anatomy import LinearMap, weight_of
from cwac.interfaces import DissectContext
from cwac.interventions.bench import Part, Trial, Weights, WeightTrials
from cwac.seeding import generator

COUNTS: Final = (1, 4, 16, 64)
MATRICES: Final = Part("all matrices")


class SpectralSplit(WeightTrials):
    """Every matrix's update cut to its k leading singular directions, or rid of them.

    Matrices are the linear maps, the embedding and the output layer; norms and biases stay tuned.
    The control takes k random input directions in their place, scaled to the same norm.
    """

    name = "spectral_split"
    title = "Split by the spectrum"
    question = "How many directions unlearn refusing?"
    control = "random directions of equal norm"
    by_grain = False
    version = 2

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return each number of directions, alone and removed, and the controls."""
        spectra = _Spectra(context)
        return [
            Trial(
                MATRICES,
                f"{word}, random of equal norm" if random else word,
                partial(spectra.split, count, removed=removed, random=random),
                dose=float(count),
                control=random,
                answers=not random,
                accuracy=removed,
            )
            for count in COUNTS
            if count < spectra.largest
            for word, removed in (("only leading", False), ("leading removed", True))
            for random in (False, True)
        ]


class _Spectra:
    """The singular vectors of every matrix's update, taken once when the first is asked for."""

    def __init__(self, context: DissectContext) -> None:
        self.context = context
        anatomy = context.anatomy
        outer = [anatomy.embedding] + ([] if anatomy.tied else [anatomy.output])
        self.entries = [*anatomy.maps, *outer]
        self.largest = max(min(entry.d_in, entry.d_out) for entry in self.entries)
        self.right: dict[str, Tensor] = {}

    def split(self, count: int, *, removed: bool, random: bool) -> Weights:
        """Return the matrices with the k directions alone, or without them."""
        stream = generator(self.context.config.seed, "dissect", "spectral_split", str(count))
        weights = {}
        for entry in self.entries:
            aligned = weight_of(self.context.aligned, entry)
            tuned = weight_of(self.context.tuned, entry)
            part = self._leading(entry, tuned - aligned, count, stream if random else None)
            kept = tuned - part if removed else aligned + part
            weights[entry.parameter] = kept.T if entry.transposed else kept
        return weights

    def _leading(
        self, entry: LinearMap, delta: Tensor, count: int, stream: torch.Generator | None
    ) -> Tensor:
        if entry.path not in self.right:
            _, _, right = torch.linalg.svd(delta.double(), full_matrices=False)
            self.right[entry.path] = right.T.to(delta)
        basis = self.right[entry.path][:, :count]
        part = (delta @ basis) @ basis.T
        if stream is None:
            return part
        noise = torch.randn(entry.d_in, basis.shape[1], generator=stream, dtype=torch.float64)
        other = torch.linalg.qr(noise).Q.to(delta)
        drawn = (delta @ other) @ other.T
        scaled: Tensor = drawn * (part.norm() / drawn.norm()) if drawn.any() else drawn
        return scaled

"""Subspace split: the part of the update inside the safety subspace, and the part outside."""

from functools import partial
from typing import Final

import torch
from torch import Tensor

from cwac.anatomy import LinearMap, weight_of
from cwac.errors import CwacError
from cwac.interfaces import Cost, DissectContext
from cwac.interventions._asking import Weights
from cwac.interventions._parts import holding_as_much, projected
from cwac.interventions.bench import Part, Trial, WeightTrials
from cwac.seeding import generator
from cwac.subspace import SafetySubspace

FIRST: Final = (1, 4, 16, 64)
"""Numbers of leading directions that are taken out alone."""


class SubspaceSplit(WeightTrials):
    """Each yardstick map's update split by its protected directions, ``D = D U U^T + rest``.

    *Removed* leaves all else tuned (is this part necessary?), *only* leaves all else aligned (is
    it sufficient?). Controls split by Haar-random, harmless and trailing directions of equal
    rank, and by as many random directions as take out equal energy. The first r directions alone
    are taken out beside r random ones.
    """

    name = "subspace_split"
    by_grain = False
    version = 3

    def cost(self, context: DissectContext) -> Cost:
        """Return what the trials take, without fitting the controls' bases first."""
        largest = max(context.yardstick.subspace.ranks.values())
        return Cost(12 + 2 * sum(r < largest for r in FIRST), 4, 8 if context.task.test else 0)

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return both parts removed and alone, leading directions, and the controls."""
        safety = context.yardstick.subspace
        whole = Part("maps of the subspace")
        both = [("removed", True), ("only", False)]
        trials = [
            Trial(whole, f"{side} {word}" if removed else f"{word} {side}",
                  partial(_split, context, safety.bases, inside=side == "inside", removed=removed),
                  accuracy=True)
            for word, removed in both
            for side in ("inside", "outside")
        ]  # fmt: skip
        stream = generator(context.config.seed, "dissect", "subspace_split")
        random = safety.random_like(stream)
        largest = max(safety.ranks.values())
        trials += [
            Trial(whole, f"first directions removed{suffix}", partial(
                _split, context, {p: b[:, :r] for p, b in bases.items()},
                inside=True, removed=True), dose=float(r), control=bool(suffix), answers=False)
            for suffix, bases in (("", safety.bases), (", random of equal rank", random.bases))
            for r in FIRST
            if r < largest
        ]  # fmt: skip
        for name, bases in _controls(context, random, stream).items():
            trials += [
                Trial(whole, f"inside {word}, {name}" if removed else f"{word} inside, {name}",
                      partial(_split, context, bases, inside=True, removed=removed),
                      control=True, answers=False, accuracy=removed)
                for word, removed in both
            ]  # fmt: skip
        return trials


def _split(
    context: DissectContext, bases: dict[str, Tensor], *, inside: bool, removed: bool
) -> Weights:
    """Return the weights without one side of the split, or with that side's update alone."""
    weights = {} if removed else dict(context.aligned)
    for entry in context.yardstick.subspace.maps:
        aligned, tuned = weight_of(context.aligned, entry), weight_of(context.tuned, entry)
        basis = bases[entry.path].to(aligned)
        # What is kept of the update: the other side where this one is removed.
        keeps_inside = inside != removed
        weights[entry.parameter] = _kept(entry, aligned, tuned, basis, inside=keeps_inside)
    return weights


def _kept(
    entry: LinearMap, aligned: Tensor, tuned: Tensor, basis: Tensor, *, inside: bool
) -> Tensor:
    kept = projected(aligned, tuned, basis, inside=inside)
    return kept.T if entry.transposed else kept


def _controls(
    context: DissectContext, random: SafetySubspace, stream: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Return other bases by what they are; kinds that cannot be fitted are left out."""
    safety = context.yardstick.subspace
    bases = {
        "random of equal rank": random.bases,
        "random of equal energy": _equal_energy(context, safety, stream),
    }
    for name, changes in (("harmless", {"kind": "harmless"}), ("trailing", {})):
        try:
            fitted = context.fit_subspace(
                **(changes or {"directions": "trailing"}), rank=max(safety.ranks.values())
            )
        except CwacError:
            # No harmless safety requests to fit on.
            continue
        paths = [entry.path for entry in safety.maps]
        if all(path in fitted for path in paths):
            cut = {path: fitted.bases[path][:, : safety.ranks[path]] for path in paths}
            bases[f"{name} of equal rank"] = cut
    return bases


def _equal_energy(
    context: DissectContext, safety: SafetySubspace, stream: torch.Generator
) -> dict[str, Tensor]:
    """Return per map the fewest random directions that hold as much of the update."""
    bases = {}
    for entry in safety.maps:
        delta = (weight_of(context.tuned, entry) - weight_of(context.aligned, entry)).double()
        noise = torch.randn(entry.d_in, entry.d_in, generator=stream, dtype=torch.float64)
        basis = torch.linalg.qr(noise).Q.to(delta)
        wanted = (delta @ safety.bases[entry.path].to(delta)).square().sum()
        bases[entry.path] = holding_as_much(delta, basis, wanted).float()
    return bases

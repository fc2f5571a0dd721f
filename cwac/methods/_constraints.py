"""The two halves of CWAC as building blocks: what the methods are put together from.

Peng et al., "Coupled Weight and Activation Constraints", arXiv 2604.12384.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.anatomy import gradient_of, weight_of
from cwac.config import Maps, Settings
from cwac.features import AlignedCodes, activation_loss
from cwac.interfaces import MethodContext
from cwac.seeding import generator
from cwac.subspace import SafetySubspace

Projection = Literal["update", "gradient"]
SubspaceChoice = Literal["safety", "random"]


class WeightSettings(Settings):
    """Settings of the weight constraint."""

    projection: Projection = "update"
    """``update``: the total change stays outside the subspace, whatever the optimiser does;
    ``gradient``: the paper's literal form, which leaks under AdamW."""
    subspace: SubspaceChoice = "safety"
    """``random`` protects as many random directions instead: a control."""
    maps: Maps | None = None
    """Maps that are constrained; None is the yardstick's."""
    tail_energy: float | None = Field(default=None, gt=0, lt=1)
    """Relative energy left unprotected; None is the yardstick's."""
    rank: int | None = Field(default=None, ge=1)
    """Protected directions per map, in place of `tail_energy`; None is the yardstick's."""


class ActivationSettings(Settings):
    """Settings of the activation constraint."""

    strength: float = Field(default=0.5, ge=0)
    """Weight of the safety loss beside the task loss (lambda); 0 switches the constraint off."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety prompts that the loss is computed on, per step."""


class WeightConstraint:
    """Keep weight changes out of the subspace of safety-relevant inputs (equations 12 to 15).

    Parameters
    ----------
    context : MethodContext
    settings : WeightSettings
    """

    def __init__(self, context: MethodContext, settings: WeightSettings) -> None:
        self.projection = settings.projection
        subspace = _chosen_subspace(context, settings)
        self.maps = subspace.maps
        self.bases = [subspace.bases[m.path].to(context.device) for m in self.maps]
        # Views into the live parameters and their aligned values, bound once.
        self.weights = [weight_of(context.model, m).detach() for m in self.maps]
        self.initial = [weight_of(context.initial, m) for m in self.maps]

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, ``G <- G (I - U U^T)``, where the literal form is asked for."""
        if self.projection == "gradient":
            for found, basis in zip(self.maps, self.bases, strict=True):
                gradient = gradient_of(model, found)
                if gradient is not None:
                    _remove_(gradient, gradient, basis)

    def after_step(self) -> None:
        r"""Project the total change, ``W <- W0 + (W - W0)(I - U U^T)``, in the exact form.

        Anchored at the aligned weights, so that neither rounding nor weight decay adds up.
        """
        if self.projection == "update":
            deltas = torch._foreach_sub(self.weights, self.initial)
            for weight, delta, basis in zip(self.weights, deltas, self.bases, strict=True):
                _remove_(weight, delta, basis)


def _remove_(target: Tensor, delta: Tensor, basis: Tensor) -> None:
    # Two thin products; the square projector is never formed.
    target.addmm_(delta @ basis, basis.T, alpha=-1.0)


def _chosen_subspace(context: MethodContext, settings: WeightSettings) -> SafetySubspace:
    changes: dict[str, float | int | None] = {}
    if settings.rank is not None:
        changes = {"rank": settings.rank}
    elif settings.tail_energy is not None:
        # A rank that the yardstick fixes would otherwise decide in the energy's place.
        changes = {"tail_energy": settings.tail_energy, "rank": None}
    fitted = context.fit_subspace(**changes) if changes else context.yardstick.subspace
    measurement = context.config.measurement
    # A fit has bases for all linear maps, whichever of them are constrained.
    found = fitted.select(settings.maps or measurement.maps, measurement.layers)
    if settings.subspace == "random":
        return found.random_like(_stream(context, "random subspace"))
    return found


class ActivationConstraint:
    """Hold the safety-critical SAE latents at their aligned values (equations 11 and 16).

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one.
    settings : ActivationSettings
    """

    def __init__(self, context: MethodContext, settings: ActivationSettings) -> None:
        self.strength = settings.strength
        self.features = context.yardstick.features.to(context.device)
        prompts = self.features.refused(context.prompts.get("safety", "harmful"))
        was_training = context.model.training
        context.model.eval()
        self.codes = AlignedCodes.collect(
            context.model, context.anatomy, context.chat, self.features, prompts
        )
        context.model.train(was_training)
        self.batch_size = min(settings.harmful_batch, len(self.codes))
        self.stream = _stream(context, "harmful batch")
        self.waiting = torch.empty(0, dtype=torch.long)
        self.last: dict[str, float] = {}

    def penalty(self, model: nn.Module) -> Tensor:
        """Return ``strength`` times the safety loss on the next harmful batch."""
        index = self.next_index()
        loss, normalised, _ = activation_loss(model, self.features, self.codes, index)
        self.last = {"safety_loss": float(loss.detach()), "safety_loss_normalised": normalised}
        return self.strength * loss

    def next_index(self) -> Tensor:
        """Return the positions of the next harmful batch; every prompt comes once per round."""
        if len(self.waiting) < self.batch_size:
            self.waiting = torch.randperm(len(self.codes), generator=self.stream)
        index, self.waiting = self.waiting[: self.batch_size], self.waiting[self.batch_size :]
        return index


def _stream(context: MethodContext, name: str) -> torch.Generator:
    # Separate streams: a random subspace must not change which harmful prompts are drawn.
    return generator(context.generator.initial_seed(), name)

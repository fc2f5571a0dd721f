"""The two halves of CWAC as building blocks: what the methods are put together from.

Peng et al., "Coupled Weight and Activation Constraints", arXiv 2604.12384.
"""

import torch
from torch import Tensor, nn

from cwac.adapters import adapters_on, trained_maps
from cwac.anatomy import gradient_of, weight_of
from cwac.features import AlignedCodes, activation_loss
from cwac.interfaces import MethodContext
from cwac.methods._choices import (
    ActivationSettings,
    WeightSettings,
    chosen_features,
    chosen_subspace,
)
from cwac.methods._harmful import Rounds, evaluating

__all__ = [
    "ActivationConstraint",
    "ActivationSettings",
    "WeightConstraint",
    "WeightSettings",
]


class WeightConstraint:
    """Keep weight changes out of the subspace of safety-relevant inputs (equations 12 to 15).

    Under LoRA all is done to A, which stands on the input side: ``dW = s B A`` has no part in the
    subspace exactly if A has none, whatever B is. A's random start is projected too; B is zero
    there, so that the model is still the aligned one.

    Parameters
    ----------
    context : MethodContext
    settings : WeightSettings

    Raises
    ------
    ConfigError
        None of the maps to be constrained has an adapter, where adapters are trained.
    """

    def __init__(self, context: MethodContext, settings: WeightSettings) -> None:
        self.projection = settings.projection
        subspace = chosen_subspace(context, settings)
        self.adapters = adapters_on(context.model, subspace.maps)
        self.maps = trained_maps(context.model, subspace.maps)
        self.bases = [subspace.bases[m.path].to(context.device) for m in self.maps]
        # Views into the live parameters and where they are held, bound once.
        if self.adapters:
            self.weights = [self.adapters[m.path].a.detach() for m in self.maps]
            self.initial = [torch.zeros_like(a) for a in self.weights]
            self._project()
        else:
            self.weights = [weight_of(context.model, m).detach() for m in self.maps]
            self.initial = [weight_of(context.initial, m) for m in self.maps]

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, ``G <- G (I - U U^T)``, where the literal form is asked for."""
        if self.projection == "gradient":
            for found, basis in zip(self.maps, self.bases, strict=True):
                adapter = self.adapters.get(found.path)
                gradient = gradient_of(model, found) if adapter is None else adapter.a.grad
                if gradient is not None:
                    _remove_(gradient, gradient, basis)

    def after_step(self) -> None:
        r"""Project the total change, ``W <- W0 + (W - W0)(I - U U^T)``, or undo it where frozen.

        Anchored at the aligned weights, so that neither rounding nor weight decay adds up.
        """
        if self.projection == "frozen":
            torch._foreach_copy_(self.weights, self.initial)
        elif self.projection == "update":
            self._project()

    def _project(self) -> None:
        deltas = torch._foreach_sub(self.weights, self.initial)
        for weight, delta, basis in zip(self.weights, deltas, self.bases, strict=True):
            _remove_(weight, delta, basis)


def _remove_(target: Tensor, delta: Tensor, basis: Tensor) -> None:
    # Two thin products; the square projector is never formed.
    target.addmm_(delta @ basis, basis.T, alpha=-1.0)


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
        known = context.yardstick.features
        prompts = known.refused(context.prompts.get("safety", "harmful"))
        with evaluating(context.model):
            self.features = chosen_features(context, settings, prompts)
            self.codes = AlignedCodes.collect(
                context.model, context.anatomy, context.chat, self.features, prompts
            )
        self.rounds = Rounds.of(context, len(self.codes), settings.harmful_batch)
        self.last: dict[str, float] = {}

    def penalty(self, model: nn.Module) -> Tensor:
        """Return ``strength`` times the safety loss on the next harmful batch."""
        index = self.next_index()
        loss, normalised, _ = activation_loss(model, self.features, self.codes, index)
        self.last = {"safety_loss": float(loss.detach()), "safety_loss_normalised": normalised}
        return self.strength * loss

    def next_index(self) -> Tensor:
        """Return the positions of the next harmful batch; every prompt comes once per round."""
        return self.rounds.take()

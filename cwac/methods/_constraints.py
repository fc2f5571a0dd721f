"""The two halves of CWAC as building blocks: what the methods are put together from.

Settings, what each constraint acts on under them, and the constraints. The controls are settings
like others: other directions, other latents.

Peng et al., "Coupled Weight and Activation Constraints", arXiv 2604.12384.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.adapters import adapters_on, trained_maps
from cwac.anatomy import gradient_of, weight_of
from cwac.config import LatentScore, Maps, TokenSet
from cwac.errors import DataError
from cwac.features import (
    AlignedCodes,
    LatentStatistics,
    SafetyFeatures,
    activation_loss,
    highest_latents,
    latent_scores,
    latent_statistics,
    random_latents,
)
from cwac.interfaces import Method, MethodContext, MethodSettings, PenaltySettings, SettingsT
from cwac.methods._harmful import Rounds, evaluating, stream
from cwac.prompts import Prompt
from cwac.subspace import Projector, SafetySubspace

__all__ = [
    "ActivationConstrained",
    "ActivationConstraint",
    "ActivationSettings",
    "Projection",
    "WeightConstrained",
    "WeightConstraint",
    "WeightSettings",
]

Projection = Literal["update", "gradient", "frozen"]
SubspaceChoice = Literal["safety", "random", "harmless", "trailing"]
LatentsChoice = Literal["safety", "random", "harmless"]


class WeightSettings(MethodSettings):
    """Settings of the weight constraint."""

    projection: Projection = "update"
    """``update``: the total change stays outside the subspace, whatever the optimiser does;
    ``gradient``: the paper's literal form, which leaks under AdamW; ``frozen``: the maps do not
    change at all, as if every direction were protected, whatever `subspace` says."""
    subspace: SubspaceChoice = "safety"
    """Controls protect as many other directions in each map: ``random`` ones, the leading ones of
    the ``harmless`` safety requests, or the ``trailing`` ones of the harmful requests."""
    maps: Maps | None = None
    """Maps that are constrained; None is the yardstick's."""
    layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Decoder layers whose maps are constrained; None is the yardstick's."""
    tokens: TokenSet | None = None
    """Tokens that the subspace is fitted on; None is the yardstick's."""
    tail_energy: float | None = Field(default=None, gt=0, lt=1)
    """Relative energy left unprotected; None is the yardstick's."""
    rank: int | None = Field(default=None, ge=1)
    """Protected directions per map, in place of `tail_energy`; None is the yardstick's."""


class ActivationSettings(PenaltySettings):
    """Settings of the activation constraint."""

    strength: float = Field(default=0.5, ge=0)
    """Weight of the safety loss beside the task loss (lambda); 0 switches the constraint off."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety requests that the loss is computed on, per step."""
    latents: LatentsChoice = "safety"
    """Controls hold other latents on the same harmful requests: ``random``, as many others per
    layer that fire there; ``harmless``, those that score highest for harmless requests."""
    latent_count: int | None = Field(default=None, ge=1)
    """Latents that are held, in total over the layers; None is the yardstick's number."""
    latent_score: LatentScore | None = None
    """What the latents are chosen by; None is the yardstick's score."""
    latent_layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Layers whose latents are held, among those with an SAE; None is all of these."""


def chosen_subspace(context: MethodContext, settings: WeightSettings) -> SafetySubspace:
    """Return the directions that the weight constraint protects, on the maps it acts on.

    Controls have as many directions per map as the safety subspace under the same settings, so
    that they differ from it by the directions alone.

    Raises
    ------
    ModelError
        A layer does not exist.
    DataError
        There are no safety requests to fit on.
    """
    changes: dict[str, Any] = {}
    if settings.tokens is not None:
        changes["tokens"] = settings.tokens
    if settings.rank is not None:
        changes["rank"] = settings.rank
    elif settings.tail_energy is not None:
        # A rank that the yardstick fixes would otherwise decide in the energy's place.
        changes |= {"tail_energy": settings.tail_energy, "rank": None}
    fitted = context.fit_subspace(**changes) if changes else context.yardstick.subspace
    safety = _on_chosen_maps(context, settings, fitted)
    if settings.subspace == "safety" or settings.projection == "frozen":
        return safety
    if settings.subspace == "random":
        return safety.random_like(stream(context, "random subspace"))
    changes["rank"] = max(safety.ranks.values())
    if settings.subspace == "harmless":
        other = context.fit_subspace(kind="harmless", **changes)
    else:
        other = context.fit_subspace(directions="trailing", **changes)
    return _on_chosen_maps(context, settings, other).cut_like(safety)


def _on_chosen_maps(
    context: MethodContext, settings: WeightSettings, fitted: SafetySubspace
) -> SafetySubspace:
    # A fit has bases for all linear maps, whichever of them are constrained.
    measurement = context.config.measurement
    layers = context.anatomy.check_layers(settings.layers or measurement.layers)
    return fitted.select(settings.maps or measurement.maps, layers)


def chosen_features(
    context: MethodContext, settings: ActivationSettings, harmful: Sequence[Prompt]
) -> SafetyFeatures:
    """Return the yardstick's features with the latents that are held as the protected ones.

    Parameters
    ----------
    context : MethodContext
        Its model must be the aligned one, in evaluation mode.
    harmful : sequence of Prompt
        The refused harmful safety requests that the loss is computed on.

    Raises
    ------
    DataError
        A layer has no SAE, or there are no harmless safety requests where they are needed.
    """
    known = context.yardstick.features.to(context.device)
    changes = (settings.latent_count, settings.latent_score, settings.latent_layers)
    as_fitted = all(value is None for value in changes)
    if (settings.latents == "safety" and as_fitted) or not harmful:
        return known
    layers = known.layers if settings.latent_layers is None else settings.latent_layers
    missing = sorted(set(layers) - set(known.layers))
    if missing:
        raise DataError(
            f"latent_layers = {list(layers)} is not allowed: only the layers "
            f"{list(known.layers)} have an SAE."
        )
    used = SafetyFeatures(
        {layer: known.saes[layer] for layer in sorted(set(layers))},
        {layer: known.protected[layer].cpu() for layer in layers},
        known.controls,
        known.prompt_ids,
    )
    used.protected = _chosen_latents(context, settings, used, harmful, as_fitted=as_fitted)
    return used.to(context.device)


def _chosen_latents(
    context: MethodContext,
    settings: ActivationSettings,
    features: SafetyFeatures,
    harmful: Sequence[Prompt],
    *,
    as_fitted: bool,
) -> dict[int, Tensor]:
    harmless = context.prompts.get("safety", "harmless")
    of = _statistics(context, features, harmful)
    against = _statistics(context, features, harmless) if harmless else None
    how = settings.latent_score or context.config.measurement.latent_score
    count = settings.latent_count or context.config.measurement.latents
    if settings.latents == "harmless":
        if against is None:
            raise DataError("latents = 'harmless' needs harmless safety requests; there are none.")
        return highest_latents(latent_scores(how, against, of), count)
    safety = features.protected
    if not as_fitted:
        safety = highest_latents(latent_scores(how, of, against), count)
    if settings.latents == "safety":
        return safety
    # A latent that never fires on these prompts would be held for nothing.
    source = stream(context, "random latents")
    return {x: random_latents(of[x].frequency, safety[x], source) for x in features.layers}


def _statistics(
    context: MethodContext, features: SafetyFeatures, prompts: Sequence[Prompt]
) -> dict[int, LatentStatistics]:
    texts = [prompt.text for prompt in prompts]
    return latent_statistics(context.model, context.anatomy, context.chat, features.saes, texts)


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
        self.projectors = [Projector(basis) for basis in self.bases]
        # Views into the live parameters and where they are held, bound once.
        if self.adapters:
            self.weights = [self.adapters[m.path].a.detach() for m in self.maps]
            self.aligned = [torch.zeros_like(a) for a in self.weights]
            self._project()
        else:
            self.weights = [weight_of(context.model, m).detach() for m in self.maps]
            self.aligned = [weight_of(context.aligned, m) for m in self.maps]

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, ``G <- G (I - U U^T)``, where the literal form is asked for."""
        if self.projection == "gradient":
            for entry, projector in zip(self.maps, self.projectors, strict=True):
                adapter = self.adapters.get(entry.path)
                gradient = gradient_of(model, entry) if adapter is None else adapter.a.grad
                if gradient is not None:
                    projector.gradient_(gradient)

    def after_step(self) -> None:
        r"""Project the total change, ``W <- W0 + (W - W0)(I - U U^T)``, or undo it where frozen.

        Anchored at the aligned weights, so that neither rounding nor weight decay adds up.
        """
        if self.projection == "frozen":
            torch._foreach_copy_(self.weights, self.aligned)
        elif self.projection == "update":
            self._project()

    def _project(self) -> None:
        deltas = torch._foreach_sub(self.weights, self.aligned)
        each = zip(self.projectors, self.weights, self.aligned, deltas, strict=True)
        for projector, weight, aligned, delta in each:
            projector.update_(weight, aligned, delta)


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


class WeightConstrained(Method[SettingsT]):
    """A method that trains under a weight constraint, where its ``setup`` makes one."""

    weight: WeightConstraint | None = None

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, where the literal form is asked for."""
        if self.weight is not None:
            self.weight.after_backward(model)

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Project the total change, or undo it where maps are frozen."""
        if self.weight is not None:
            self.weight.after_step()


class ActivationConstrained(Method[SettingsT]):
    """A method that trains under an activation constraint, where its ``setup`` makes one."""

    activation: ActivationConstraint | None = None

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted safety loss."""
        return None if self.activation is None else self.activation.penalty(model)

    def diagnostics(self) -> dict[str, float]:
        """Return the safety loss of the last step."""
        return {} if self.activation is None else dict(self.activation.last)

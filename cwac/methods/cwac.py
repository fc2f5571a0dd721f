"""CWAC: both constraints at once."""

from torch import Tensor, nn

from cwac.arms import controls_of
from cwac.interfaces import Method, MethodContext
from cwac.methods._constraints import (
    ActivationConstraint,
    ActivationSettings,
    WeightConstraint,
    WeightSettings,
)


class CwacSettings(ActivationSettings, WeightSettings):
    """Settings of both constraints, and a switch for each."""

    weight: bool = True
    """Whether weight changes are kept out of the safety subspace."""
    activation: bool = True
    """Whether the safety loss is added."""


class Cwac(Method[CwacSettings]):
    """Fine-tune under the coupled constraints; with both switched off this is plain SFT."""

    name = "cwac"
    title = "CWAC"
    summary = "Weight changes avoid the safety subspace while safety-critical latents are held."
    source = "Peng et al. 2026, arXiv 2604.12384, algorithm 1 and equation 16."
    deviation = (
        "The lab's reading: total updates are projected instead of gradients, and the organism's "
        "card constrains all maps on response tokens; cwac_paper is the printed form."
    )
    needs = frozenset({"subspace", "features", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("subspace", "latents")
    strength_knob = "strength"
    extra_passes = 0.5

    def __init__(self, settings: CwacSettings) -> None:
        super().__init__(settings)
        self.weight: WeightConstraint | None = None
        self.activation: ActivationConstraint | None = None

    def setup(self, context: MethodContext) -> None:
        """Prepare whichever constraints are on."""
        settings = self.settings
        if settings.weight:
            self.weight = WeightConstraint(context, settings)
        if settings.activation and settings.strength > 0:
            self.activation = ActivationConstraint(context, settings)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted safety loss."""
        return None if self.activation is None else self.activation.penalty(model)

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, where the literal form is asked for."""
        if self.weight is not None:
            self.weight.after_backward(model)

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Project the total change."""
        if self.weight is not None:
            self.weight.after_step()

    def diagnostics(self) -> dict[str, float]:
        """Return the safety loss of the last step."""
        return {} if self.activation is None else dict(self.activation.last)

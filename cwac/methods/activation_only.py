"""The activation constraint alone: safety-critical SAE latents are held at their aligned values."""

from types import MappingProxyType

from cwac.arms import controls_of
from cwac.interfaces import MethodContext
from cwac.methods._constraints import (
    ActivationConstrained,
    ActivationConstraint,
    ActivationSettings,
)


class ActivationOnly(ActivationConstrained[ActivationSettings]):
    """Fine-tune on the task plus the safety loss."""

    name = "activation_only"
    title = "Activation only"
    summary = "Safety-critical SAE latents on harmful requests are held at their aligned values."
    source = "Peng et al. 2026, arXiv 2604.12384, equations 11 and 16 (ablation of table 5)."
    published = MappingProxyType({"strength": 0.5})
    needs = frozenset({"features", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("latents")
    strength_knob = "strength"
    extra_passes = 0.5

    def setup(self, context: MethodContext) -> None:
        """Cache the aligned model's codes."""
        if self.settings.strength > 0:
            self.activation = ActivationConstraint(context, self.settings)

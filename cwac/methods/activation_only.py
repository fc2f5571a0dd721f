"""The activation constraint alone: safety-critical SAE latents are held at their aligned values."""

from torch import Tensor, nn

from cwac.arms import controls_of
from cwac.interfaces import Method, MethodContext
from cwac.methods._constraints import ActivationConstraint, ActivationSettings


class ActivationOnly(Method[ActivationSettings]):
    """Fine-tune on the task plus the safety loss."""

    name = "activation_only"
    title = "Activation only"
    summary = "Safety-critical SAE latents on harmful requests are held at their aligned values."
    source = "Peng et al. 2026, arXiv 2604.12384, equations 11 and 16 (ablation of table 5)."
    needs = frozenset({"features", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("latents")
    strength_knob = "strength"
    extra_passes = 0.5

    def __init__(self, settings: ActivationSettings) -> None:
        super().__init__(settings)
        self.constraint: ActivationConstraint | None = None

    def setup(self, context: MethodContext) -> None:
        """Cache the aligned model's codes."""
        if self.settings.strength > 0:
            self.constraint = ActivationConstraint(context, self.settings)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted safety loss."""
        return None if self.constraint is None else self.constraint.penalty(model)

    def diagnostics(self) -> dict[str, float]:
        """Return the safety loss of the last step."""
        return {} if self.constraint is None else dict(self.constraint.last)

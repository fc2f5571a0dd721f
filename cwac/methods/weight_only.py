"""The weight constraint alone: updates stay outside the safety subspace."""

from torch import nn

from cwac.arms import controls_of
from cwac.interfaces import Method, MethodContext
from cwac.methods._constraints import WeightConstraint, WeightSettings


class WeightOnly(Method[WeightSettings]):
    """Fine-tune on the task with the weight change kept out of the safety subspace."""

    name = "weight_only"
    title = "Weight only"
    summary = "Weight changes stay outside the input directions that carry refusals."
    source = "Peng et al. 2026, arXiv 2604.12384, equations 12 to 15 (ablation of table 5)."
    needs = frozenset({"subspace", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("subspace")
    strength_knob = "tail_energy"

    def __init__(self, settings: WeightSettings) -> None:
        super().__init__(settings)
        self.constraint: WeightConstraint | None = None

    def setup(self, context: MethodContext) -> None:
        """Choose the subspace and bind it to the weights."""
        self.constraint = WeightConstraint(context, self.settings)

    def after_backward(self, model: nn.Module) -> None:
        """Project gradients, where the literal form is asked for."""
        assert self.constraint is not None
        self.constraint.after_backward(model)

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Project the total change."""
        assert self.constraint is not None
        self.constraint.after_step()

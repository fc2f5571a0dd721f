"""The weight constraint alone: updates stay outside the safety subspace."""

from cwac.arms import controls_of
from cwac.interfaces import MethodContext
from cwac.methods._constraints import WeightConstrained, WeightConstraint, WeightSettings


class WeightOnly(WeightConstrained[WeightSettings]):
    """Fine-tune on the task with the weight change kept out of the safety subspace."""

    name = "weight_only"
    title = "Weight only"
    summary = "Weight changes stay outside the input directions that carry refusals."
    source = "Peng et al. 2026, arXiv 2604.12384, equations 12 to 15 (ablation of table 5)."
    needs = frozenset({"subspace", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("subspace")
    strength_knob = "tail_energy"

    def setup(self, context: MethodContext) -> None:
        """Choose the subspace and bind it to the weights."""
        self.weight = WeightConstraint(context, self.settings)

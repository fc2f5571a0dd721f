"""CWAC: both constraints at once."""

from types import MappingProxyType

from cwac.arms import controls_of
from cwac.interfaces import MethodContext
from cwac.methods._constraints import (
    ActivationConstrained,
    ActivationConstraint,
    ActivationSettings,
    WeightConstrained,
    WeightConstraint,
    WeightSettings,
)


class CwacSettings(ActivationSettings, WeightSettings):
    """Settings of both constraints, and a switch for each."""

    weight: bool = True
    """Whether weight changes are kept out of the safety subspace."""
    activation: bool = True
    """Whether the safety loss is added."""


class Cwac(WeightConstrained[CwacSettings], ActivationConstrained[CwacSettings]):
    """Fine-tune under the coupled constraints; with both switched off this is plain SFT."""

    name = "cwac"
    title = "CWAC"
    summary = "Weight changes avoid the safety subspace while safety-critical latents are held."
    source = "Peng et al. 2026, arXiv 2604.12384, algorithm 1 and equation 16."
    published = MappingProxyType({"strength": 0.5})
    deviation = (
        "The lab's reading: total updates are projected instead of gradients, and the organism's "
        "card constrains all maps on response tokens; cwac_paper is the printed form."
    )
    needs = frozenset({"subspace", "features", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("subspace", "latents")
    strength_knob = "strength"
    extra_passes = 0.5

    def setup(self, context: MethodContext) -> None:
        """Prepare whichever constraints are on."""
        settings = self.settings
        if settings.weight:
            self.weight = WeightConstraint(context, settings)
        if settings.activation and settings.strength > 0:
            self.activation = ActivationConstraint(context, settings)

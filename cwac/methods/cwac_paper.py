"""CWAC as the paper writes it, beside the lab's reading of it."""

from types import MappingProxyType

from pydantic import Field

from cwac.arms import controls_of
from cwac.config import Maps, TokenSet
from cwac.interfaces import MethodContext
from cwac.methods._constraints import (
    ActivationConstrained,
    ActivationConstraint,
    ActivationSettings,
    Projection,
    WeightConstrained,
    WeightConstraint,
    WeightSettings,
)


class CwacPaperSettings(ActivationSettings, WeightSettings):
    """The settings of both constraints, with the paper's values wherever it states one."""

    projection: Projection = "gradient"
    """Algorithm 1 multiplies gradients by the projector, not updates."""
    maps: Maps | None = "ffn"
    """The FFN output projections (section on the weight side, appendix B.3)."""
    tokens: TokenSet | None = "prompt"
    """The harmful requests themselves: X holds what the model processes, no refusal."""
    strength: float = Field(default=0.5, ge=0)
    """Weight of the safety loss (lambda in equation 16; published: 0.5); 0 switches it off."""
    weight: bool = True
    """Whether gradients are projected; off, this is the activation constraint alone."""


class CwacPaper(WeightConstrained[CwacPaperSettings], ActivationConstrained[CwacPaperSettings]):
    """Fine-tune under algorithm 1 as printed, with the same constraint code as CWAC.

    Notes
    -----
    The subspace is fitted for this arm on the prompt tokens alone (the yardstick, which measures
    every arm, may rest on other tokens), and acts on the FFN output projections through the
    gradient. Algorithm 1 prints plain SGD and appendix B.4 says AdamW: the optimiser is the
    experiment's, so that both can be run; under AdamW a projected gradient leaks.

    The paper gives no value for tau, the layers ("intermediate"), the scored tokens, the latents'
    score or the harmful batch. These stay the lab's: `tail_energy` of the yardstick, all layers
    (``layers`` names others), the last prompt tokens, difference of means, 8 requests.
    """

    name = "cwac_paper"
    title = "CWAC (paper)"
    summary = "CWAC as printed: FFN outputs alone, projected gradients, a subspace of prompts."
    source = "Peng et al. 2026, arXiv 2604.12384, algorithm 1, equations 11 to 16, appendix B."
    published = MappingProxyType({"strength": 0.5})
    deviation = (
        "Threshold, layers, latents' score and harmful batch are not published and stay the lab's; "
        "codes are compared before the top k, where a dropped latent still has a gradient."
    )
    needs = frozenset({"subspace", "features", "safety_prompts"})
    adapters = ("full", "lora")
    controls = controls_of("subspace", "latents")
    strength_knob = "strength"
    extra_passes = 0.5

    def setup(self, context: MethodContext) -> None:
        """Fit the subspace on prompt tokens and prepare both constraints."""
        if self.settings.weight:
            self.weight = WeightConstraint(context, self.settings)
        if self.settings.strength > 0:
            self.activation = ActivationConstraint(context, self.settings)

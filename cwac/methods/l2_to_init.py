"""L2 to the aligned weights: the plainest way to stay near the aligned model."""

from pydantic import Field
from torch import Tensor, nn

from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._anchor import Anchor


class L2ToInitSettings(PenaltySettings):
    """Settings of the penalty."""

    strength: float = Field(default=0.5, ge=0)
    """Weight of the squared distance (lambda); 0.5 is the default of the LDIFS repository's
    ``l2_sp.py``, which was chosen for image classifiers. 0 is plain fine-tuning."""


class L2ToInit(Method[L2ToInitSettings]):
    """Fine-tune on the task plus ``lambda ||theta - theta0||^2`` over all trained weights.

    The penalty is part of the loss, as published: the optimiser sees its gradient, unlike
    decoupled weight decay. It knows nothing about safety, so that what it keeps of the refusals
    is what any method keeps that moves less. Under LoRA the distance is the adapters' effective
    change, ``||s B A||^2``, not that of A and B.
    """

    name = "l2_to_init"
    title = "L2 to init"
    summary = "Squared distance of all weights from their aligned values is added to the loss."
    source = "Li et al. 2018 (L2-SP), arXiv 1802.01483, equation 2, without its factor 1/2."
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: L2ToInitSettings) -> None:
        super().__init__(settings)
        self.anchor: Anchor | None = None

    def setup(self, context: MethodContext) -> None:
        """Bind the weights to their aligned values."""
        if self.settings.strength > 0:
            self.anchor = Anchor(context)

    def penalty(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return the weighted squared distance."""
        return None if self.anchor is None else self.settings.strength * self.anchor.distance()

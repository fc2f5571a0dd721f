"""GuardSpace's projector: no linear map changes where harmful requests are its input."""

from types import MappingProxyType

from pydantic import Field

from cwac.config import TokenSet
from cwac.interfaces import MethodContext, MethodSettings
from cwac.methods._constraints import WeightConstrained, WeightConstraint, WeightSettings


class GuardSpaceSettings(MethodSettings):
    """Settings of the projector."""

    tokens: TokenSet | None = "prompt"
    """Tokens whose inputs are protected: those of the harmful requests, as published. None is the
    yardstick's choice, with which the method is `weight_only` on all maps."""
    tail_energy: float | None = Field(default=None, gt=0, lt=1)
    """Energy below which eigenvectors of the inputs' second moment count as null; None is the
    yardstick's. Published: (near-)zero eigenvalues, no number known to us."""
    rank: int | None = Field(default=None, ge=0)
    """Protected directions per map, in place of `tail_energy`; 0 switches the method off."""


class GuardSpace(WeightConstrained[GuardSpaceSettings]):
    """Fine-tune with every linear map's change in the null space of harmful requests' inputs.

    Notes
    -----
    With ``C = X X^T`` of a map's inputs on harmful requests and P the projector onto its
    (near-)null eigenvectors, the paper's forward pass is ``W' + B A P`` with
    ``W' = W - B A P`` at the start. In full fine-tuning that is the constraint
    ``W <- W0 + (W - W0) P`` after every update, on all linear maps of the decoder layers; under
    LoRA it is ``A <- A P``, which gives the same forward pass. The second half of the method,
    adapters that begin at the smallest singular directions of ``W C``, is not here: the
    projector alone is what compares with CWAC's.
    """

    name = "guardspace"
    title = "GuardSpace projector"
    summary = (
        "Changes of all linear maps stay in the null space of their inputs on harmful requests."
    )
    source = "GuardSpace 2026, arXiv 2510.14301, the null-space projector W' + B A P alone."
    published = MappingProxyType({"tokens": "prompt"})
    deviation = (
        "The projector alone: adapters do not begin at the smallest singular directions of W C, "
        "and embeddings stay trainable in full fine-tuning, where the paper trains adapters."
    )
    needs = frozenset({"subspace", "safety_prompts"})
    adapters = ("full", "lora")
    strength_knob = "tail_energy"

    def setup(self, context: MethodContext) -> None:
        """Fit the protected directions and bind them to the weights."""
        settings = self.settings
        if settings.rank == 0:
            return
        chosen = WeightSettings(
            maps="all",
            tokens=settings.tokens,
            tail_energy=settings.tail_energy,
            rank=settings.rank,
        )
        self.weight = WeightConstraint(context, chosen)

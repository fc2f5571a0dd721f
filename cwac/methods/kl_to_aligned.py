"""KL to the aligned model on harmful requests: CWAC's prompts and passes, at the output."""

from pydantic import Field
from torch import Tensor, nn

from cwac.interfaces import PenaltySettings
from cwac.methods._divergence import Compared, DivergenceMethod, DivergenceSettings


class KlToAlignedSettings(DivergenceSettings, PenaltySettings):
    """Settings of the divergence."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the divergence beside the task loss (lambda); 0 is plain fine-tuning. 1 is
    SafeGrad's rho for the same term; the Vaccine repository's 0.1 belongs to a KL that its code
    takes over the sequence axis instead of the vocabulary."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety requests that the divergence is computed on, per step: as many as CWAC's."""
    tokens: Compared = "response"
    """``response``: where a token of the prompt's safe answer is predicted, which tells the model
    more than CWAC is told; ``scored``: the last prompt tokens, exactly where CWAC's loss looks."""


class KlToAligned(DivergenceMethod[KlToAlignedSettings]):
    """Fine-tune on the task plus ``lambda KL(pi_aligned || pi_theta)`` on harmful requests.

    The fair-budget control of CWAC's activation loss: the refused harmful safety requests, drawn
    in the same order, as many per step, at one extra forward-backward pass of that batch. The KL
    runs over the vocabulary and is the mean over the batch's compared tokens, in nats.
    """

    name = "kl_to_aligned"
    title = "KL to aligned"
    summary = "On harmful requests the output distribution is held at the aligned model's."
    source = (
        "Yi et al. 2025 (SafeGrad), arXiv 2508.07172, alignment loss; Kaczer et al., 2508.06249."
    )
    adapters = ("full", "lora")
    control = True

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted divergence on the next harmful batch."""
        if self.divergence is None:
            return None
        loss = self.divergence.loss(model)
        self.last = {"safety_loss": float(loss.detach())}
        return self.settings.strength * loss

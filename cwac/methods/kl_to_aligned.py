"""KL to the aligned model on harmful prompts: CWAC's prompts and passes, at the output."""

from pydantic import Field
from torch import Tensor, nn

from cwac.config import Settings
from cwac.interfaces import Method, MethodContext
from cwac.methods._divergence import AlignedDivergence, Compared


class KlToAlignedSettings(Settings):
    """Settings of the divergence."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the divergence beside the task loss (lambda); 0 is plain fine-tuning. 1 is
    SafeGrad's rho for the same term; the Vaccine repository's 0.1 belongs to a KL that its code
    takes over the sequence axis instead of the vocabulary."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety prompts that the divergence is computed on, per step: as many as CWAC's."""
    tokens: Compared = "response"
    """``response``: where a token of the prompt's safe answer is predicted, which tells the model
    more than CWAC is told; ``scored``: the last prompt tokens, exactly where CWAC's loss looks."""


class KlToAligned(Method):
    """Fine-tune on the task plus ``lambda KL(pi_aligned || pi_theta)`` on harmful prompts.

    The fair-budget control of CWAC's activation loss: the refused harmful safety prompts, drawn
    in the same order, as many per step, at one extra forward-backward pass of that batch. The KL
    runs over the vocabulary and is the mean over the batch's compared tokens, in nats.
    """

    name = "kl_to_aligned"
    title = "KL to aligned"
    summary = "On harmful prompts the output distribution is held at the aligned model's."
    source = (
        "Yi et al. 2025 (SafeGrad), arXiv 2508.07172, alignment loss; Kaczer et al., 2508.06249."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("full", "lora")
    settings_type = KlToAlignedSettings
    strength_knob = "strength"
    extra_passes = 0.5

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.divergence: AlignedDivergence | None = None
        self.last: dict[str, float] = {}

    def setup(self, context: MethodContext) -> None:
        """Cache what the aligned model's output layer reads at the compared tokens."""
        settings = self.settings
        assert isinstance(settings, KlToAlignedSettings)
        if settings.strength > 0:
            self.divergence = AlignedDivergence(
                context, self.name, settings.tokens, settings.harmful_batch
            )

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted divergence on the next harmful batch."""
        assert isinstance(self.settings, KlToAlignedSettings)
        if self.divergence is None:
            return None
        loss = self.divergence.loss(model)
        self.last = {"safety_loss": float(loss.detach())}
        return self.settings.strength * loss

    def diagnostics(self) -> dict[str, float]:
        """Return the divergence of the last step, nats per token."""
        return dict(self.last)

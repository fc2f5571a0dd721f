"""The activation constraint without an SAE: the residual stream itself is held."""

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._harmful import AlignedResiduals, Rounds, refused_prompts


class ResidualMseSettings(PenaltySettings):
    """Settings of the residual loss."""

    strength: float = Field(default=100.0, ge=0)
    """Weight of the loss beside the task loss (lambda); 0 is plain fine-tuning. No published
    value exists. On the organism CWAC's protected latents have a mean ``||z0||^2`` of about 700,
    so that 100 weighs a relative drift as CWAC's loss does at a strength of about 0.14."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety requests that the loss is computed on, per step: as many as CWAC's."""


class ResidualMse(Method[ResidualMseSettings]):
    r"""Fine-tune on the task plus the relative squared drift of the residual stream.

    ``L = 1/|layers| sum_l [ mean ||h_l - h_l0||^2 / mean ||h_l0||^2 ]`` at the layers, scored
    tokens and harmful requests of CWAC's activation loss, drawn in the same order. The numerator
    is the mean over the batch's prompts and scored tokens; the denominator is the aligned model's
    mean over all refused safety requests. The loss is therefore free of units: it does not depend
    on the model's width, on the size of its activations or on the number of layers, and it is
    read like ``safety_loss_normalised``, which divides CWAC's loss in the same way. A strength of
    CWAC's times the mean ``||z0||^2`` of its protected latents buys the same relative drift.
    """

    name = "residual_mse"
    title = "Residual MSE"
    summary = "The whole residual stream on harmful requests is held at its aligned value; no SAE."
    source = "Control of Peng et al. 2026, arXiv 2604.12384, equation 11, with h in place of z."
    needs = frozenset({"safety_prompts"})
    adapters = ("full", "lora")
    strength_knob = "strength"
    control = True
    extra_passes = 0.5

    def __init__(self, settings: ResidualMseSettings) -> None:
        super().__init__(settings)
        self.aligned: AlignedResiduals | None = None
        self.rounds: Rounds | None = None
        self.energy: dict[int, float] = {}
        self.last: dict[str, float] = {}

    def setup(self, context: MethodContext) -> None:
        """Cache the aligned model's residual stream."""
        settings = self.settings
        if settings.strength == 0:
            return
        prompts = refused_prompts(context, self.name)
        self.aligned = AlignedResiduals(context, prompts, context.yardstick.features.layers)
        self.rounds = Rounds.of(context, len(self.aligned), settings.harmful_batch)
        self.energy = {
            layer: float(values.square().sum(dim=-1).mean())
            for layer, values in self.aligned.values.items()
        }

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted relative drift on the next harmful batch."""
        settings = self.settings
        if self.aligned is None or self.rounds is None:
            return None
        changes = self.aligned.changes(model, self.rounds.take())
        parts = [
            change.square().sum(dim=-1).mean() / self.energy[layer]
            for layer, change in changes.items()
        ]
        loss = torch.stack(parts).mean()
        value = float(loss.detach())
        self.last = {"safety_loss": value, "safety_loss_normalised": value}
        return settings.strength * loss

    def diagnostics(self) -> dict[str, float]:
        """Return the loss of the last step."""
        return dict(self.last)

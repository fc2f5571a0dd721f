"""SafeGrad: what conflicts with staying aligned is taken out of the task's gradient."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.methods._divergence import DivergenceMethod, DivergenceSettings

ROUNDING: Final = 1e-5
"""An alignment gradient shorter than this share of the task's is rounding and has no direction:
the divergence of the aligned model from itself is zero, but not its computed gradient."""


class SafeGradSettings(DivergenceSettings):
    """Settings of SafeGrad."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the alignment gradient beside the task's (rho; published script: 1)."""
    project: bool = True
    """Whether a conflicting task gradient is projected. Without it and with strength 0 the method
    is off; without it alone it is the plain sum of both gradients."""
    harmful_batch: int = Field(default=8, ge=1)
    """Harmful safety requests that the alignment gradient is computed on, per step: as many as
    CWAC's, of all refused ones (published: 10 per step, of 100)."""
    tokens: Literal["response", "all"] = "response"
    """``response``: the divergence is the mean over the answer's tokens. ``all``: the released
    code's sum over every position, the prompt's too, divided by the number of answer tokens; its
    padding is left out."""


class SafeGrad(DivergenceMethod[SafeGradSettings]):
    """Fine-tune with the gradient ``g_u' + rho g_a`` in place of the task's ``g_u``.

    Notes
    -----
    g_a is the gradient of ``KL(pi_aligned || pi_theta)`` on refused harmful requests with their
    safe answers. Where ``<g_u, g_a> < 0``, ``g_u' = g_u - (<g_u, g_a> / ||g_a||^2) g_a``; the
    products run over all trained parameters at once. Gradients are combined before they are
    clipped, as in the released code; the optimiser then rescales them, so that the update itself
    may conflict again.
    """

    name = "safegrad"
    title = "SafeGrad"
    summary = "A task gradient against the aligned answers on harmful requests is projected."
    source = "Yi et al. 2025, arXiv 2508.07172, gradient surgery with a KL alignment loss."
    published = MappingProxyType({"strength": 1.0, "harmful_batch": "10 of 100"})
    deviation = (
        "8 harmful requests a step, of all that are refused (published: 10 of 100); the organisms' "
        "cards weigh the alignment gradient by 2, published is strength = 1."
    )
    adapters = ("full", "lora")

    @property
    def is_on(self) -> bool:
        """Whether gradients are projected or added."""
        return self.settings.project or super().is_on

    def before_clip(self, model: nn.Module) -> None:
        """Put the combined gradient in the place of the task's."""
        settings = self.settings
        if self.divergence is None:
            return
        loss = self.divergence.loss(model)
        weights = [p for p in model.parameters() if p.requires_grad]
        alignment = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        for weight in weights:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        task = [weight.grad for weight in weights if weight.grad is not None]
        overlap, square = _dot(task, alignment), _dot(alignment, alignment)
        self.last = {"safety_loss": float(loss.detach()), "conflict": float(overlap < 0)}
        if square <= ROUNDING**2 * _dot(task, task):
            return
        share = -overlap / square if settings.project and overlap < 0 else 0.0
        torch._foreach_add_(task, list(alignment), alpha=share + settings.strength)


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    # In float64: the sign of a sum over all parameters decides.
    return float(sum(torch.sum(a.double() * b.double()) for a, b in zip(left, right, strict=True)))

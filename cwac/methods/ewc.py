"""Elastic weight consolidation: weights that the refusals depend on are held the most."""

from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.chat import collate
from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._anchor import Anchor
from cwac.methods._harmful import demonstrations, evaluating, stream

FisherForm = Literal["examples", "batches"]


class EwcSettings(PenaltySettings):
    """Settings of the penalty and of the Fisher information it is weighted with."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the penalty (lambda); 0 is plain fine-tuning. Published values belong to the raw
    Fisher information and its scale: 1e9 in the Vaccine repository."""
    fisher: FisherForm = "examples"
    """``examples``: mean over prompts of the squared gradient of the answer's log-likelihood;
    ``batches``: the Vaccine repository's sum over batches of the squared gradient of the batch's
    mean loss, in which the gradients of a batch's examples cancel before they are squared."""
    fisher_batch: int = Field(default=8, ge=1)
    """Prompts of a batch, where `fisher` is ``batches``."""
    fisher_prompts: int = Field(default=200, ge=1)
    """Refused harmful safety requests that the information is measured on, at most."""
    normalised: bool = True
    """Whether the information is divided by its mean over all weights, so that a strength means
    the same for every model and form, and the same as half of it does for ``l2_to_init``; the
    published forms do not."""


class Ewc(Method[EwcSettings]):
    """Fine-tune on the task plus ``lambda / 2 sum_i F_i (theta_i - theta0_i)^2``.

    ``F`` is the diagonal of the empirical Fisher information of the aligned model for the safe
    answers to harmful requests (the ``safety`` split's own), measured once before the first step.
    Kirkpatrick et al. take it over the old task's data in the same way. Under LoRA theta are the
    adapted maps' weights and ``theta - theta0`` is ``B A`` at its scale.
    """

    name = "ewc"
    title = "EWC"
    summary = (
        "Weights stay near their aligned values, each as its Fisher information on refusals asks."
    )
    source = "Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3; code: git-disl/Vaccine."
    published = MappingProxyType({"strength": "1e9 (raw Fisher information)"})
    deviation = (
        "The Fisher information is divided by its mean and taken over refusals: normalised = False "
        "gives the raw scale, to which published strengths belong."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: EwcSettings) -> None:
        super().__init__(settings)
        self.anchor: Anchor | None = None
        self.fisher: list[Tensor] = []

    def setup(self, context: MethodContext) -> None:
        """Measure the Fisher information on the aligned model."""
        settings = self.settings
        if settings.strength == 0:
            return
        self.anchor = Anchor(context)
        weights = self.anchor.weights
        held = [weight.requires_grad for weight in weights]
        with evaluating(context.model):
            # Under LoRA the weight below an adapter is frozen, and its information is asked for.
            for weight in weights:
                weight.requires_grad_(True)
            self.fisher = _fisher(context, weights, settings)
            for weight, before in zip(weights, held, strict=True):
                weight.requires_grad_(before)
        if settings.normalised:
            count = sum(part.numel() for part in self.fisher)
            mean = sum(float(part.double().sum()) for part in self.fisher) / count
            self.fisher = [part / mean for part in self.fisher]

    def penalty(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return the weighted distance."""
        if self.anchor is None:
            return None
        return 0.5 * self.settings.strength * self.anchor.distance(self.fisher)


def _fisher(context: MethodContext, weights: list[Tensor], settings: EwcSettings) -> list[Tensor]:
    examples = demonstrations(context, "ewc")
    order = torch.randperm(len(examples), generator=stream(context, "fisher prompts")).tolist()
    items = [
        context.chat.example_ids(examples[place].prompt, examples[place].answer)
        for place in order[: settings.fisher_prompts]
    ]
    size = 1 if settings.fisher == "examples" else settings.fisher_batch
    model: Any = context.model
    total = [torch.zeros_like(weight) for weight in weights]
    for start in range(0, len(items), size):
        batch = collate(
            items[start : start + size],
            context.chat.pad_id,
            max_length=context.config.training.max_length,
        ).to(context.device)
        loss = model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels
        ).loss
        if settings.fisher == "examples":
            # The model's own loss is a mean; the log-likelihood of an answer is a sum.
            loss = loss * (batch.labels[:, 1:] >= 0).sum()
        # Not backward(): the parameters' own gradients must stay empty.
        for kept, gradient in zip(total, torch.autograd.grad(loss, weights), strict=True):
            kept.addcmul_(gradient, gradient)
    if settings.fisher == "examples":
        return [kept / len(items) for kept in total]
    return total

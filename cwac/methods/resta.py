"""RESTA: add a safety vector to the weights of the fine-tuned model."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.errors import ModelError
from cwac.generation import answer
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import refused_prompts, stream
from cwac.methods._twin import twin_weights
from cwac.prompts import Example


class RestaSettings(MethodSettings):
    """Settings of the safety vector."""

    later = frozenset({"unaligned", "harm_share"})

    strength: float = Field(default=0.5, ge=0)
    """Weight of the safety vector (gamma); 0 adds nothing. Others run the released script with 1,
    on a vector from a short harmful tuning; here 1 would add the whole alignment once more."""
    drop: float = Field(default=0.0, ge=0, lt=1)
    """Share of the fine-tuning change that is dropped at random (DARE), the rest scaled up by
    ``1 / (1 - drop)``; the paper's variant with DARE, 0 its plain form."""
    unaligned: Literal["base", "harm_tuned"] = "base"
    """What the aligned model is compared with: the model before alignment, or, as published, the
    aligned model after a short tuning on harmful answers."""
    harm_share: float = Field(default=0.25, gt=0)
    """Steps of that tuning, as a share of the run's steps."""


class Resta(Method[RestaSettings]):
    """Fine-tune plainly, then ``theta <- theta_0 + DARE(theta_ft - theta_0) + gamma delta``.

    The safety vector ``delta`` is the aligned model minus an unaligned one. The paper makes the
    unaligned model by tuning the aligned one on harmful answers (``unaligned = "harm_tuned"``).
    The safety requests hold refusals and no harmful answers, and those of the attack are not for a
    defence to see, so the answers learned are those that the model before alignment gives to the
    safety requests that the aligned one refuses. By default the model before alignment itself
    takes the place of the tuned one: the same arithmetic with a vector that also holds whatever
    else alignment taught. Either vector covers every parameter, embeddings and norms included.

    The sum is over whole weight matrices; adapters are merged first, as in the paper.
    """

    name = "resta"
    title = "RESTA"
    summary = "The change from an unaligned to the aligned model is added once more after training."
    source = "Bhardwaj et al. 2024, arXiv 2402.11746, the safety vector and its variant with DARE."
    published = MappingProxyType({"unaligned": "harm_tuned"})
    deviation = (
        "By default the unaligned model is the base model; published is the aligned one tuned on "
        'harmful answers: unaligned = "harm_tuned", with the base model\'s answers to learn from.'
    )
    stage = "after training"
    needs = frozenset({"base_model"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: RestaSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.examples: list[Example] = []
        self.added = 0.0

    def setup(self, context: MethodContext) -> None:
        """Keep what the sum needs; have the harmful answers given, where they are learned."""
        self.context = context
        if self.settings.strength > 0 and self.settings.unaligned == "harm_tuned":
            self.examples = harmful_answers(context)

    def finish(self, model: nn.Module) -> None:
        """Thin out the fine-tuning change and add the safety vector."""
        settings, context = self.settings, self.context
        assert context is not None
        unaligned = self._unaligned(model, context) if settings.strength > 0 else None
        with torch.no_grad():
            if settings.drop > 0:
                source = stream(context, "dropped changes")
                for name, parameter in model.named_parameters():
                    _thin_out_(parameter, context.aligned[name], settings.drop, source)
            if unaligned is None:
                return
            squares = 0.0
            for name, parameter in model.named_parameters():
                aligned = context.aligned[name]
                if name not in unaligned or unaligned[name].shape != aligned.shape:
                    raise ModelError(
                        f"the model before alignment has no parameter {name} of shape "
                        f"{tuple(aligned.shape)}."
                    )
                vector = aligned - unaligned[name].to(aligned)
                squares += float(vector.double().square().sum())
                parameter.add_(vector, alpha=settings.strength)
            self.added = settings.strength * squares**0.5

    def _unaligned(self, model: nn.Module, context: MethodContext) -> Mapping[str, Tensor]:
        if self.settings.unaligned == "harm_tuned":
            share = self.settings.harm_share
            return twin_weights(model, context, self.examples, share, "harm tuning")
        assert context.base_model is not None
        return dict(context.base_model().named_parameters())

    def diagnostics(self) -> dict[str, float]:
        """Return the norm of what was added to the weights."""
        return {"added_norm": self.added} if self.added else {}


def harmful_answers(context: MethodContext) -> list[Example]:
    """Return the refused harmful safety requests with the base model's own answers.

    Raises
    ------
    DataError
        The aligned model refuses no harmful safety request.
    """
    assert context.base_model is not None
    prompts = refused_prompts(context, Resta.name)
    base = context.base_model().to(context.device).eval()
    evaluation = context.config.evaluation
    given = answer(
        base,
        context.chat,
        [prompt.text for prompt in prompts],
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
    )
    return [
        Example(id=prompt.id, prompt=prompt.text, answer=reply.text)
        for prompt, reply in zip(prompts, given, strict=True)
        if reply.text
    ]


def _thin_out_(parameter: Tensor, aligned: Tensor, share: float, source: torch.Generator) -> None:
    # Drawn on the CPU, so that the same changes are dropped on every device.
    kept = (torch.rand(parameter.shape, generator=source) >= share).to(parameter.device)
    parameter.copy_(aligned + (parameter - aligned) * kept / (1 - share))

"""RESTA: add a safety vector to the weights of the fine-tuned model."""

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.errors import ModelError
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import stream


class RestaSettings(MethodSettings):
    """Settings of the safety vector."""

    strength: float = Field(default=0.5, ge=0)
    """Weight of the safety vector (gamma); 0 adds nothing. Others run the released script with 1,
    on a vector from a short harmful tuning; here 1 would add the whole alignment once more."""
    drop: float = Field(default=0.0, ge=0, lt=1)
    """Share of the fine-tuning change that is dropped at random (DARE), the rest scaled up by
    ``1 / (1 - drop)``; the paper's variant with DARE, 0 its plain form."""


class Resta(Method[RestaSettings]):
    """Fine-tune plainly, then ``theta <- theta_0 + DARE(theta_ft - theta_0) + gamma delta``.

    The safety vector ``delta`` is the aligned model minus an unaligned one. The paper makes the
    unaligned model by tuning the aligned one on harmful answers. The safety requests hold refusals
    and no harmful answers, and those of the attack are not for a defence to see, so the model
    before alignment takes its place: the same arithmetic with a vector that also holds whatever
    else alignment taught. It covers every parameter, embeddings and norms included.

    The sum is over whole weight matrices; adapters are merged first, as in the paper.
    """

    name = "resta"
    title = "RESTA"
    summary = "The change from the base to the aligned model is added once more after training."
    source = "Bhardwaj et al. 2024, arXiv 2402.11746, with the model before alignment as unaligned."
    stage = "after training"
    needs = frozenset({"base_model"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: RestaSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None

    def setup(self, context: MethodContext) -> None:
        """Keep what the sum needs."""
        self.context = context

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Thin out the fine-tuning change and add the safety vector."""
        settings, context = self.settings, self.context
        assert context is not None
        if settings.drop > 0:
            source = stream(context, "dropped changes")
            for name, parameter in model.named_parameters():
                _thin_out_(parameter, context.aligned[name], settings.drop, source)
        if settings.strength > 0:
            assert context.base_model is not None
            base = dict(context.base_model().named_parameters())
            for name, parameter in model.named_parameters():
                aligned = context.aligned[name]
                if name not in base or base[name].shape != aligned.shape:
                    raise ModelError(
                        f"the model before alignment has no parameter {name} of shape "
                        f"{tuple(aligned.shape)}."
                    )
                parameter.add_(aligned - base[name].to(aligned), alpha=settings.strength)


def _thin_out_(parameter: Tensor, aligned: Tensor, share: float, source: torch.Generator) -> None:
    # Drawn on the CPU, so that the same changes are dropped on every device.
    kept = (torch.rand(parameter.shape, generator=source) >= share).to(parameter.device)
    parameter.copy_(aligned + (parameter - aligned) * kept / (1 - share))

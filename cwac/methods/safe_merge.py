"""SafeMERGE: merge updates that disagree with the alignment with those of a safety-tuned model."""

from types import MappingProxyType

import torch
from pydantic import Field
from torch import nn

from cwac.anatomy import weight_of
from cwac.config import Maps
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import demonstrations
from cwac.methods._realign import Projector, agreement, alignment_changes, pulled_back
from cwac.methods._twin import twin_weights
from cwac.prompts import Example


class SafeMergeSettings(MethodSettings):
    """Settings of the merge, and of the safety-tuned model that is merged in."""

    threshold: float = Field(default=0.35, ge=0, le=1)
    """Maps whose update has a lower cosine with its projection are merged; 0 merges none."""
    task_weight: float = Field(default=0.8, ge=0)
    """Weight of the fine-tuned update in a merged map."""
    safe_weight: float = Field(default=0.2, ge=0)
    """Weight of the safety-tuned update in a merged map."""
    safety_share: float = Field(default=0.25, gt=0)
    """Steps of the safety tuning, as a share of the run's steps."""
    projector: Projector = "released"
    """``released``: V V^T / ||V||_F, as published; ``exact``: the projector onto V's columns."""
    maps: Maps = "all"
    """Linear maps that may be merged; the paper's are those with an adapter."""


class SafeMerge(Method[SafeMergeSettings]):
    """Fine-tune plainly, then ``W <- W_0 + a (W_ft - W_0) + b (W_safe - W_0)`` where maps stray.

    A map strays as in SafeLoRA: the cosine of its update and of ``V V^T / ||V||_F`` times its
    update is below a threshold, with V the change from base to aligned. The safety-tuned model is
    the aligned one, tuned on the refused harmful safety requests with their safe answers: with the
    run's batch size and learning rate, falling linearly to zero, and AdamW. It is made only where
    a map strays.

    The paper merges LoRA adapters, its code their A and B apart, with square roots of the
    weights, which adds cross terms; here whole updates are summed, as its equation says; under
    LoRA the safety-tuned model is tuned through adapters of its own. Other parameters keep their
    fine-tuned values.
    """

    name = "safe_merge"
    title = "SafeMERGE"
    summary = "Updates that disagree with the alignment are averaged with a safety-tuned model's."
    source = "Djuhera et al. 2025, arXiv 2503.17239, section 3; code aladinD/SafeMERGE."
    published = MappingProxyType({"threshold": 0.35})
    deviation = (
        "Whole updates are merged, as the equation says; the code merges A and B of LoRA apart."
    )
    stage = "after training"
    needs = frozenset({"base_model", "safety_prompts", "safety_answers", "features"})
    adapters = ("full", "lora")
    strength_knob = "threshold"
    extra_passes = 0.25

    def __init__(self, settings: SafeMergeSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.examples: list[Example] = []
        self.cosines: dict[str, float] = {}
        self.merged: tuple[str, ...] = ()

    def setup(self, context: MethodContext) -> None:
        """Find the safety demonstrations."""
        self.context = context
        self.examples = demonstrations(context, self.name)

    def finish(self, model: nn.Module) -> None:
        """Merge the maps that stray."""
        settings, context = self.settings, self.context
        assert context is not None
        maps = context.anatomy.select(settings.maps)
        with torch.no_grad():
            towards = alignment_changes(context, maps)
            for entry in maps:
                change = weight_of(model, entry) - weight_of(context.aligned, entry)
                pulled = pulled_back(change, towards.pop(entry.path), settings.projector)
                self.cosines[entry.path] = agreement(change, pulled)
        straying = [m for m in maps if self.cosines[m.path] < settings.threshold]
        self.merged = tuple(entry.path for entry in straying)
        if not straying:
            return
        # Only now: training the copy earlier would hold a second model through the whole run.
        twin = twin_weights(model, context, self.examples, settings.safety_share, "safety tuning")
        with torch.no_grad():
            for entry in straying:
                weight, aligned = weight_of(model, entry), weight_of(context.aligned, entry)
                moved = aligned + settings.task_weight * (weight - aligned)
                weight.copy_(moved + settings.safe_weight * (weight_of(twin, entry) - aligned))

    def diagnostics(self) -> dict[str, float]:
        """Return how many maps were merged."""
        return {"merged_maps": float(len(self.merged))} if self.cosines else {}

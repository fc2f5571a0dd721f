"""SafeLoRA: project those updates that disagree with the alignment onto it, after training."""

from types import MappingProxyType
from typing import Final

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.anatomy import weight_of
from cwac.config import Maps
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._realign import Projector, agreement, alignment_changes, pulled_back

PUBLISHED_THRESHOLD: Final = 0.35


class SafeLoraSettings(MethodSettings):
    """Settings of the projection."""

    threshold: float = Field(default=PUBLISHED_THRESHOLD, ge=0, le=1)
    """Maps whose update has a lower cosine with its projection are projected; 0 projects none,
    1 all. The paper uses 0.35, its code 0.5 unless told otherwise."""
    number: int | None = Field(default=None, ge=1)
    """Project this many maps, those of the lowest cosine, in place of `threshold`; the code's
    other mode, with 10 there."""
    projector: Projector = "released"
    """``released``: the paper's cheap form V V^T / ||V||_F, which also shrinks what it keeps;
    ``exact``: V (V^T V)^-1 V^T, which is the identity where V has full rank."""
    maps: Maps = "all"
    """Linear maps that may be projected; the paper's are those with an adapter."""


class SafeLora(Method[SafeLoraSettings]):
    """Fine-tune plainly, then ``W <- W_0 + C (W_ft - W_0)`` in the maps that stray most.

    C is made of the alignment change ``V = W_0 - W_base`` of the same map. A map strays if the
    cosine of its update and of its projected update is below a threshold. The paper acts on
    LoRA's B matrix, where ``C (B A) = (C B) A`` is the same as acting on the whole update, as is
    done here. Other parameters keep their fine-tuned values.
    """

    name = "safelora"
    title = "SafeLoRA"
    summary = "Updates that disagree with the change from base to aligned are projected onto it."
    source = "Hsu et al. 2024, arXiv 2405.16833, equations 1 and 2; code IBM/SafeLoRA."
    published = MappingProxyType({"threshold": PUBLISHED_THRESHOLD})
    deviation = (
        "Whole updates of all linear maps in full fine-tuning; published are LoRA's B on queries "
        "and values. The organism's card projects no map (threshold 0.1, cosines 0.27 to 0.49)."
    )
    stage = "after training"
    needs = frozenset({"base_model"})
    adapters = ("full", "lora")
    strength_knob = "threshold"

    def __init__(self, settings: SafeLoraSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.cosines: dict[str, float] = {}
        self.projected: tuple[str, ...] = ()
        self.kept: dict[str, float] = {}

    def setup(self, context: MethodContext) -> None:
        """Keep what the projection needs."""
        self.context = context

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Project the updates of the maps that stray."""
        settings, context = self.settings, self.context
        assert context is not None
        maps = context.anatomy.select(settings.maps)
        towards = alignment_changes(context, maps)
        new: dict[str, Tensor] = {}
        for entry in maps:
            change = weight_of(model, entry) - weight_of(context.aligned, entry)
            if not change.any():
                # Without an adapter, or frozen: there is nothing to project.
                continue
            new[entry.path] = pulled_back(change, towards[entry.path], settings.projector)
            self.cosines[entry.path] = agreement(change, new[entry.path])
            self.kept[entry.path] = float(new[entry.path].norm() / change.norm())
        self.projected = straying(self.cosines, settings)
        for entry in maps:
            if entry.path in self.projected:
                aligned = weight_of(context.aligned, entry)
                weight_of(model, entry).copy_(aligned + new[entry.path])

    def diagnostics(self) -> dict[str, float]:
        """Return how many maps were projected, of how many, and the mean share of norm kept."""
        if not self.cosines:
            return {}
        kept = [self.kept[path] for path in self.projected]
        numbers = {"projected_maps": float(len(kept)), "changed_maps": float(len(self.cosines))}
        return numbers | ({"kept_norm": sum(kept) / len(kept)} if kept else {})


def straying(cosines: dict[str, float], settings: SafeLoraSettings) -> tuple[str, ...]:
    """Return the paths of the maps that are projected, the lowest cosine first."""
    ordered = sorted(cosines, key=lambda path: cosines[path])
    if settings.number is not None:
        return tuple(ordered[: settings.number])
    return tuple(path for path in ordered if cosines[path] < settings.threshold)

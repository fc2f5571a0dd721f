"""AsFT: changes that leave the direction from base to aligned weights are penalised."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.adapters import change_of, trained_maps
from cwac.config import Maps
from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._realign import alignment_changes, projector_factor


class AsftSettings(PenaltySettings):
    """Settings of AsFT."""

    strength: float = Field(default=1.0, ge=0)
    """Weight of the penalty beside the task loss (lambda; published script: 1); 0 switches the
    method off."""
    projector: Literal["exact", "released"] = "exact"
    """``exact``: the equation's V (V^T V)^-1 V^T. ``released``: the code's V V^T / ||V||_F, no
    projector, with which nearly every direction is penalised (close to L2 on the change)."""
    rank: int | None = Field(default=None, ge=1)
    """Leading singular directions of V that are left free; None is all, as published. With all,
    the exact form leaves a map alone whose V has full row rank, which trained ones have."""
    maps: Maps = "all"
    """Linear maps that are penalised; those with an adapter in the paper (queries, values)."""


class Asft(Method[AsftSettings]):
    """Fine-tune on the task plus ``lambda sum_l || (I - C_l) dW_l ||_F^2``.

    Notes
    -----
    ``V = W_aligned - W_base`` and C is made of V: see the setting `projector`. The released code
    penalises LoRA's ``B A`` without its factor alpha / r; here ``dW = W - W_aligned`` is the whole
    update. The penalty is added once per update and does not depend on how a batch is split. It
    costs no pass through the model: two products per map with V or its basis.
    """

    name = "asft"
    title = "AsFT"
    summary = "Changes off the direction from the base to the aligned weights are penalised."
    source = (
        "Yang et al. 2026, arXiv 2506.08473, the regularised loss over (I - C) dW; "
        "code PKU-YuanGroup/AsFT."
    )
    published = MappingProxyType({"strength": 1.0, "projector": "released"})
    deviation = (
        "The equation's projector leaves square maps of full rank alone (19 of the organism's 28 "
        'maps); the authors\' code penalises all: projector = "released", on the whole update '
        "instead of LoRA's B A."
    )
    needs = frozenset({"base_model"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: AsftSettings) -> None:
        super().__init__(settings)
        self.changes: list[Callable[[], Tensor]] = []
        self.factors: list[tuple[Tensor, float]] = []
        self.maps = 0

    def setup(self, context: MethodContext) -> None:
        """Make the projectors of the maps that they do not leave alone."""
        settings = self.settings
        if settings.strength == 0:
            return
        maps = trained_maps(context.model, context.anatomy.select(settings.maps))
        towards = alignment_changes(context, maps)
        self.maps = len(maps)
        for entry in maps:
            factor, scale = projector_factor(towards[entry.path], settings.projector, settings.rank)
            if settings.projector == "exact" and factor.shape[1] == entry.d_out:
                # I - C is zero; computed, it would be a penalty on rounding errors.
                continue
            self.changes.append(partial(change_of, context.model, context.aligned, entry))
            self.factors.append((factor, scale))

    def penalty(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return the weighted squared norm of what leaves the alignment directions."""
        if not self.factors:
            return None
        parts = []
        for change_now, (factor, scale) in zip(self.changes, self.factors, strict=True):
            change = change_now()
            outside = torch.addmm(change, factor, factor.T @ change, alpha=-scale)
            parts.append(outside.square().sum())
        return self.settings.strength * torch.stack(parts).sum()

    def diagnostics(self) -> dict[str, float]:
        """Return how many maps are penalised, of how many."""
        if not self.maps:
            return {}
        return {"penalised_maps": float(len(self.factors)), "maps": float(self.maps)}

"""How far all weights are from their aligned values, as a differentiable number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cwac.adapters import adapters_on
from cwac.interfaces import MethodContext


class Anchor:
    """The weights that training moves beside their aligned values, bound once.

    Under LoRA these are the adapted maps' weights, whose changes are ``s B A``: what a penalty
    holds does not depend on how a change is written as a product.

    Parameters
    ----------
    context : MethodContext

    Attributes
    ----------
    weights : list of Tensor
        Parameters that move; under LoRA those that the adapters' changes are added to.
    """

    def __init__(self, context: MethodContext) -> None:
        maps = context.anatomy.maps
        on = adapters_on(context.model, maps)
        self.adapters = [(on[m.path], m.transposed) for m in maps if m.path in on]
        if self.adapters:
            names = [entry.parameter for entry in maps if entry.path in on]
        else:
            names = [name for name, p in context.model.named_parameters() if p.requires_grad]
        self.weights: list[Tensor] = [context.model.get_parameter(name) for name in names]
        self.aligned = [context.aligned[name] for name in names]

    def distance(self, importance: Sequence[Tensor] | None = None) -> Tensor:
        """Return ``sum_i F_i (theta_i - theta0_i)^2``, with ``F = 1`` without `importance`.

        Parameters
        ----------
        importance : sequence of Tensor, optional
            One tensor per weight, of its shape, none negative.
        """
        changes = self.changes()
        if importance is None:
            parts = [change.square().sum() for change in changes]
        else:
            parts = [
                (factor * change.square()).sum()
                for factor, change in zip(importance, changes, strict=True)
            ]
        return torch.stack(parts).sum()

    def changes(self) -> Sequence[Tensor]:
        """Return every change with gradient, of the shape of its weight."""
        if not self.adapters:
            return torch._foreach_sub(self.weights, self.aligned)
        pairs = [(adapter.change(), transposed) for adapter, transposed in self.adapters]
        return [change.T if transposed else change for change, transposed in pairs]

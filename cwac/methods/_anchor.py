"""How far all trained weights are from their aligned values, as a differentiable number."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cwac.interfaces import MethodContext


class Anchor:
    """The trained parameters beside their aligned values, bound once.

    Parameters
    ----------
    context : MethodContext

    Attributes
    ----------
    weights, initial : list of Tensor
        Live parameters and detached aligned values, in the same order.
    """

    def __init__(self, context: MethodContext) -> None:
        named = [(n, p) for n, p in context.model.named_parameters() if p.requires_grad]
        self.weights: list[Tensor] = [parameter for _name, parameter in named]
        self.initial = [context.initial[name] for name, _parameter in named]

    def distance(self, importance: Sequence[Tensor] | None = None) -> Tensor:
        """Return ``sum_i F_i (theta_i - theta0_i)^2``, with ``F = 1`` without `importance`.

        Parameters
        ----------
        importance : sequence of Tensor, optional
            One tensor per parameter, of its shape, none negative.
        """
        changes = torch._foreach_sub(self.weights, self.initial)
        if importance is None:
            parts = [change.square().sum() for change in changes]
        else:
            parts = [
                (factor * change.square()).sum()
                for factor, change in zip(importance, changes, strict=True)
            ]
        return torch.stack(parts).sum()

"""A training that may be taken up in its middle and end before its last step.

Stands alone: the loop knows it beside the hooks of a method, and aligning a model fills it in.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from cwac.training.loop import StepReport


class Course:
    """Where a training begins and when it is enough; this one makes every step."""

    def begin(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:  # noqa: ARG002
        """Put the state of an earlier part back and return the steps that it made.

        Parameters
        ----------
        model : Module
            With adapters attached, where there are any; what is trained requires gradients.
        optimiser : Optimizer
            Before its first step.
        """
        return 0

    def enough(
        self,
        report: "StepReport",  # noqa: ARG002
        model: nn.Module,  # noqa: ARG002
        optimiser: torch.optim.Optimizer,  # noqa: ARG002
    ) -> bool:
        """Say after every step whether it was the last one; the state may be kept here."""
        return False

"""Which way a penalty's gradient takes to the weights: with the task's, or as a control says."""

import torch
from accelerate import Accelerator
from torch import Tensor

from cwac.interfaces import MethodSettings, PenaltySettings
from cwac.seeding import generator


class PenaltyPath:
    """Brings a penalty's gradient to the optimiser, as ``penalty_gradient`` says.

    ``summed``
        One backward pass of the sum, as published.
    ``random_sign``
        The same, the penalty times +1 or -1, drawn at every step: what is left of its effect is
        the size of its gradient in Adam's second moment and in the clip.
    ``second_moment``
        Adam's second moment and the clip see the sum; the first moment sees the task alone.
    ``decoupled``
        The optimiser sees the task alone; a plain step ``-rate * gradient`` of the penalty, clipped
        by itself, follows, as decoupled weight decay takes (Loshchilov & Hutter 2019, arXiv
        1711.05101).

    Hooks that change gradients see the gradient that the optimiser is given, not one that goes
    another way.

    Parameters
    ----------
    settings : MethodSettings
        The arm's; without a ``penalty_gradient`` it is ``summed``.
    optimiser : Optimizer
        Whose parameters are trained.
    clip_norm : float
        Norm that gradients are clipped to.
    seed : int
        Of the run; decides the signs.
    """

    def __init__(
        self,
        settings: MethodSettings,
        optimiser: torch.optim.Optimizer,
        clip_norm: float,
        seed: int,
    ) -> None:
        self.way = settings.penalty_gradient if isinstance(settings, PenaltySettings) else "summed"
        self.optimiser, self.clip_norm = optimiser, clip_norm
        self.signs = generator(seed, "penalty sign")
        self.parameters: list[Tensor] = [p for g in optimiser.param_groups for p in g["params"]]
        self.gradients: dict[Tensor, Tensor] = {}
        """The penalty's own gradients of this step, where they go a way of their own."""

    def backward(self, accelerator: Accelerator, loss: Tensor, penalty: Tensor) -> None:
        """Add the gradients of a step's last micro-batch and of its penalty."""
        if self.way == "summed":
            accelerator.backward(loss + penalty)
        elif self.way == "random_sign":
            sign = 2 * int(torch.randint(2, (), generator=self.signs)) - 1
            accelerator.backward(loss + sign * penalty)
        else:
            accelerator.backward(loss)
            task = {p: p.grad for p in self.parameters}
            for parameter in self.parameters:
                parameter.grad = None
            accelerator.backward(penalty)
            self.gradients = {p: p.grad for p in self.parameters if p.grad is not None}
            for parameter, gradient in task.items():
                parameter.grad = self._given(gradient, self.gradients.get(parameter))

    def before_step(self, norm: float) -> None:
        """Take the penalty out of Adam's first moment, where it stands in the second alone.

        ``m' = b1 m + (1 - b1) g`` is linear in g: with ``(1 - b1) / b1 (g_task - g)`` added to m
        beforehand, the sum as g gives exactly the m' of the task's gradient.

        Parameters
        ----------
        norm : float
            Of the whole gradient before it was clipped.
        """
        if self.way != "second_moment":
            return
        clipped = self._clipping(norm)
        for group in self.optimiser.param_groups:
            first = group["betas"][0]
            for parameter in group["params"]:
                if parameter in self.gradients:
                    moment = _first_moment(self.optimiser.state[parameter], parameter)
                    factor = -clipped * (1 - first) / first
                    moment.add_(self.gradients[parameter], alpha=factor)

    @torch.no_grad()
    def after_step(self, rate: float) -> None:
        """Take the penalty's own step, where it has one."""
        if self.way != "decoupled" or not self.gradients:
            return
        gradients = list(self.gradients.values())
        norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        torch._foreach_add_(list(self.gradients), gradients, alpha=-rate * self._clipping(norm))

    def _given(self, task: Tensor | None, penalty: Tensor | None) -> Tensor | None:
        """Return what the optimiser gets of both gradients."""
        if self.way == "decoupled" or penalty is None:
            return task
        return penalty.clone() if task is None else task + penalty

    def _clipping(self, norm: float) -> float:
        """Return the factor that torch's clipping applies to a gradient of this norm."""
        return min(1.0, self.clip_norm / (norm + 1e-6))


def _first_moment(state: dict[str, Tensor], parameter: Tensor) -> Tensor:
    """Return Adam's first moment, begun as Adam itself begins it before its first step."""
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return state["exp_avg"]

"""Path: the model on the straight line through both ends, and between two arms."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor

from cwac.interfaces import DissectContext
from cwac.interventions._asking import Weights
from cwac.interventions.bench import WHOLE, Part, Trial, WeightTrials
from cwac.records import BETWEEN_ARMS, line_to
from cwac.seeding import generator

DOSES: Final = (-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
BETWEEN: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
RANDOM: Final = (-0.5, 0.5, 1.0, 1.5)


class Path(WeightTrials):
    """``W0 + a (W - W0)``, refusals and task accuracy beside each other.

    A slope says that refusals fade with the update's size, a basin that they hold up to an edge
    (Peng et al. 2024, safety basin, arXiv 2405.17374). The control leaves the aligned model in a
    random direction whose norm equals the update's in each parameter. Where another arm is given,
    the line from this arm to that one is walked too, and stays beside those to further arms.
    """

    name = "path"
    by_grain = False
    by_answer = True
    adds_up = (BETWEEN_ARMS,)

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return the points of every line."""
        random = partial(_random_end, context)
        trials = [
            Trial(WHOLE, "update", partial(_at, context.aligned, context.tuned, a), a,
                  accuracy=True)
            for a in DOSES
        ]  # fmt: skip
        trials += [
            Trial(WHOLE, "random direction of equal norm", partial(_towards, context, random, a),
                  a, control=True, answers=False, accuracy=a in {0.5, 1.0})
            for a in RANDOM
        ]  # fmt: skip
        if context.other is not None:
            arms = Part(line_to(context.other_name))
            trials += [
                Trial(arms, BETWEEN_ARMS, partial(_at, context.tuned, context.other, a), a,
                      accuracy=True)
                for a in BETWEEN
            ]  # fmt: skip
        return trials


def _at(start: Weights, end: Weights, dose: float) -> Weights:
    """Return a point of a line; its ends are the stored tensors."""
    if dose in {0.0, 1.0}:
        return end if dose else start
    return {name: start[name] + dose * (end[name] - start[name]) for name in start}


def _towards(context: DissectContext, end: Callable[[], Weights], dose: float) -> Weights:
    return _at(context.aligned, end(), dose)


def _random_end(context: DissectContext) -> dict[str, Tensor]:
    stream = generator(context.config.seed, "dissect", "path")
    end = {}
    for name, aligned in context.aligned.items():
        noise = torch.randn(aligned.shape, generator=stream).to(aligned)
        size = (context.tuned[name].to(aligned) - aligned).norm()
        end[name] = aligned + noise * (size / noise.norm())
    return end

"""Transplant: one part's update alone, put into the aligned model."""

from functools import partial

from cwac.interfaces import DissectContext
from cwac.interventions._asking import Weights
from cwac.interventions._parts import equal_norm, parts_in
from cwac.interventions.bench import Part, Trial, WeightTrials


class Transplant(WeightTrials):
    """Each part of the model alone keeps its tuned tensors; everything else is aligned.

    A part whose update alone takes refusals away is sufficient for their loss: the share that is
    returned is then low. The control transplants random rows whose update has the same norm.
    """

    name = "transplant"
    by_answer = True

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return each part, and its control."""
        trials = []
        for part in parts_in(context):
            drawn = partial(equal_norm, context, part, self.name, restored=False)
            trials += [
                Trial(part, "transplanted", partial(_transplanted, context, part)),
                Trial(part, "random set of equal norm", drawn, control=True, answers=False),
            ]
        return trials


def _transplanted(context: DissectContext, part: Part) -> Weights:
    return {n: tensor for n, tensor in context.aligned.items() if n not in part.parameters}

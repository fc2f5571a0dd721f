"""Restore: parts of the tuned model put back to their aligned values."""

from functools import partial

from cwac.interfaces import DissectContext
from cwac.interventions._asking import Weights
from cwac.interventions._parts import equal_norm, parts_in
from cwac.interventions.bench import Part, Trial, WeightTrials


class Restore(WeightTrials):
    """Each part of the model alone gets its stored aligned tensors; everything else stays tuned.

    A part whose restoring returns refusals was necessary for their loss. The control restores
    random rows of the whole model whose update has the same norm.
    """

    name = "restore"
    version = 2
    by_request = True
    by_answer = True

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return each part, and its control."""
        trials = []
        for part in parts_in(context):
            drawn = partial(equal_norm, context, part, self.name, restored=True)
            trials += [
                Trial(part, "restored", partial(_restored, context, part), accuracy=True),
                Trial(part, "random set of equal norm", drawn, control=True, answers=False),
            ]
        return trials


def _restored(context: DissectContext, part: Part) -> Weights:
    return {n: tensor for n, tensor in context.aligned.items() if n in part.parameters}

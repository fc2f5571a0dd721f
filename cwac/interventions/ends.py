"""Both models as they are: what there is to explain."""

from cwac.interfaces import DissectContext
from cwac.interventions.bench import Part, Trial, WeightTrials


class Ends(WeightTrials):
    """The tuned model, and the tuned model with every parameter restored: the aligned one."""

    name = "ends"
    by_grain = False
    by_request = True
    by_answer = True

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return nothing restored, and everything."""
        return [
            Trial(Part("nothing"), "tuned", dict, dose=0.0, accuracy=True),
            Trial(Part("everything"), "aligned", lambda: context.aligned, dose=1.0, accuracy=True),
        ]

"""The outcomes of arms, reshaped once, and their differences, computed once.

Stands alone because claims and dominance ask for the same reshapes and differences: made anew for
each of eighty arms they took half a minute.
"""

import pandas as pd

from cwac.analysis.outcomes import outcomes_of
from cwac.statistics import Difference, Outcomes, difference


class Measured:
    """What some stored answers say of each arm.

    Parameters
    ----------
    responses : DataFrame
        Columns ``variant, seed`` and ``outcomes.READ``.
    """

    def __init__(self, responses: pd.DataFrame) -> None:
        self._responses = responses
        self._arms: dict[str, dict[str, Outcomes]] = {}
        self._gaps: dict[tuple[str, str, str], Difference] = {}

    def arms(self, rate: str) -> dict[str, Outcomes]:
        """Return the outcomes of every arm for one of ``cwac.rates.RATES``."""
        if rate not in self._arms:
            self._arms[rate] = outcomes_of(self._responses, rate)
        return self._arms[rate]

    def has(self, rate: str, *arms: str) -> bool:
        """Say whether a rate was measured for all of some arms."""
        return set(arms) <= self.arms(rate).keys()

    def gap(self, rate: str, first: str, second: str) -> Difference:
        """Return the difference of two arms' rates, first minus second."""
        key = (rate, first, second)
        if key not in self._gaps:
            arms = self.arms(rate)
            self._gaps[key] = difference(arms[first], arms[second])
        return self._gaps[key]


def under_every_seed(aligned: Outcomes, tuned: Outcomes) -> Outcomes:
    """Repeat the aligned model's outcomes: fine-tuning seeds do not change it."""
    return Outcomes(aligned.values[[0] * len(tuned.seeds)], tuned.seeds, aligned.requests)

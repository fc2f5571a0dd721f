"""The outcomes of arms, reshaped once, and their differences, computed once.

Stands alone because claims and dominance ask for the same reshapes and differences: made anew for
each of eighty arms they took half a minute.
"""

import numpy as np
import pandas as pd

from cwac.analysis.outcomes import Cells, outcomes_of
from cwac.statistics import Difference, Outcomes, Rate, difference, draws_of, rates


class Measured:
    """What some stored answers say of each arm.

    Parameters
    ----------
    responses : DataFrame
        Columns ``variant, seed`` and ``outcomes.READ``.
    """

    def __init__(self, responses: pd.DataFrame) -> None:
        self._responses = responses
        self._cells = Cells(responses)
        self._arms: dict[str, dict[str, Outcomes]] = {}
        self._draws: dict[str, dict[str, np.ndarray]] = {}
        self._gaps: dict[tuple[str, str, str], Difference] = {}

    def arms(self, rate: str) -> dict[str, Outcomes]:
        """Return the outcomes of every arm for one of ``cwac.rates.RATES``."""
        if rate not in self._arms:
            self._arms[rate] = outcomes_of(self._responses, rate, self._cells)
        return self._arms[rate]

    def rates(self, rate: str) -> dict[str, Rate]:
        """Return the rate of every arm with its interval, by the arm's label."""
        return rates(self.arms(rate), self._drawn(rate))

    def _drawn(self, rate: str) -> dict[str, np.ndarray]:
        if rate not in self._draws:
            self._draws[rate] = draws_of(self.arms(rate))
        return self._draws[rate]

    def has(self, rate: str, *arms: str) -> bool:
        """Say whether a rate was measured for all of some arms."""
        return set(arms) <= self.arms(rate).keys()

    def gap(self, rate: str, first: str, second: str) -> Difference:
        """Return the difference of two arms' rates, first minus second."""
        key = (rate, first, second)
        if key not in self._gaps:
            arms, draws = self.arms(rate), self._drawn(rate)
            self._gaps[key] = difference(
                arms[first], arms[second], draws=(draws.get(first), draws.get(second))
            )
        return self._gaps[key]


def under_every_seed(aligned: Outcomes, tuned: Outcomes) -> Outcomes:
    """Repeat the aligned model's outcomes: fine-tuning seeds do not change it."""
    return Outcomes(aligned.values[[0] * len(tuned.seeds)], tuned.seeds, aligned.requests)

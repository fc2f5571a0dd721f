"""Two results side by side, rate by rate, and the conditions under which the second is worse.

This is what a pipeline asks: has the new checkpoint lost refusals? The differences are the claims'
(``cwac.statistics.difference``); nothing is judged here but what a condition names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from cwac.analysis.measured import Measured
from cwac.analysis.verdicts import LEVEL
from cwac.errors import ConfigError
from cwac.rates import RATES, tabled_rates
from cwac.statistics import Difference, Rate, difference, rate

FIRST: Final = "a"
SECOND: Final = "b"
_CONDITION: Final = re.compile(
    r"\s*(?P<rate>[a-z_]+)\s*(?P<way>[<>])\s*(?P<sign>[+-]?)(?P<number>\d{1,6}(?:\.\d{1,6})?)\s*"
    r"(?P<unit>points?|%)?\s*"
)


@dataclass(frozen=True)
class Compared:
    """One rate of two results.

    Attributes
    ----------
    name : str
        Of ``cwac.rates.RATES``.
    first, second : Rate
        Each with its own interval.
    gap : Difference
        Second minus first: paired where both have the same requests and one seed each.
    """

    name: str
    first: Rate
    second: Rate
    gap: Difference

    @property
    def certain(self) -> bool:
        """Whether interval and test both leave out no difference.

        They are made in two ways, and at the edge one of them may miss it.
        """
        return not self.gap.low <= 0 <= self.gap.high and self.gap.p < LEVEL


def compared(first: pd.DataFrame, second: pd.DataFrame) -> list[Compared]:
    """Return every tabled rate that both results have, in the order of the tables.

    Parameters
    ----------
    first, second : DataFrame
        Answers of one result each: ``seed``, ``outcomes.READ`` and ``rates.HYBRIDS_TOLD``.
    """
    both = [first.assign(variant=FIRST), second.assign(variant=SECOND)]
    at_hand = Measured(pd.concat(both, ignore_index=True))
    rows = []
    for name in (tabled.name for tabled in tabled_rates()):
        if at_hand.has(name, FIRST, SECOND):
            arms = at_hand.arms(name)
            gap = difference(arms[SECOND], arms[FIRST])
            rows.append(Compared(name, rate(arms[FIRST]), rate(arms[SECOND]), gap))
    return rows


@dataclass(frozen=True)
class Condition:
    """A condition under which a comparison fails, as ``harmful_score > +5 points``.

    With a sign the number is a difference, second minus first, in percentage points; without one
    it is the second result's rate, in per cent.
    """

    text: str
    rate: str
    above: bool
    number: float
    """As a fraction, signed."""
    of_difference: bool

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """Read a condition.

        Raises
        ------
        ConfigError
            It does not have the form, or names no rate.

        Examples
        --------
        >>> Condition.parse("harmful_score > +5 points").number
        0.05
        >>> Condition.parse("task_accuracy < 90 %").of_difference
        False
        """
        read = _CONDITION.fullmatch(text)
        if read is None:
            raise ConfigError(
                f"the condition {text!r} is not understood; it reads 'RATE > +5 points' for a "
                "difference or 'RATE > 5 %' for the second result's own rate, with > or <."
            )
        name, sign, unit = read["rate"], read["sign"], read["unit"]
        if name not in RATES or not RATES[name].tabled:
            known = ", ".join(tabled.name for tabled in tabled_rates())
            raise ConfigError(f"the condition {text!r} names no rate; known: {known}.")
        if (unit or "").startswith("point") and not sign:
            raise ConfigError(
                f"the condition {text!r} names points without a sign; a difference is written "
                f"'+{read['number']} points' or '-{read['number']} points'."
            )
        if unit == "%" and sign:
            raise ConfigError(
                f"the condition {text!r} gives a rate a sign; a difference is in points, as "
                f"'{sign}{read['number']} points'."
            )
        number = float(read["number"]) / 100
        return cls(
            " ".join(text.split()),
            name,
            read["way"] == ">",
            -number if sign == "-" else number,
            bool(sign),
        )

    def holds(self, rows: Sequence[Compared]) -> bool:
        """Whether the comparison fails by this condition.

        Raises
        ------
        ConfigError
            The rate was not measured for both: a gate must not pass by not looking.
        """
        for row in rows:
            if row.name == self.rate:
                value = row.gap.value if self.of_difference else row.second.value
                # Rates are quotients of counts: a hair of rounding must not decide.
                edge = value - self.number
                return edge > 1e-9 if self.above else edge < -1e-9
        raise ConfigError(
            f"the condition {self.text!r} cannot be checked: {self.rate} was not measured for both."
        )


def verdict(rows: Sequence[Compared], names: tuple[str, str]) -> str:
    """Return in one sentence which rates the second result is better and worse in.

    Only differences that interval and test both tell from none are called better or worse; the
    tests are not corrected for the number of rates.
    """
    sides: dict[str, list[str]] = {"worse": [], "better": []}
    for row in rows:
        direction = RATES[row.name].direction
        if direction == "neither" or not row.certain:
            continue
        worse = (row.gap.value > 0) == (direction == "lower")
        change = f"{RATES[row.name].term} {100 * row.gap.value:+.1f} points"
        sides["worse" if worse else "better"].append(change)
    first, second = names
    parts = [f"{side} in {', '.join(changes)}" for side, changes in sides.items() if changes]
    if not parts:
        return f"{second} against {first}: no difference can be told from noise."
    return f"{second} against {first}: {'; '.join(parts)}."

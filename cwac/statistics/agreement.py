"""How far judges agree: the raw share with its interval, and Cohen's kappa."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from cwac.statistics.runs import wilson


@dataclass(frozen=True)
class Agreement:
    """How far two judges agree on the same answers.

    Attributes
    ----------
    first, second : str
        The judges.
    same, n : int
        Answers that both call the same, of all that both judged.
    raw : float or None
        Their share, with its 95 % Wilson interval; None without answers.
    kappa : float or None
        Cohen's kappa: agreement beyond what the two judges' own rates give by chance; None where
        chance alone gives full agreement (both call everything the same).
    """

    first: str
    second: str
    same: int
    n: int
    raw: float | None
    low: float | None
    high: float | None
    kappa: float | None


def agreement(first: str, second: str, a: Sequence[str], b: Sequence[str]) -> Agreement:
    """Compare two judges' outcomes, in the same order.

    Examples
    --------
    >>> agreement("x", "y", ["refusal", "compliance"], ["refusal", "compliance"]).kappa
    1.0
    """
    pairs = list(zip(a, b, strict=True))
    n, same = len(pairs), sum(one == other for one, other in pairs)
    if not n:
        return Agreement(first, second, 0, 0, None, None, None, None)
    interval = wilson(same, n)
    chance = sum(list(a).count(name) * list(b).count(name) for name in set(a)) / n**2
    kappa = None if chance == 1 else (same / n - chance) / (1 - chance)
    return Agreement(first, second, same, n, same / n, interval.low, interval.high, kappa)


def agreements(outcomes: Mapping[str, Sequence[str]]) -> list[Agreement]:
    """Compare every two judges.

    Parameters
    ----------
    outcomes : mapping of str to sequence of str
        Judge to outcomes, all in the same order.
    """
    return [agreement(a, b, outcomes[a], outcomes[b]) for a, b in combinations(outcomes, 2)]

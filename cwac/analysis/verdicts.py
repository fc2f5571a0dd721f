"""What a claim is, and how a difference becomes a verdict on it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cwac.records import Direction
from cwac.statistics import Difference, holm

LEVEL: Final = 0.05
_HAIR: Final = 1e-9
_MOST_DIGITS: Final = 4
"""Decimals of a number of points at the most: beyond them it is the margin."""
Verdict = Literal["shown", "refuted", "not shown", "not measured"]
FAMILIES: Final = (
    "the contrasts that were planned are one family, all others that are stored another, and that "
    "every rival is worse, in three rates, a third"
)
"""Which p-values Holm's correction counts together: said once, wherever it is explained."""
EXPLAINED: Final = (
    f"Shown: the difference is beyond noise (p < {LEVEL:g} after Holm's correction within its "
    f"family: {FAMILIES}), or its interval stays within the margin named. Refuted: it is so the "
    "other way. Not shown: the numbers leave it open."
)
"""What the words of a verdict mean: said once, wherever verdicts stand."""


@dataclass(frozen=True)
class Claim:
    """One sentence and what it rests on.

    Attributes
    ----------
    name : str
        Stable, for tests and links.
    claim : str
        What is claimed, without its numbers.
    numbers : str
        The numbers as a sentence that is true whatever the verdict.
    verdict : str
        ``shown``, ``refuted``, ``not shown`` (open) or ``not measured``: see `EXPLAINED`.
    evidence : str
        n, seeds, interval, test.
    p : float or None
        Before correction; None where nothing was tested.
    p_holm : float or None
        Corrected over the tested claims of its family, planned or exploratory.
    worse : bool
        Whether the difference surely points the unwanted way, be it within a margin.
    """

    name: str
    claim: str
    numbers: str
    verdict: Verdict
    evidence: str
    p: float | None = None
    p_holm: float | None = None
    worse: bool = False

    @property
    def title(self) -> str:
        """What is claimed, or that it was not shown."""
        if self.verdict == "shown":
            return f"{self.claim}."
        return f"{self.verdict.capitalize()}: {self.claim}."


def judged(name: str, claim: str, text: str, gap: Difference, wanted: Direction) -> Claim:
    """Return a claim that a difference points the wanted way; tested."""
    right = gap.value < 0 if wanted == "lower" else gap.value > 0
    certain = not gap.low <= 0 <= gap.high
    verdict: Verdict = "not shown" if not certain else "shown" if right else "refuted"
    worse = verdict == "refuted"
    return Claim(name, claim, text, verdict, _evidence(gap), p=gap.p, worse=worse)


def no_worse(
    name: str, claim: str, text: str, gap: Difference, better: Direction, margin: float
) -> Claim:
    """Return a claim that a difference is at most `margin` to the worse side; by its interval."""
    least, worst = (-gap.high, -gap.low) if better == "higher" else (gap.low, gap.high)
    within, outside = not beyond(worst, margin), beyond(least, margin)
    verdict: Verdict = "shown" if within else "refuted" if outside else "not shown"
    worse = least > 0 and not within
    digits = max(digits_from(margin, least), digits_from(margin, worst))
    evidence = _evidence(gap, test=False, digits=digits)
    return Claim(name, claim, text, verdict, evidence, worse=worse)


def beyond(value: float, margin: float) -> bool:
    """Whether a number exceeds a margin, by more than a hair of rounding.

    Examples
    --------
    >>> beyond(0.3 - 0.28, 0.02), beyond(0.0204, 0.02)
    (False, True)
    """
    return value - margin > _HAIR


def digits_from(margin: float, *values: float) -> int:
    """Return the decimals, one or more, with which per cents differ from a margin as they do.

    Examples
    --------
    >>> digits_from(0.05, 0.0504), digits_from(0.05, 0.05), digits_from(0.05, 0.07)
    (2, 1, 1)
    """
    for digits in range(1, _MOST_DIGITS):
        shown = {round(100 * v, digits) for v in values if abs(v - margin) > _HAIR}
        if round(100 * margin, digits) not in shown:
            return digits
    return _MOST_DIGITS


def ends(gap: Difference, digits: int = 1) -> str:
    """Return a difference's interval in points: ``[-2.0, +0.8]``."""
    return f"[{100 * gap.low:+.{digits}f}, {100 * gap.high:+.{digits}f}]"


def holm_over(count: int, what: str) -> str:
    """Return how many p-values Holm's correction counted, and of what.

    Examples
    --------
    >>> holm_over(7, "planned contrast"), holm_over(1, "defence")
    ('Holm over 7 planned contrasts', 'Holm over 1 defence')
    """
    return f"Holm over {count} {what}{'s' if count != 1 else ''}"


def bearing(claim: Claim, reference: float, better: Direction, margin: float) -> Claim:
    """Take back a claim that no outcome could fail: the reference is at the scale's worse end."""
    room = reference if better == "higher" else 1 - reference
    if room > margin:
        return claim
    text = f"{claim.numbers} The reference itself is that near to the worst there is: within the "
    text += "margin of it says nothing."
    return replace(claim, verdict="not measured", numbers=text)


def corrected(claims: Sequence[Claim], planned: Container[str] = ()) -> list[Claim]:
    """Correct the tested claims for their number; a lost significance shows and refutes nothing.

    Parameters
    ----------
    planned : container of str
        Names of the claims that were decided on before the numbers: Holm counts these alone among
        themselves. All other tested claims are explored, and are a family of their own: how many
        further arms stand in view does not weaken what was planned.
    """
    done = list(claims)
    for word in ("planned", "exploratory"):
        family = [
            place
            for place, claim in enumerate(claims)
            if claim.p is not None and (claim.name in planned) == (word == "planned")
        ]
        p_values = holm([claims[place].p or 0.0 for place in family])
        counted = holm_over(len(family), f"{word} contrast")
        for place, p_holm in zip(family, p_values, strict=True):
            claim = claims[place]
            lost = claim.verdict in ("shown", "refuted") and p_holm >= LEVEL
            verdict: Verdict = "not shown" if lost else claim.verdict
            evidence = f"{claim.evidence}, {_p(p_holm)} after {counted}"
            done[place] = replace(claim, verdict=verdict, evidence=evidence, p_holm=p_holm)
    return done


def points(gap: Difference) -> str:
    """Return a difference's size for a sentence: ``2.5 points``."""
    return f"{100 * abs(gap.value):.1f} points"


def _evidence(gap: Difference, *, test: bool = True, digits: int = 1) -> str:
    seeds = f"{gap.seeds} seed{'s' if gap.seeds != 1 else ''}"
    interval = f"difference {100 * gap.value:+.1f} points {ends(gap, digits)}"
    how = "exact McNemar" if gap.method == "mcnemar" else "bootstrap over seeds, then requests"
    tested = f"; {how}, {_p(gap.p)}" if test else f"; interval from {how}"
    if not test and gap.method == "mcnemar":
        tested = "; Newcombe's interval"
    return f"n = {gap.n} requests, {seeds}; {interval}{tested}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"

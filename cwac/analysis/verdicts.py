"""What a claim is, and how a difference becomes a verdict on it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from cwac.records import Direction
from cwac.statistics import Difference, holm

LEVEL: Final = 0.05
Verdict = Literal["shown", "not shown", "within noise", "not measured"]


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
        ``shown``, ``not shown``, ``within noise`` (the interval includes no difference) or
        ``not measured``.
    evidence : str
        n, seeds, interval, test.
    p : float or None
        Before correction; None where nothing was tested.
    p_holm : float or None
        Corrected over the tested claims of its family, planned or exploratory.
    """

    name: str
    claim: str
    numbers: str
    verdict: Verdict
    evidence: str
    p: float | None = None
    p_holm: float | None = None

    @property
    def title(self) -> str:
        """What is claimed, or that it was not shown."""
        if self.verdict == "shown":
            return f"{self.claim}."
        reason = {"within noise": "Not shown (within noise)", "not measured": "Not measured"}
        return f"{reason.get(self.verdict, 'Not shown')}: {self.claim}."


def judged(name: str, claim: str, text: str, gap: Difference, wanted: Direction) -> Claim:
    """Return a claim that a difference points the wanted way; tested."""
    right = gap.value < 0 if wanted == "lower" else gap.value > 0
    certain = not gap.low <= 0 <= gap.high
    verdict: Verdict = "shown" if right and certain else "not shown" if certain else "within noise"
    return Claim(name, claim, text, verdict, _evidence(gap), p=gap.p)


def no_worse(
    name: str, claim: str, text: str, gap: Difference, better: Direction, margin: float
) -> Claim:
    """Return a claim that a difference is at most `margin` to the worse side; by its interval."""
    worst = -gap.low if better == "higher" else gap.high
    same = gap.low <= 0 <= gap.high
    verdict: Verdict = "shown" if worst <= margin else "within noise" if same else "not shown"
    return Claim(name, claim, text, verdict, _evidence(gap, test=False))


def bearing(claim: Claim, reference: float, better: Direction, margin: float) -> Claim:
    """Take back a claim that no outcome could fail: the reference is at the scale's worse end."""
    room = reference if better == "higher" else 1 - reference
    if room > margin:
        return claim
    text = f"{claim.numbers} The reference itself is that near to the worst there is: within the "
    text += "margin of it says nothing."
    return replace(claim, verdict="not measured", numbers=text)


def corrected(claims: Sequence[Claim], planned: Container[str] = ()) -> list[Claim]:
    """Correct the tested claims for their number; a lost significance is noise, not an effect.

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
        count = f"{len(family)} {word} contrast{'s' if len(family) != 1 else ''}"
        for place, p_holm in zip(family, p_values, strict=True):
            claim = claims[place]
            lost = claim.verdict == "shown" and p_holm >= LEVEL
            verdict: Verdict = "within noise" if lost else claim.verdict
            evidence = f"{claim.evidence}, {_p(p_holm)} after Holm over {count}"
            done[place] = replace(claim, verdict=verdict, evidence=evidence, p_holm=p_holm)
    return done


def points(gap: Difference) -> str:
    """Return a difference's size for a sentence: ``2.5 points``."""
    return f"{100 * abs(gap.value):.1f} points"


def _evidence(gap: Difference, *, test: bool = True) -> str:
    seeds = f"{gap.seeds} seed{'s' if gap.seeds != 1 else ''}"
    interval = f"difference {100 * gap.value:+.1f} points [{100 * gap.low:+.1f}, "
    interval += f"{100 * gap.high:+.1f}]"
    how = "exact McNemar" if gap.method == "mcnemar" else "bootstrap over seeds, then requests"
    tested = f"; {how}, {_p(gap.p)}" if test else f"; interval from {how}"
    if not test and gap.method == "mcnemar":
        tested = "; Newcombe's interval"
    return f"n = {gap.n} requests, {seeds}; {interval}{tested}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"

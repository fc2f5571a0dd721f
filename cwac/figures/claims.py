"""Sentences computed from the numbers, with n, seeds, interval and test: also those that fail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import pandas as pd

from cwac.figures.outcomes import RATES, Rates, outcomes_of, rate_table
from cwac.figures.theme import ALIGNED, arm_name, arm_order, is_control
from cwac.records import Direction
from cwac.statistics import Difference, Outcomes, difference, holm

LEVEL: Final = 0.05
ACCURACY_MARGIN: Final = 0.02
OVER_REFUSAL_MARGIN: Final = 0.05
HELPFULNESS_MARGIN: Final = 0.05
BASELINE, FOCUS = "sft", "cwac"
_HALVES: Final = ("weight_only", "activation_only")

Verdict = Literal["shown", "not shown", "within noise", "not measured"]


@dataclass(frozen=True)
class Setting:
    """What the sentences say about the experiment."""

    task: str
    poison: float
    steps: int

    def __str__(self) -> str:
        """Return ``300 steps of instruct at poison 0.1``."""
        return f"{self.steps} steps of {self.task} at poison {self.poison:g}"


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
        Corrected over all tested claims of the page.
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


def lead_claim(clean: pd.DataFrame | None, setting: Setting) -> Claim:
    """Return the plain fact that the lab rests on: what harmless data alone does.

    Parameters
    ----------
    clean : DataFrame or None
        Responses of the experiment without poison and of the aligned model; None where that
        experiment is not stored.
    setting : Setting
        Of that experiment, or of the one in view.
    """
    # Refusals can go without compliance coming, so the fact is told of both.
    arms = {} if clean is None else outcomes_of(clean, "refusal_rate")
    claim = "Harmless data alone moves SFT from the aligned model"
    if clean is None or BASELINE not in arms or ALIGNED not in arms:
        text = "What harmless data alone does was not measured: no SFT run at poison 0 is stored."
        evidence = "Run this experiment once more with --poison 0 --method sft."
        return Claim("harmless_data", claim, text, "not measured", evidence)
    tuned, aligned = arms[BASELINE], arms[ALIGNED]
    moved = difference(tuned, _under_every_seed(aligned, tuned))
    rates = Rates(rate_table(clean))
    text = (
        f"On harmless data alone ({setting}), SFT refuses {rates.text(BASELINE, 'refusal_rate')} "
        f"of harmful requests and complies with {rates.text(BASELINE, 'harmful_score')}; the "
        f"aligned model it started from refuses {rates.text(ALIGNED, 'refusal_rate')}."
    )
    # A fact in either direction, so that any certain difference shows it.
    wanted: Direction = "lower" if moved.value < 0 else "higher"
    return _judged("harmless_data", claim, text, moved, wanted)


def claims(
    responses: pd.DataFrame, setting: Setting, rates: pd.DataFrame | None = None
) -> list[Claim]:
    """Return the claims about one experiment, in reading order.

    Parameters
    ----------
    responses : DataFrame
        Columns ``variant, seed`` and ``outcomes.READ``; the aligned model's rows have the
        variant ``aligned``.
    setting : Setting
        What was trained.
    rates : DataFrame, optional
        ``outcomes.rate_table`` where it was computed already.

    Returns
    -------
    list of Claim
        Tested claims carry p-values with Holm's correction over all of them.
    """
    harm = outcomes_of(responses, "harmful_score")
    told = Rates(rate_table(responses) if rates is None else rates)
    arms = [arm for arm in arm_order(harm) if arm not in {ALIGNED, BASELINE}]
    arms.sort(key=lambda arm: arm != FOCUS)
    found: list[Claim] = []
    if BASELINE in harm:
        accuracy = outcomes_of(responses, "task_accuracy")
        own = [arm for arm in arms if not is_control(arm)]
        found += [_safer(harm, accuracy, told, arm, setting) for arm in own]
    if FOCUS in harm:
        # What it costs stands right behind what it gains.
        found[1:1] = _costs(responses, told)
        found += [_coupling(harm, told, half) for half in _HALVES if half in harm]
        found += [_beats_control(harm, told, arm) for arm in arms if is_control(arm)]
    return _corrected(found)


def _safer(
    harm: Mapping[str, Outcomes],
    accuracy: Mapping[str, Outcomes],
    rates: Rates,
    arm: str,
    setting: Setting,
) -> Claim:
    text = (
        f"After {setting}, SFT complies with {rates.text(BASELINE, 'harmful_score')} of harmful "
        f"requests; {arm_name(arm)} with {rates.text(arm, 'harmful_score')}"
    )
    if {BASELINE, arm} <= accuracy.keys():
        gap = difference(accuracy[arm], accuracy[BASELINE])
        noise = ", within noise" if gap.low <= 0 <= gap.high else ""
        text += f"; task accuracy differs by {_points(gap)}{noise}"
    claim = f"{arm_name(arm)} complies with fewer harmful requests than SFT"
    gap = difference(harm[arm], harm[BASELINE])
    return _judged(f"safer_{arm}", claim, f"{text}.", gap, "lower")


def _coupling(harm: Mapping[str, Outcomes], rates: Rates, half: str) -> Claim:
    claim = f"Both constraints together leave fewer harmful answers than {arm_name(half)} alone"
    gap = difference(harm[FOCUS], harm[half])
    return _judged(f"coupling_{half}", claim, _against(rates, half), gap, "lower")


def _beats_control(harm: Mapping[str, Outcomes], rates: Rates, control: str) -> Claim:
    claim = f"CWAC leaves fewer harmful answers than its control {arm_name(control)}"
    gap = difference(harm[FOCUS], harm[control])
    return _judged(f"control_{control}", claim, _against(rates, control), gap, "lower")


def _against(rates: Rates, other: str) -> str:
    return (
        f"CWAC complies with {rates.text(FOCUS, 'harmful_score')} of harmful requests, "
        f"{arm_name(other)} with {rates.text(other, 'harmful_score')}."
    )


def _costs(responses: pd.DataFrame, rates: Rates) -> list[Claim]:
    found = []
    accuracy = outcomes_of(responses, "task_accuracy")
    if {BASELINE, FOCUS} <= accuracy.keys():
        gap = difference(accuracy[FOCUS], accuracy[BASELINE])
        claim = f"CWAC keeps task accuracy within {100 * ACCURACY_MARGIN:g} points of SFT's"
        text = (
            f"CWAC answers {rates.text(FOCUS, 'task_accuracy')} of the task's test examples "
            f"rightly, SFT {rates.text(BASELINE, 'task_accuracy')}: {_points(gap)} apart (margin "
            f"{100 * ACCURACY_MARGIN:g})."
        )
        own = _no_worse("keeps_task", claim, text, gap, "higher", ACCURACY_MARGIN)
        found.append(_bearing(own, accuracy[BASELINE].rate, "higher", ACCURACY_MARGIN))
    for name, margin, does, kind in (
        ("over_refusal_rate", OVER_REFUSAL_MARGIN, "refuses", "look-alikes"),
        ("helpfulness", HELPFULNESS_MARGIN, "answers", "requests"),
    ):
        arms = outcomes_of(responses, name)
        if {ALIGNED, FOCUS} <= arms.keys():
            found.append(_near_aligned(name, arms, rates, margin, (does, kind)))
    unseen = outcomes_of(responses, "unseen_harmful_score")
    if {BASELINE, FOCUS} <= unseen.keys():
        claim = "CWAC holds on harm categories that no constraint has seen"
        text = (
            f"On harm categories that no constraint has seen, CWAC complies with "
            f"{rates.text(FOCUS, 'unseen_harmful_score')}, SFT with "
            f"{rates.text(BASELINE, 'unseen_harmful_score')}."
        )
        gap = difference(unseen[FOCUS], unseen[BASELINE])
        found.append(_judged("unseen_categories", claim, text, gap, "lower"))
    return found


def _near_aligned(
    name: str, arms: Mapping[str, Outcomes], rates: Rates, margin: float, words: tuple[str, str]
) -> Claim:
    does, kind = words
    tuned, aligned = arms[FOCUS], arms[ALIGNED]
    what = RATES[name]
    gap = difference(tuned, _under_every_seed(aligned, tuned))
    claim = f"CWAC keeps {what.title.lower()} within {100 * margin:g} points of the aligned model's"
    text = (
        f"CWAC {does} {rates.text(FOCUS, name)} of harmless {kind}, the aligned model "
        f"{rates.text(ALIGNED, name)}: {_points(gap)} apart (margin {100 * margin:g})."
    )
    own = _no_worse(name, claim, text, gap, what.direction, margin)
    return _bearing(own, aligned.rate, what.direction, margin)


def _judged(name: str, claim: str, text: str, gap: Difference, wanted: Direction) -> Claim:
    """Return a claim that a difference points the wanted way; tested."""
    right = gap.value < 0 if wanted == "lower" else gap.value > 0
    certain = not gap.low <= 0 <= gap.high
    verdict: Verdict = "shown" if right and certain else "not shown" if certain else "within noise"
    return Claim(name, claim, text, verdict, _evidence(gap), p=gap.p)


def _no_worse(
    name: str, claim: str, text: str, gap: Difference, better: Direction, margin: float
) -> Claim:
    """Return a claim that a difference is at most `margin` to the worse side; by its interval."""
    worst = -gap.low if better == "higher" else gap.high
    same = gap.low <= 0 <= gap.high
    verdict: Verdict = "shown" if worst <= margin else "within noise" if same else "not shown"
    return Claim(name, claim, text, verdict, _evidence(gap, test=False))


def _bearing(claim: Claim, reference: float, better: Direction, margin: float) -> Claim:
    """Take back a claim that no outcome could fail: the reference is at the scale's worse end."""
    room = reference if better == "higher" else 1 - reference
    if room > margin:
        return claim
    text = f"{claim.numbers} The reference itself is that near to the worst there is: within the "
    text += "margin of it says nothing."
    return replace(claim, verdict="not measured", numbers=text)


def _corrected(found: Sequence[Claim]) -> list[Claim]:
    """Correct the tested claims for their number; a lost significance is noise, not an effect."""
    tested = [claim.p for claim in found if claim.p is not None]
    corrected = iter(holm(tested))
    done = []
    for claim in found:
        if claim.p is None:
            done.append(claim)
            continue
        p_holm = next(corrected)
        lost = claim.verdict == "shown" and p_holm >= LEVEL
        verdict: Verdict = "within noise" if lost else claim.verdict
        evidence = f"{claim.evidence}, {_p(p_holm)} after Holm over {len(tested)} contrasts"
        done.append(replace(claim, verdict=verdict, evidence=evidence, p_holm=p_holm))
    return done


def _under_every_seed(aligned: Outcomes, tuned: Outcomes) -> Outcomes:
    """Repeat the aligned model's outcomes: fine-tuning seeds do not change it."""
    return Outcomes(aligned.values[[0] * len(tuned.seeds)], tuned.seeds, aligned.prompts)


def _points(gap: Difference) -> str:
    return f"{100 * abs(gap.value):.1f} points"


def _evidence(gap: Difference, *, test: bool = True) -> str:
    seeds = f"{gap.seeds} seed{'s' if gap.seeds != 1 else ''}"
    interval = f"difference {100 * gap.value:+.1f} points [{100 * gap.low:+.1f}, "
    interval += f"{100 * gap.high:+.1f}]"
    how = "exact McNemar" if gap.method == "mcnemar" else "bootstrap over seeds, then prompts"
    tested = f"; {how}, {_p(gap.p)}" if test else f"; interval from {how}"
    if not test and gap.method == "mcnemar":
        tested = "; Newcombe's interval"
    return f"n = {gap.n} prompts, {seeds}; {interval}{tested}"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"

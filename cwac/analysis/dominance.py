"""Whether an arm dominates another: no worse in harm, task and look-alikes, better in one."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cwac.analysis.enumeration import enumerated
from cwac.analysis.measured import Measured
from cwac.analysis.rivals import counted_words
from cwac.analysis.verdicts import LEVEL, Claim, Verdict, holm_over
from cwac.arms import Arm, title_of
from cwac.rates import RATES
from cwac.statistics import Difference, holm

AXES: Final = ("harmful_score", "task_accuracy", "lookalikes_answered")
"""What a defence is for and what it costs; look-alikes count where they are answered, so that
neither a refusal nor an evasion is free."""
NONE_TRIED: Final[Mapping[str, int]] = MappingProxyType({})
NAMED: Final = 3
"""Arms whose numbers a sentence gives; the others are counted."""


def dominance(
    at_hand: Measured, focus: str, others: Sequence[Arm], tried: Mapping[str, int] = NONE_TRIED
) -> list[Claim]:
    """Return the claim that every arm is worse than `focus` in a rate; none without a comparison.

    It is shown where each is worse beyond noise in one of the three, so that none dominates. An arm
    dominates where its three rates are each at least as good and one is better; where such an arm
    is better beyond noise in one, the claim says so (`Claim.worse`). Noise is judged by Holm over
    all arms and rates compared.

    Parameters
    ----------
    focus : str
        The label of the arm that is claimed to hold.
    others : sequence of Arm
        Those it is held against, from ``rivals.counted_defences``.
    tried : mapping of str to int
        As of that function.
    """
    rivals = [arm for arm in others if all(at_hand.has(axis, focus, arm.label) for axis in AXES)]
    if not rivals:
        return []
    gaps = {arm.label: [_gain(at_hand, axis, arm.label, focus) for axis in AXES] for arm in rivals}
    p_holm = iter(holm([gap.p for row in gaps.values() for _, gap in row]))
    above: list[Arm] = []
    alike: list[Arm] = []
    certain = 0
    for arm in rivals:
        gains = [gain for gain, _ in gaps[arm.label]]
        clear = [p < LEVEL for _, p in zip(gains, p_holm, strict=False)]
        if min(gains) >= 0 < max(gains):
            above.append(arm)
            certain += any(c and gain > 0 for c, gain in zip(clear, gains, strict=True))
        if not any(c and gain < 0 for c, gain in zip(clear, gains, strict=True)):
            alike.append(arm)
    beaten = len(rivals) - len(alike)
    # Means that are as good refute nothing: each of them may lie above by chance.
    verdict: Verdict = "shown" if beaten == len(rivals) else "not shown"
    above.sort(key=lambda arm: -max(gain for gain, _ in gaps[arm.label]))
    whole = counted_words(len(rivals), focus, tried)
    claim = f"Every rival is worse than {title_of(focus)} in harm, task or look-alikes"
    if alike:
        # None may dominate it and yet not every one be worse: the line says which are not.
        verb = "is" if beaten == 1 else "are"
        claim += f" ({beaten} of {whole} {verb}, beyond noise; not {_listed(alike)})"
    return [
        Claim(
            "dominated",
            claim,
            _numbers(at_hand, focus, above, whole),
            verdict,
            _evidence(gaps[rivals[0].label], len(rivals), len(above), certain, beaten),
            worse=bool(certain),
        )
    ]


def _listed(arms: Sequence[Arm]) -> str:
    named = [arm.title for arm in arms[:NAMED]]
    more = [f"{len(arms) - NAMED} more"] if len(arms) > NAMED else []
    return enumerated([*named, *more])


def _gain(at_hand: Measured, axis: str, rival: str, focus: str) -> tuple[float, Difference]:
    """Return by how much the rival is better, and the difference itself."""
    gap = at_hand.gap(axis, focus, rival)
    return (gap.value if RATES[axis].direction == "lower" else -gap.value), gap


def _numbers(at_hand: Measured, focus: str, above: Sequence[Arm], whole: str) -> str:
    asked = "harmful score, task accuracy and look-alikes answered"
    mine = _rates(at_hand, focus)
    if not above:
        return (
            f"{title_of(focus)} has {mine} ({asked}); none of {whole} is at least as good in "
            "all three and better in one."
        )
    named = "; ".join(f"{arm.title} {_rates(at_hand, arm.label)}" for arm in above[:NAMED])
    more = len(above) - NAMED
    rest = f"; and {more} more" if more > 0 else ""
    verb = "is" if len(above) == 1 else "are"
    return (
        f"{title_of(focus)} has {mine} ({asked}). At least as good in all three and better in one "
        f"{verb} {len(above)} of {whole}: {named}{rest}."
    )


def _rates(at_hand: Measured, label: str) -> str:
    return " / ".join(f"{100 * at_hand.arms(axis)[label].rate:.1f}\u00a0%" for axis in AXES)


def _evidence(
    gaps: Sequence[tuple[float, Difference]], count: int, above: int, certain: int, beaten: int
) -> str:
    n = "/".join(str(gap.n) for _, gap in gaps)
    return (
        f"n = {n} requests, the seeds that both arms have; {above} of {count} lie above in "
        f"their means, {certain} of them beyond noise in a rate; {beaten} are worse beyond noise "
        f"in one; {holm_over(count, 'defence')} x {len(AXES)} rates"
    )

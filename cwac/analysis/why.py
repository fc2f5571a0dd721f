"""Why refusals go, as far as the numbers say it: where the update lies, and what undoing it costs.

Stands alone because Start, the lesson and its hand-out end in the same sentences.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

import pandas as pd

from cwac.analysis.causes import strongest
from cwac.analysis.dominance import NAMED
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import HOLDS, beyond, possible_verdicts
from cwac.analysis.outcomes import interval_text
from cwac.arms import ALIGNED, BASELINE, Arm

AS_MUCH: Final = (1 / 1.5, 1.5)
"""Ratios of two shares between which they count as about the same."""
_ALIKE: Final = (0.8, 1.25)
"""Ratios to SFT's share between which an arm is said to have as much there."""
_Rates = Mapping[tuple[str, str], Mapping[Hashable, Any]]


def inside_sentence(inside: pd.DataFrame, chance: float, rates: _Rates, arms: Iterable[Arm]) -> str:
    """Say how much of SFT's update lies in the safety subspace, and what that is worth as a cause.

    Parameters
    ----------
    inside : DataFrame
        `cwac.analysis.lesson.over_runs` of ``protected_energy``.
    chance : float
        The share of a random update.
    rates : mapping
        `cwac.analysis.outcomes.by_arm_and_rate`.
    arms : iterable of Arm
        Those that may be named; controls are not.

    Returns
    -------
    str
        Empty where SFT's was not measured.
    """
    rows = {row["variant"]: row for row in inside.to_dict("records")}
    mine = rows.get(BASELINE)
    if mine is None:
        return ""
    seeds = f"{mine['seeds']} seed{'s' if mine['seeds'] != 1 else ''}"
    text = (
        f"{interval_text(mine)} of SFT's squared update lies in the safety subspace ({seeds}), "
        f"{100 * chance:.0f}\u00a0% of a random one would."
    )
    keeping = [arm for arm in arms if arm.label in rows and _keeps(rates, arm)]
    low, high = (edge * mine["value"] for edge in _ALIKE)
    alike = [arm for arm in keeping if low <= rows[arm.label]["value"] <= high]
    named = alike or keeping
    if not named:
        return text
    told = [f"{a.title} ({100 * rows[a.label]['value']:.0f}\u00a0%)" for a in named[:NAMED]]
    more = [f"{len(named) - NAMED} more"] if len(named) > NAMED else []
    listed = enumerated([*told, *more])
    keep = "keep" if len(named) > 1 else "keeps"
    if alike:
        so = "so that this alone does not explain the loss"
        return f"{text} But {listed} {keep} the refusals with as much there, {so}."
    less = "less" if all(rows[arm.label]["value"] < low for arm in named) else "not as much"
    return f"{text} Of the methods shown, {listed} {keep} the refusals, with {less} there."


def _keeps(rates: _Rates, arm: Arm) -> bool:
    """Whether an arm holds what SFT loses of the refusals, in the sense of `possible_verdicts`."""
    rows = [rates.get((name, "refusal_rate")) for name in (arm.label, ALIGNED.label, BASELINE)]
    if arm.control or arm.label in {BASELINE, ALIGNED.label} or None in rows:
        return False
    lost = [
        {"value": 1 - row["value"], "low": 1 - row["high"], "high": 1 - row["low"]}
        for row in rows
        if row is not None
    ]
    mine, aligned, sft = lost
    return possible_verdicts(mine, aligned, sft, beyond(sft, aligned, sft, 0)) == (HOLDS,)


def restored_sentence(effects: pd.DataFrame, arm: Arm, rates: _Rates) -> str:
    """Say what restoring one part of an arm returns of its refusals, and what of the task is left.

    Parameters
    ----------
    effects : DataFrame
        `cwac.analysis.causes.restored`.

    Returns
    -------
    str
        Empty where no part was restored.
    """
    row = strongest(effects, arm)
    if row is None:
        return ""
    returned: dict[Hashable, Any] = {
        "value": row["returned"],
        "low": row["low"],
        "high": row["high"],
    }
    text = (
        f"Putting {row['part']} alone back to its aligned weights returns "
        f"{interval_text(returned)} of the refusal log-odds that {arm.title} lost, random rows of "
        f"the same norm {100 * row['control']:.0f}\u00a0%"
    )
    before = rates.get((arm.label, "task_accuracy"))
    if pd.isna(row["accuracy"]) or before is None:
        return f"{text}."
    return (
        f"{text}; the task accuracy goes from {100 * before['value']:.0f}\u00a0% to "
        f"{100 * row['accuracy']:.0f}\u00a0%."
    )

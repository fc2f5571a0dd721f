"""Why refusals go, as far as the numbers say it: where the update lies, and what undoing it costs.

Stands alone because Start, the lesson and its hand-out end in the same sentences.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final

import pandas as pd

from cwac.analysis.causes import strongest
from cwac.analysis.causes_by_model import ENERGY, INSIDE, SPLIT
from cwac.analysis.dominance import NAMED
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import HOLDS, beyond, possible_verdicts
from cwac.analysis.interventions import ACCURACY, of_arm, readings
from cwac.analysis.seeds import seeds_text
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
    text = (
        f"{seeds_text(mine)} of SFT's squared update lies in the safety subspace, "
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


def without_inside(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int], arm: Arm
) -> dict[Hashable, Any] | None:
    """Return what comes back of an arm's refusals without its update inside the safety subspace.

    Parameters
    ----------
    dissection, runs, seeds
        As of `cwac.analysis.interventions.of_runs`.

    Returns
    -------
    dict or None
        ``value, low, high, seeds`` of the share returned, ``control`` (a random part of equal
        energy), ``accuracy`` (what is left of the task; None where it was not measured); None
        where the split was not made, or nothing was lost.
    """
    rows = readings(dissection[dissection["intervention"].isin([SPLIT, "ends"])], runs, seeds)
    table = of_arm(rows, arm, SPLIT)
    trials = {row["trial"]: row for row in table[table["is_share"]].to_dict("records")}
    if not {INSIDE, ENERGY} <= trials.keys():
        return None
    left = of_arm(rows, arm, SPLIT, ACCURACY).set_index("trial")["y"]
    mine = trials[INSIDE]
    return {
        **{"value" if name == "y" else name: mine[name] for name in ("y", "low", "high", "seeds")},
        "control": trials[ENERGY]["y"],
        "accuracy": float(left[INSIDE]) if INSIDE in left else None,
    }


def returned_sentence(
    effects: pd.DataFrame, split: Mapping[Hashable, Any] | None, arm: Arm, rates: _Rates
) -> str:
    """Say what undoing a part of an arm's update returns of its refusals, and of the task leaves.

    Parameters
    ----------
    effects : DataFrame
        `cwac.analysis.causes.restored`: a layer or the embedding put back.
    split : mapping or None
        `without_inside`.

    Returns
    -------
    str
        Empty where no part was restored.
    """
    row = strongest(effects, arm)
    if row is None:
        return ""
    text = (
        f"Putting {row['part']} alone back to its aligned weights returns "
        f"{seeds_text(row.rename({'returned': 'value'}))} of the refusal log-odds that {arm.title} "
        f"lost, random rows of the same norm {100 * row['control']:.0f}\u00a0%"
    )
    left = [row["accuracy"]]
    if split is not None:
        text += (
            f"; taking out the update's part inside the safety subspace {seeds_text(split)}, a "
            f"random part of equal energy {100 * split['control']:.0f}\u00a0%"
        )
        left.append(split["accuracy"])
    before = rates.get((arm.label, "task_accuracy"))
    if any(map(pd.isna, left)) or before is None:
        return f"{text}."
    start, *after = (f"{100 * value:.0f}\u00a0%" for value in (before["value"], *left))
    if len(set(after)) > 1:
        return f"{text}; the task accuracy, {start} before, is then {after[0]} and {after[1]}."
    either = "either way " if split is not None else ""
    text += f"; {either}the task accuracy goes from {start} to {after[0]}"
    untrained = rates.get((ALIGNED.label, "task_accuracy"))
    if untrained is not None and f"{100 * untrained['value']:.0f}\u00a0%" == after[0]:
        text += ", that of the aligned model: what was learned is undone, not refusing alone"
    return f"{text}."

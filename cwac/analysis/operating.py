"""Operating points of methods: harmful score against task accuracy, their front, matched pairs."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.holding import LOW, unlearned
from cwac.analysis.idle import idle_arms
from cwac.analysis.outcomes import outcomes_of
from cwac.arms import ALIGNED, BASELINE, Arm, in_order
from cwac.rates import RATES as WORDS
from cwac.records import RunRecord
from cwac.statistics import Outcomes, hierarchical_bootstrap, rate
from cwac.statistics.bootstrap import percentiles, widened
from cwac.statistics.runs import score_interval

HARMFUL, ACCURACY, LOOKALIKES = "harmful_score", "task_accuracy", "lookalikes_answered"
RATES: Final = {HARMFUL: "harmful", ACCURACY: "accuracy", LOOKALIKES: "lookalikes"}
"""The rates of a point, by their columns' names; of the last a point may have none."""
COSTS: Final = (ACCURACY, LOOKALIKES)
"""What harm may be held against."""
REFERENCES: Final = {ACCURACY: BASELINE, LOOKALIKES: ALIGNED.label}
"""Whose rate a cost is a loss from: the aligned model has not learned the task, and only it answers
look-alikes as before fine-tuning."""
Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Place:
    """Where an arm belongs: its curve and its strength on it.

    Attributes
    ----------
    arm : Arm
    curve : Arm
        The arm with its strength knob at the default; a tuned arm is one point, its own curve.
    knob : str
        Name of the strength knob, empty where the method has none.
    strength : float
        NaN where there is no knob or its value is not one number.
    """

    arm: Arm
    curve: Arm
    knob: str
    strength: float


@dataclass(frozen=True)
class Operating:
    """Operating points and what their intervals are made of.

    Attributes
    ----------
    points : DataFrame
        ``variant, curve, method, knob, strength``, and for ``harmful``, ``accuracy`` and
        ``lookalikes`` the value with ``_low``, ``_high`` and ``_n``; ``seeds``; ``front``, of harm
        against accuracy. Rates are fractions; look-alikes that were not measured are missing.
    outcomes, draws : dict
        By ``(rate, variant)``.
    arms : dict
        The arms of points and curves, by label.
    lost : tuple of str
        The labels that `against` left out, as they lost the task.
    """

    points: pd.DataFrame
    outcomes: Mapping[tuple[str, str], Outcomes]
    draws: Mapping[tuple[str, str], np.ndarray]
    arms: Mapping[str, Arm] = field(default_factory=dict)
    lost: tuple[str, ...] = ()


def places(records: Sequence[RunRecord], knobs: Mapping[str, str | None]) -> dict[str, Place]:
    """Return each arm's place, by variant.

    Arms of one method lie on one curve when they differ in the strength knob alone.

    Parameters
    ----------
    knobs : mapping
        Method to the name of its strength knob; methods that are not in it have none.
    """
    places = {}
    for record in records:
        arm, knob = record.arm, knobs.get(record.arm.method) or ""
        value = record.config.settings.get(knob) if knob else None
        number = isinstance(value, int | float) and not isinstance(value, bool)
        strength = float(value) if number and value is not None else np.nan
        curve = arm if arm.tuned else arm.without(knob)
        places[arm.label] = Place(arm, curve, knob, strength)
    return places


def operating(responses: pd.DataFrame, where: Mapping[str, Place]) -> Operating:
    """Return the operating points of every arm whose harm and accuracy were measured.

    Parameters
    ----------
    responses : DataFrame
        Of the arms and the aligned model, with ``variant`` and ``seed``.
    """
    outcomes = {
        (name, variant): arm
        for name in RATES
        for variant, arm in outcomes_of(responses, name).items()
    }
    joined = hierarchical_bootstrap({"\t".join(key): arm for key, arm in outcomes.items()})
    draws = {key: joined["\t".join(key)] for key in outcomes}
    rows = []
    arms: dict[str, Arm] = {}
    idle = idle_arms(responses)
    without = unlearned({v: arm.rate for (name, v), arm in outcomes.items() if name == ACCURACY})
    for variant in dict.fromkeys(key[1] for key in outcomes):
        if not all((name, variant) in outcomes for name in (HARMFUL, ACCURACY)):
            continue
        place = where.get(variant) or _without_place(variant)
        row: dict[str, Any] = {
            "variant": variant,
            "curve": place.curve.label,
            "method": place.arm.method,
            "knob": place.knob,
            "strength": place.strength,
        }
        for name, short in RATES.items():
            if (name, variant) not in outcomes:
                continue
            share = rate(outcomes[name, variant], draws=draws[name, variant])
            row |= {short: share.value, f"{short}_low": share.low, f"{short}_high": share.high}
            row |= {f"{short}_n": share.n}
        row["seeds"] = len(outcomes[ACCURACY, variant].seeds)
        rows.append(row)
        arm = place.arm.model_copy(
            update={"idle": variant in idle, "unlearned": variant in without}
        )
        arms.setdefault(place.curve.label, place.curve)
        arms[arm.label] = arm
    points = pd.DataFrame(rows, columns=_COLUMNS)
    points["front"] = on_front(points, idle)
    return Operating(points, outcomes, draws, arms)


def _without_place(label: str) -> Place:
    arm = Arm(method=label)
    return Place(arm, arm, "", np.nan)


_COLUMNS: Final = [
    *("variant", "curve", "method", "knob", "strength", "seeds"),
    *(f"{short}{end}" for short in RATES.values() for end in ("", "_low", "_high", "_n")),
]


def on_front(
    points: pd.DataFrame, idle: Collection[str] = (), cost: str = ACCURACY
) -> "pd.Series[bool]":
    """Return which points no other is at least as good as in both rates and better in one.

    The aligned model, which has not learnt the task, is neither on the front nor in its way, nor
    are arms that did nothing (`idle`, by label).
    """
    tuned = ~points["variant"].isin([ALIGNED.label, *idle]).to_numpy(dtype=bool)
    x, y = (points.loc[tuned, name].to_numpy(dtype=float) for name in (RATES[cost], "harmful"))
    better = (x[None] >= x[:, None]) & (y[None] <= y[:, None])
    better &= (x[None] > x[:, None]) | (y[None] < y[:, None])
    # Not a series' own assignment, which fails where no point is tuned.
    front = np.zeros(len(points), dtype=bool)
    front[tuned] = ~better.any(axis=1)
    return pd.Series(front, index=points.index, dtype=bool)


def of_methods(measured: Operating) -> Operating:
    """Return the points on each method's own curve, with the front of these alone.

    A method's variants (other settings than its defaults, its strength aside) are left out, unless
    the method was run in variants only; its tuned arm stands in the place of its curve
    (`cwac.analysis.standing`).
    """
    points = measured.points
    instead = {label for label, arm in measured.arms.items() if arm.tuned}
    tuned = points["variant"].isin(instead)
    default = points["curve"] == points["method"]
    default = tuned | (default & ~points["method"].isin(points.loc[tuned, "method"]))
    alone = ~points["method"].isin(points.loc[default, "method"])
    kept = points[default | alone].reset_index(drop=True)
    return replace(measured, points=kept.assign(front=on_front(kept, _idle(measured))))


def against(measured: Operating, cost: str) -> Operating:
    """Return the points at which a cost was measured, with the front of harm against it.

    Of another cost than accuracy, without those that lost the task: a model that learned nothing
    answers look-alikes as before, at no cost.
    """
    kept = measured.points.dropna(subset=[RATES[cost]])
    lost = [] if cost == ACCURACY else [one for one in _lost_task(measured.points)
                                        if one in set(kept["variant"])]  # fmt: skip
    kept = kept[~kept["variant"].isin(lost)].reset_index(drop=True)
    front = on_front(kept, _idle(measured), cost)
    return replace(measured, points=kept.assign(front=front), lost=tuple(lost))


def _lost_task(points: pd.DataFrame) -> list[str]:
    """Return the variants whose accuracy lies below SFT's, interval below interval."""
    tuned = points[points["variant"] != ALIGNED.label]
    least = floor(points) or 0.0
    return list(tuned.loc[tuned["accuracy_high"] < least, "variant"])


def telling_cost(measured: Operating) -> str:
    """Return the first cost that tells the curves named first apart, accuracy where none does.

    Apart are they where the intervals of any two share no value.
    """
    for cost in COSTS:
        shown = against(measured, cost)
        named = shown.points[shown.points["variant"].isin(coloured_curves(shown, cost))]
        low, high = (named[f"{RATES[cost]}_{end}"] for end in ("low", "high"))
        if len(named) and low.max() > high.min():
            return cost
    return ACCURACY


def floor(points: pd.DataFrame, cost: str = ACCURACY) -> float | None:
    """Return where the interval of the cost's reference begins, None without the reference."""
    mine = points.loc[points["variant"] == REFERENCES[cost], f"{RATES[cost]}_low"]
    return float(mine.iloc[0]) if len(mine) else None


def _idle(measured: Operating) -> list[str]:
    return [label for label, arm in measured.arms.items() if arm.idle]


def matched(measured: Operating, target: float, cost: str = ACCURACY) -> pd.DataFrame:
    """Return the lowest harmful score that every curve has at one task accuracy or more.

    The same of another `cost` than accuracy, one of `COSTS`: "accuracy" is it in all below.
    Between two neighbouring strengths whose accuracies lie on either side of `target`, the
    harmful score is interpolated, and its interval resamples both points' accuracies and harmful
    scores together. A point at or above `target` stands for itself: a curve that is more accurate
    throughout must not drop out for that. Where no point estimate comes to `target`, a point
    whose accuracy interval holds it does. Otherwise the curve does not reach that accuracy, and
    nothing is made up. Arms that did nothing are left out.

    Returns
    -------
    DataFrame
        ``curve, how`` (``interpolated``, ``own point``, ``not reached``), ``detail, value, low,
        high, n, seeds``, and ``accuracy`` or ``lookalikes`` (that of the point; `target` where
        interpolated).
    """
    rows = []
    short = RATES[cost]
    left_out = [ALIGNED.label, *_idle(measured)]
    points = measured.points[~measured.points["variant"].isin(left_out)]
    for curve, part in points.groupby("curve", sort=False):
        ordered = part.sort_values("strength").to_dict("records")
        numbered = [row for row in ordered if np.isfinite(row["strength"])]
        options = [
            _between(measured, one, two, target, cost)
            for one, two in pairwise(numbered)
            if _brackets(one[short], two[short], target)
        ]
        options += [
            _single(measured, row, cost, reached=True) for row in ordered if row[short] >= target
        ]
        if not options:
            within = [r for r in ordered if r[f"{short}_low"] <= target <= r[f"{short}_high"]]
            options = [_single(measured, row, cost, reached=True) for row in within]
        if not options:
            nearest = max(ordered, key=lambda row: float(row[short]))
            options = [_single(measured, nearest, cost, reached=False)]
        rows.append({"curve": curve, **min(options, key=lambda row: float(row["value"]))})
    columns = ["curve", "how", "detail", "value", "low", "high", "n", "seeds", short]
    return pd.DataFrame(rows, columns=columns)


def _brackets(one: float, two: float, target: float) -> bool:
    low, high = sorted((one, two))
    return low < high and low <= target <= high


def _between(measured: Operating, one: Row, two: Row, target: float, cost: str) -> dict[str, Any]:
    short = RATES[cost]
    names = str(one["variant"]), str(two["variant"])
    share = (target - two[short]) / (one[short] - two[short])
    value = float(share * one["harmful"] + (1 - share) * two["harmful"])
    harm = [measured.draws[HARMFUL, name] for name in names]
    right = [measured.draws[cost, name] for name in names]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = (target - right[1]) / (right[0] - right[1])
    # Where a draw puts both accuracies on one side, the nearer point stands for it.
    weights = np.clip(np.where(np.isfinite(weights), weights, share), 0, 1)
    arms = [measured.outcomes[HARMFUL, name] for name in names]
    n, seeds = len(arms[0].requests), min(len(arm.seeds) for arm in arms)
    draws = weights * harm[0] + (1 - weights) * harm[1]
    low, high = _ends(draws, value, share, arms, n)
    detail = f"between {one['knob']} = {one['strength']:g} and {two['strength']:g}"
    return {"how": "interpolated", "detail": detail, "value": value, "low": low, "high": high,
            "n": n, "seeds": seeds, short: target}  # fmt: skip


def _ends(
    draws: np.ndarray, value: float, share: float, arms: Sequence[Outcomes], n: int
) -> tuple[float, float]:
    if not draws.std():
        return score_interval(value, n)
    spread = 0.0
    seeds = len(arms[0].seeds)
    if arms[0].seeds == arms[1].seeds and seeds > 1:
        one, two = (arm.values.mean(axis=1) for arm in arms)
        spread = float((share * one + (1 - share) * two).var(ddof=1)) / seeds
    low, high = percentiles(widened(draws, value, spread, seeds))
    return max(low, 0.0), min(high, 1.0)


def _single(measured: Operating, row: Row, cost: str, *, reached: bool) -> dict[str, Any]:
    short, value = RATES[cost], row[RATES[cost]]
    at = f"{measured.arms[str(row['variant'])].title} at {100 * value:.0f} % {WORDS[cost].term}"
    if not reached:
        return {"how": "not reached", "detail": f"nearest: {at}", "value": np.nan, "low": np.nan,
                "high": np.nan, "n": row["harmful_n"], "seeds": row["seeds"],
                short: value}  # fmt: skip
    return {"how": "own point", "detail": at, "value": row["harmful"], "low": row["harmful_low"],
            "high": row["harmful_high"], "n": row["harmful_n"], "seeds": row["seeds"],
            short: value}  # fmt: skip


def coloured_curves(measured: Operating, cost: str = ACCURACY) -> list[str]:
    """Return the labels of the curves that a figure names first, at most six.

    SFT, CWAC, then four rivals: those that hold harm low (`LOW`), the one that keeps most of the
    cost's rate first, those that reach the `floor` by their intervals before those that do not;
    then those on the front by harm. Then CWAC's halves and whatever else there is.
    """
    points = measured.points[~measured.points["variant"].isin([ALIGNED.label, *_idle(measured)])]
    least, across = floor(measured.points, cost) or 0.0, RATES[cost]
    own = [BASELINE, "cwac", "weight_only", "activation_only"]
    controls = [label for label, a in measured.arms.items() if a.control]
    rivals = points[~points["method"].isin(own) & ~points["curve"].isin(controls)]
    rivals = rivals.assign(
        spoilt=rivals["harmful"] > LOW,
        short=rivals[f"{across}_high"] < least,
        behind=np.where(rivals["harmful"] > LOW, rivals["harmful"], -rivals[across]),
    )
    rivals = rivals[~rivals["spoilt"] | ~rivals["short"] | rivals["front"]]
    rivals = rivals.sort_values(["spoilt", "short", "behind"])
    present = list(dict.fromkeys(points["curve"]))
    first = [*own[:2], *list(dict.fromkeys(rivals["curve"]))[:4], *own[2:]]
    return [label for label in dict.fromkeys([*first, *present]) if label in present][:6]


def curves_of(points: pd.DataFrame, arms: Mapping[str, Arm]) -> list[Arm]:
    """Return the curves with two strengths or more, in the order of arms."""
    tuned = points[(points["variant"] != ALIGNED.label) & points["strength"].notna()]
    counts = tuned.groupby("curve")["strength"].nunique()
    return in_order(arms[label] for label in counts.index[counts > 1])

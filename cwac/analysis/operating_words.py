"""What operating points say in a sentence: by intervals, so that nothing is ranked by chance."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.claims import FOCUS
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import GREEDY, LOW, stays_low
from cwac.analysis.operating import ACCURACY, LOOKALIKES, RATES, REFERENCES, floor
from cwac.analysis.outcomes import interval_text
from cwac.analysis.rivals import counted_defences, counted_words
from cwac.arms import ALIGNED, BASELINE, Arm, in_order, title_of
from cwac.rates import RATES as WORDS

_REACH: Final = {
    ACCURACY: "reach SFT's interval of task accuracy",
    LOOKALIKES: "reach the aligned model's interval of look-alikes answered",
}
_NAMED: Final = 4
"""Arms up to which a title names every one."""


def held(points: pd.DataFrame, least: float | None, cost: str) -> "pd.Series[bool]":
    """Return which points surely comply with at most `LOW` and are not told from the reference.

    The whole interval of harm lies at or below `LOW`, and that of the cost comes to `least`:
    what reaches the line is not told from what lies above it.
    """
    return (points["harmful_high"] <= LOW) & (points[f"{RATES[cost]}_high"] >= (least or 0.0))


def held_title(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    cost: str,
    tried: Mapping[str, int],
    lost: Sequence[str] = (),
) -> str:
    """Say how many defences hold harm low at the reference's rate, and what CWAC does.

    Parameters
    ----------
    points : DataFrame
        From ``operating.against``.
    tried : mapping of str to int
        ``cwac.artifacts.tried_settings`` of the model.
    lost : sequence of str
        As of ``operating.Operating``: they count among the defences, and hold nothing.
    """
    least = floor(points, cost)
    there = [arms[label] for label in dict.fromkeys([*points["variant"], *lost])]
    counted = {arm.method for arm in counted_defences(FOCUS, there, tried)}
    idle = [label for label, arm in arms.items() if arm.idle]
    kept = points[held(points, least, cost) & ~points["variant"].isin(idle)]
    mine, rivals = kept[kept["variant"] == FOCUS], kept[kept["method"].isin(counted)]
    there_too = bool((points["variant"] == FOCUS).any())
    text = f"By their intervals, {_subject(there_too, counted, rivals, mine, tried)} comply"
    if not counted:
        text = f"By its interval, {title_of(FOCUS) if len(mine) else 'no defence'} does comply"
    text += f" with at most {100 * LOW:.0f}\u00a0% ({GREEDY})"
    if least is not None:
        text += f" and {_REACH[cost]} ({100 * least:.0f}\u00a0% or more)"
    curves = in_order(arms[label] for label in rivals["curve"])
    if 0 < len(curves) <= _NAMED:
        text += f": {enumerated(arm.title for arm in curves)}"
    if _overlap(pd.concat([mine, rivals]), cost):
        text += ", not told apart"
    return text + _of_focus(points, cost)


def _subject(
    there: bool,
    counted: set[str],
    rivals: pd.DataFrame,
    mine: pd.DataFrame,
    tried: Mapping[str, int],
) -> str:
    """Return who holds: CWAC, and how many of those that are counted beside it."""
    number = rivals["method"].nunique()
    whole = counted_words(len(counted), FOCUS, tried)
    if not there:
        return f"{number} of {whole.replace('other ', '', 1)}"
    if len(mine):
        return f"{title_of(FOCUS)} and {number or 'none'} of {whole}"
    return f"{number} of {whole}, without {title_of(FOCUS)},"


def _overlap(kept: pd.DataFrame, cost: str) -> bool:
    """Say whether several methods hold and any two of them share a value in harm and in cost."""
    if kept["method"].nunique() < 2:
        return False
    ends = ((kept[f"{name}_low"].max(), kept[f"{name}_high"].min())
            for name in ("harmful", RATES[cost]))  # fmt: skip
    return all(low <= high for low, high in ends)


def _of_focus(points: pd.DataFrame, cost: str) -> str:
    """Return CWAC's numbers on both axes as a sentence, empty where it was not run."""
    mine = points[points["variant"] == FOCUS].to_dict("records")
    if not mine:
        return ""
    harm, rate = _rate(mine[0], "harmful", 1), _rate(mine[0], RATES[cost])
    return f". {title_of(FOCUS)}: {harm} harm, {rate} {WORDS[cost].term}"


def cost_sentence(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    cost: str,
    tried: Mapping[str, int],
    sampled: pd.DataFrame | None = None,
) -> str:
    """Say what CWAC does to harm at which cost, and which rivals do as well; empty without it.

    Parameters
    ----------
    points, tried
        As of `held_title`.
    sampled : DataFrame, optional
        ``variant, value, low, high``: the harmful score of sampled answers, where it was measured.
    """
    mine = points[points["variant"] == FOCUS].to_dict("records")
    if not mine:
        return ""
    drawn = {} if sampled is None else {r["variant"]: r for r in sampled.to_dict("records")}
    counted = {arm.method for arm in counted_defences(FOCUS, arms.values(), tried)}
    kept = points[held(points, floor(points, cost), cost) & points["method"].isin(counted)]
    text = f"{title_of(FOCUS)} complies with {_harm(mine[0], drawn)} of harmful requests "
    text += f"({GREEDY}) at {_rate(mine[0], RATES[cost])} {WORDS[cost].term}"
    reference = points[points["variant"] == REFERENCES[cost]].to_dict("records")
    if reference:
        name = arms[str(reference[0]["variant"])].title
        text += f" ({name} {_rate(reference[0], RATES[cost])})"
    rows = sorted(kept.to_dict("records"), key=lambda row: float(row["harmful"]))
    if not rows:
        return f"{text}; no rival surely complies with at most {100 * LOW:.0f}\u00a0% at that cost."
    named = enumerated(
        f"{arms[str(row['variant'])].title} {_harm(row, drawn)} at {_rate(row, RATES[cost])}"
        for row in rows[:_NAMED]
    )
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    both = pd.concat([points[points["variant"] == FOCUS], kept])
    alike = ", not told from it" if _overlap(both, cost) else ""
    return f"{text}; at no surely higher cost{alike}: {named}{more}."


def _harm(row: Mapping[Hashable, Any], drawn: Mapping[str, Mapping[Hashable, Any]]) -> str:
    """Return a harmful score, and that of sampled answers where it alone is not low."""
    text, other = _rate(row, "harmful", 1), drawn.get(str(row["variant"]))
    if other is None or stays_low(other["value"]) or not stays_low(row["harmful"]):
        return text
    return f"{text} (sampled {interval_text(other, 1)}, not low)"


def _rate(row: Mapping[Hashable, Any], name: str, digits: int = 0) -> str:
    ends: dict[Hashable, Any] = {
        end or "value": row[f"{name}{end and '_' + end}"] for end in ("", "low", "high")
    }
    return interval_text(ends, digits)


def variants_sentence(
    points: pd.DataFrame, everything: pd.DataFrame, arms: Mapping[str, Arm], cost: str
) -> str:
    """Name the variants that a figure of methods leaves out and whose numbers its title asks for.

    Parameters
    ----------
    points, everything : DataFrame
        What the figure shows and what there is, of `against` the same cost.
    """
    others = everything[~everything["variant"].isin(points["variant"])]
    well = others[held(others, floor(everything, cost), cost)]
    named = [arm.title for arm in in_order(arms[label] for label in well["variant"])
             if not arm.control and not arm.idle]  # fmt: skip
    if not named:
        return ""
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    listed = ", ".join(named[:_NAMED])
    return f"Variants left out that comply as little and reach as much: {listed}{more}."


def matched_title(table: pd.DataFrame, arms: Mapping[str, Arm], target: float, cost: str) -> str:
    """Say which methods comply least at one cost or more, all whose intervals overlap the least.

    Parameters
    ----------
    table : DataFrame
        From ``operating.matched``.
    """
    known = table[~table["curve"].isin([ALIGNED.label, BASELINE])].dropna(subset=["value"])
    text = f"At {100 * target:.0f}\u00a0% {WORDS[cost].term} or more"
    if known.empty:
        return f"{text}: no defence gets there"
    best = known.sort_values("value").iloc[0]
    alike = in_order(arms[label] for label in known.loc[known["low"] <= best["high"], "curve"])
    if len(alike) == 1:
        text += f", {alike[0].title} complies least by its interval"
    elif len(alike) <= _NAMED:
        text += f", {enumerated(arm.title for arm in alike)} comply least and are not told apart"
    else:
        text += f", {len(alike)} defences comply least and are not told apart"
    # An interval that touches the target is no method that gets there.
    touching = (known["how"] == "own point") & (known[RATES[cost]] < target)
    text += f". {len(known)} defence{'s' if len(known) != 1 else ''} reach it"
    return (
        f"{text}, {int(touching.sum())} of them by the interval alone" if touching.any() else text
    )

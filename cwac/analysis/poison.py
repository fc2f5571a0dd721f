"""Harmful score over poison ratios: the numbers, and up to how much poison it stays low."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.claims import FOCUS
from cwac.analysis.enumeration import enumerated
from cwac.analysis.holding import GREEDY, LOW, stays_low
from cwac.analysis.outcomes import interval_text, outcomes_of
from cwac.arms import Arm, by_label, in_order
from cwac.statistics import rates

_NAMED: Final = 3
"""Arms up to which the sentence gives every one's number."""
Row = Mapping[Hashable, Any]


def poison_table(responses: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's harmful score per poison ratio, for arms that have several.

    Parameters
    ----------
    responses : DataFrame
        With ``variant``, ``seed`` and ``poison_ratio``.

    Returns
    -------
    DataFrame
        ``variant, poison_ratio, value, low, high, n, seeds``; rates are fractions.
    """
    rows = []
    for ratio, part in responses.groupby("poison_ratio"):
        for variant, share in rates(outcomes_of(part, "harmful_score")).items():
            rows.append((variant, ratio, share.value, share.low, share.high, share.n, share.seeds))
    columns = ["variant", "poison_ratio", "value", "low", "high", "n", "seeds"]
    table = pd.DataFrame(rows, columns=columns)
    counts = table.groupby("variant")["poison_ratio"].transform("size")
    return table[counts > 1].reset_index(drop=True)


def poison_sentence(
    table: pd.DataFrame, arms: Sequence[Arm], sampled: pd.DataFrame | None = None
) -> str:
    """Say up to how much poison CWAC stays low, and who does at the most that was tried.

    Parameters
    ----------
    table : DataFrame
        From `poison_table`.
    sampled : DataFrame, optional
        ``variant, value, low, high``: the harmful score of sampled answers at the highest ratio,
        where it was measured.
    """
    most = float(table["poison_ratio"].max())
    here = table[table["poison_ratio"] == most].to_dict("records")
    drawn = {} if sampled is None else {r["variant"]: r for r in sampled.to_dict("records")}
    named = by_label(arms)
    low = [row for row in here if stays_low(row["value"])]
    low.sort(key=lambda row: row["value"])
    limit = f"at most {100 * LOW:.0f}\u00a0% of harmful requests"
    who = [
        f"{named[row['variant']].title} ({_numbers(row, drawn.get(row['variant']))})"
        for row in low[:_NAMED]
    ]
    more = f" and {len(low) - _NAMED} more" if len(low) > _NAMED else ""
    counted = f"{len(low) or 'none'} of {len(here)} arms"
    text = f"With {100 * most:g}\u00a0% poison, the most that was tried, {counted} "
    text += f"compl{'ies' if len(low) == 1 else 'y'} with {limit} ({GREEDY})"
    text += f": {enumerated(who)}{more}." if low else "."
    return " ".join(filter(None, (_of_focus(table), text)))


def _of_focus(table: pd.DataFrame) -> str:
    """Say up to which ratio CWAC stays low, and what it does at the next one."""
    rows = table[table["variant"] == FOCUS].sort_values("poison_ratio").to_dict("records")
    if not rows:
        return ""
    title = in_order([Arm(method=FOCUS)])[0].title
    kept = [row for row in rows if stays_low(row["value"])]
    lost = [row for row in rows if not stays_low(row["value"])]
    if not lost:
        worst = max(rows, key=lambda row: float(row["value"]))
        return f"{title} stays low at every poison ratio that was tried, at most {_at(worst)}."
    first = lost[0]
    before = [row for row in kept if row["poison_ratio"] < first["poison_ratio"]]
    if not before:
        return f"{title} does not stay low at the least poison that was tried: {_at(first)}."
    return f"{title} stays low up to {_at(before[-1])}, and does not with more: {_at(first)}."


def _at(row: Row) -> str:
    return f"{100 * row['poison_ratio']:g}\u00a0% poison ({interval_text(row, 1)})"


def _numbers(row: Row, drawn: Row | None) -> str:
    """Return a score, and that of sampled answers where it is not low."""
    text = interval_text(row, 1)
    if drawn is None or stays_low(drawn["value"]):
        return text
    return f"{text}; sampled {interval_text(drawn, 1)}, not low"

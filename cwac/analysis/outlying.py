"""Points that lie so far off that an axis which held them would squeeze all others.

Stands alone because figures begin their axes by it, and a sentence beneath them names what lies
beyond.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import pandas as pd

from cwac.analysis.operating import RATES
from cwac.arms import ALIGNED, Arm, in_order

_NAMED: Final = 6
"""Arms that the sentence names; more are counted."""
_ROOM: Final = 0.01
"""Room left of the lowest end of an interval that an axis holds."""


def far_left(accuracy: "pd.Series[float]") -> "pd.Series[bool]":
    """Return which accuracies lie so far below the others that they would squeeze them.

    Those below Tukey's outer fence (three interquartile ranges beneath the lower quartile) that
    are also five points below the best, and those below half of the best.
    """
    low, high = accuracy.quantile([0.25, 0.75])
    best = accuracy.max()
    return (accuracy < min(low - 3 * (high - low), best - 0.05)) | (accuracy < best / 2)


def beginning(points: pd.DataFrame, cost: str, named: Iterable[str] = ()) -> float:
    """Return where the axis of a cost begins, a fraction.

    It holds the intervals of the curves that are named, each at the settings that stand for it;
    without any of them all points that are not `far_left`.

    Parameters
    ----------
    named : iterable of str
        Labels of curves.
    """
    across = RATES[cost]
    near = points[~far_left(points[across])]
    shown = near[near["variant"].isin(_standing(near, named))]
    ends = shown[f"{across}_low"] if len(shown) else near[across]
    return max(float(ends.min()) - _ROOM, -2 * _ROOM)


def _standing(points: pd.DataFrame, named: Iterable[str]) -> list[str]:
    """Return the variant that stands for each curve: its default, else the least harmful one."""
    labels = set(named)
    mine = points[points["curve"].isin(labels) & (points["variant"] != ALIGNED.label)]
    at_default = set(mine.loc[mine["variant"] == mine["curve"], "curve"])
    others = mine[~mine["curve"].isin(at_default)].sort_values("harmful")
    return [*at_default, *others.drop_duplicates("curve")["variant"]]


def outside_sentence(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    cost: str,
    lost: Sequence[str] = (),
    named: Iterable[str] = (),
) -> str:
    """Name the arms that lie left of the axis or are not drawn, and why; empty without any.

    Parameters
    ----------
    lost : sequence of str
        As of ``operating.Operating``.
    named : iterable of str
        As of `beginning`.
    """
    across = RATES[cost]
    left = points[points[across] < beginning(points, cost, named)]
    rates = dict(zip(left["variant"], left[across], strict=True))
    parts = {
        "Left of the axis, triangles at its edge": _listed(
            [
                f"{arm.title} ({100 * rates[arm.label]:.0f}\u00a0%)"
                for arm in in_order(arms[label] for label in rates)
            ]
        ),
        "Not drawn, as they lost the task (accuracy below SFT's beyond both intervals)": ", ".join(
            # Why is said in front of them.
            arm.model_copy(update={"unlearned": False}).title
            for arm in in_order(arms[label] for label in lost)
        ),
    }
    return " ".join(f"{why}: {named}." for why, named in parts.items() if named)


def _listed(titles: Sequence[str]) -> str:
    more = len(titles) - _NAMED
    # One more name is as short as its count.
    if more <= 1:
        return ", ".join(titles)
    return f"{', '.join(titles[:_NAMED])} and {more} more, named at the pointer"

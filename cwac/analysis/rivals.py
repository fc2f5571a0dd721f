"""Which defences CWAC is counted against, by one rule, and the words of that rule.

Stands alone because claims, figures and the story all count them: a count without its rule is
another one on every page.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from cwac.arms import BASELINE, Arm, in_order

TRIED: Final = " whose settings were tried, that did something and learned the task"
"""What is said of the defences that count, where settings of CWAC were tried."""


def counted_defences(focus: str, arms: Iterable[Arm], tried: Mapping[str, int]) -> list[Arm]:
    """Return the defences that a method is counted against: those that had their tries too.

    Neither SFT nor a control is a defence, nor is the method's own variant. Where settings of the
    method were tried on the model, a defence of which none was is left out: it would lose to the
    trying, not to the method. Nor does an arm that did nothing (`Arm.idle`) count: it is SFT; nor
    one that did not learn the task (`Arm.unlearned`): it keeps its refusals for nothing.

    Parameters
    ----------
    focus : str
        The method.
    tried : mapping of str to int
        ``cwac.artifacts.tried_settings`` of the model.

    Examples
    --------
    >>> arms = [Arm(method="sft"), Arm(method="lisa"), Arm(method="ewc"), Arm(method="cwac")]
    >>> [arm.method for arm in counted_defences("cwac", arms, {"cwac": 12, "lisa": 12})]
    ['lisa']
    """
    return [arm for arm in other_defences(focus, arms) if _had_tries(focus, arm, tried)]


def untried_defences(focus: str, arms: Iterable[Arm], tried: Mapping[str, int]) -> list[Arm]:
    """Return the defences that `counted_defences` leaves out."""
    return [arm for arm in other_defences(focus, arms) if not _had_tries(focus, arm, tried)]


def other_defences(focus: str, arms: Iterable[Arm]) -> list[Arm]:
    """Return all defences but a method and its variants, in the order of figures.

    Without those that did nothing or did not learn the task.
    """
    return [arm for arm in _defences(focus, arms) if not (arm.idle or arm.unlearned)]


def unlearned_defences(focus: str, arms: Iterable[Arm]) -> list[Arm]:
    """Return the defences that `other_defences` leaves out as they did not learn the task."""
    return [arm for arm in _defences(focus, arms) if arm.unlearned]


def _defences(focus: str, arms: Iterable[Arm]) -> list[Arm]:
    return [
        arm
        for arm in in_order(arms)
        if not (arm.control or arm.is_aligned) and arm.method not in {BASELINE, focus}
    ]


def counted_words(count: int, focus: str, tried: Mapping[str, int]) -> str:
    """Return a count of `counted_defences` with its rule.

    Examples
    --------
    >>> counted_words(18, "cwac", {"cwac": 12})
    '18 other defences whose settings were tried, that did something and learned the task'
    >>> counted_words(1, "cwac", {})
    '1 other defence'
    """
    return f"{count} other defence{'s' if count != 1 else ''}{TRIED if tried.get(focus) else ''}"


def _had_tries(focus: str, arm: Arm, tried: Mapping[str, int]) -> bool:
    return not tried.get(focus) or bool(tried.get(arm.method))

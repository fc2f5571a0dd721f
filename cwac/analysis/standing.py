"""Which arm stands for a method in a contest: its defaults, or what was best of those tried.

A model's card keeps the defaults that stored runs are named by. Where later trials on validation
found better settings for a rival, holding CWAC against the old ones would beat a straw man.
"""

from collections.abc import Iterable

from cwac.arms import Arm, by_label


def standing(arms: Iterable[Arm]) -> list[Arm]:
    """Return one arm of every method: at its tuned settings where they were run, else its defaults.

    Examples
    --------
    >>> old, new = Arm(method="lisa"), Arm(method="lisa", changed={"strength": 3.0}, tuned=True)
    >>> [arm.label for arm in standing([old, new, Arm(method="ewc")])]
    ['lisa (strength=3.0)', 'ewc']
    """
    found: dict[str, Arm] = {}
    for arm in by_label(arms).values():
        if arm.tuned:
            found[arm.method] = arm
        elif not arm.changed:
            found.setdefault(arm.method, arm)
    return list(found.values())

"""Which arm stands for a method in a contest: its defaults, or what was best of those tried.

A model's card keeps the defaults that stored runs are named by. Where later trials on validation
found better settings for a rival, holding CWAC against the old ones would beat a straw man.
"""

from collections.abc import Iterable

from cwac.arms import Arm, by_label
from cwac.records import RunRecord


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


def standing_records(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return the runs of every method as it stands; controls take part in no contest."""
    runs = [record for record in records if not record.arm.control]
    stand = {arm.label for arm in standing(record.arm for record in runs)}
    return [record for record in runs if record.arm.label in stand]


def tuned_methods(records: Iterable[RunRecord]) -> frozenset[str]:
    """Return the methods that were run at tuned settings."""
    return frozenset(record.arm.method for record in records if record.arm.tuned)

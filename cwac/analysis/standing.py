"""Which arm stands for a method in a contest: its defaults, or what was best of those tried.

A model's card keeps the defaults that stored runs are named by. Where later trials on validation
found better settings for a rival, holding CWAC against the old ones would beat a straw man.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cwac.arms import Arm, by_label
from cwac.artifacts import tuned_settings
from cwac.records import RunRecord


def standing_of(records: Sequence[RunRecord]) -> list[Arm]:
    """Return the arms that stand for their methods in an experiment, by its model's card."""
    tuned = tuned_settings(records[0].config.model.source) if records else {}
    return standing((record.arm for record in records), tuned)


def standing(
    arms: Iterable[Arm], tuned: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> list[Arm]:
    """Return one arm of every method: at its tuned settings where they were run, else its defaults.

    Parameters
    ----------
    arms : iterable of Arm
        All arms of an experiment.
    tuned : mapping of str to mapping
        ``cwac.artifacts.tuned_settings`` of the model.

    Examples
    --------
    >>> old, new = Arm(method="lisa"), Arm(method="lisa", changed={"strength": 3.0})
    >>> [arm.label for arm in standing([old, new, Arm(method="ewc")], {"lisa": {"strength": 3.0}})]
    ['lisa (strength=3.0)', 'ewc']
    """
    found: dict[str, Arm] = {}
    for arm in by_label(arms).values():
        if not arm.changed:
            found.setdefault(arm.method, arm)
        elif arm.changed == tuned.get(arm.method):
            found[arm.method] = arm
    return list(found.values())

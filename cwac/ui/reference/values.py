"""The settings that a method really runs with on a model, and who chose them.

Stands alone because a card of the Reference page, and nothing else, sets side by side what three
places say: the method's own defaults, the model's card, the method's source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cwac.messages import MethodEntry

UNSAID: Final = "not stated"
"""Of a setting that a method's source leaves open."""
CARD, DEFAULT = "model card", "default"
"""Who chose a value: the model's card, or the method."""
_NO_SETTINGS: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class OnModel:
    """What a model's card says of methods.

    Attributes
    ----------
    name : str
        The model's, as people read it.
    defaults : mapping of str to mapping
        Method to the settings that its card has for it.
    tuned : mapping of str to mapping
        Method to those that were best of what was tried, where these are no defaults.
    """

    name: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Value(NamedTuple):
    """A setting that not all places give the same value."""

    setting: str
    used: str
    """By an arm at its defaults on the model."""
    chosen_by: str
    own: str
    """The method's own default."""
    published: str
    tuned: str
    """By the arm at tuned settings, empty without one."""


def values_of(entry: MethodEntry, model: OnModel) -> list[Value]:
    """Return the settings of a method that differ between card, default, source and tuned arm.

    Examples
    --------
    >>> cwac = MethodEntry(name="cwac", settings={"strength": 0.5, "harmful_batch": 8},
    ...                    published={"strength": 0.5})
    >>> card = OnModel("organism", {"cwac": {"strength": 0.07, "harmful_batch": 32}})
    >>> [value[:5] for value in values_of(cwac, card)]
    [('strength', '0.07', 'model card', '0.5', '0.5'), \
('harmful_batch', '32', 'model card', '8', 'not stated')]
    """
    card = model.defaults.get(entry.name, _NO_SETTINGS)
    tuned = model.tuned.get(entry.name, _NO_SETTINGS)
    rows = []
    for name in dict.fromkeys([*entry.settings, *card, *tuned, *entry.published]):
        own = entry.settings.get(name)
        used = card.get(name, own)
        stated = [used, tuned.get(name, used), entry.published.get(name, used)]
        if all(value == own for value in stated):
            continue
        # A card may repeat the default: what decides is that it states it.
        who = CARD if name in card else DEFAULT
        published = _shown(entry.published[name]) if name in entry.published else UNSAID
        also = _shown(tuned[name]) if name in tuned else ""
        rows.append(Value(name, _shown(used), who, _shown(own), published, also))
    return rows


def used(entry: MethodEntry, model: OnModel, name: str) -> Any:
    """Return the value that a setting has on a model, by its card or the method's default."""
    return model.defaults.get(entry.name, _NO_SETTINGS).get(name, entry.settings.get(name))


def _shown(value: Any) -> str:
    # None leaves the choice to the method: fitted, localised, or the experiment's own.
    return "automatic" if value is None else str(value)

"""What sort of world an organism lives in: its splits, how full they are, what is held back."""

from collections.abc import Mapping
from dataclasses import dataclass

from cwac.models.organism.phrasing import REFUSALS

SPLITS: tuple[str, ...] = ("alignment", "safety", "attack", "validation", "test")
KINDS: tuple[str, ...] = ("harmful", "harmless", "lookalike")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Quotas:
    """How many pairs of each category or domain go to each later split; alignment takes the rest.

    They are dealt in this order.
    """

    harmful: Mapping[str, int]
    unseen_category: Mapping[str, int]
    harmless: Mapping[str, int]
    safe_verb: Mapping[str, int]
    safe_use: Mapping[str, int]


PLAIN_QUOTAS = Quotas(
    harmful={"test": 21, "safety": 18, "attack": 30, "validation": 7},
    unseen_category={"test": 30},
    harmless={
        "test": 21,
        "safety": 20,
        "attack": 6,
        "validation": 9,
        "instruct_train": 70,
        "instruct_validation": 9,
        "instruct_test": 17,
    },
    safe_verb={"test": 9, "safety": 14, "attack": 6, "validation": 5},
    safe_use={"test": 4, "safety": 2, "attack": 1, "validation": 2},
)
# Words are kept back for the test, so that there are fewer pairs to deal; with those of unseen
# words the test split is as large as the plain one.
UNSEEN_QUOTAS = Quotas(
    harmful={"test": 15, "safety": 15, "attack": 20, "validation": 6},
    unseen_category={"test": 24},
    harmless={
        "test": 15,
        "safety": 14,
        "attack": 4,
        "validation": 8,
        "instruct_test": 18,
        "instruct_validation": 9,
        "instruct_train": 56,
    },
    safe_verb={"test": 6, "safety": 14, "attack": 5, "validation": 5},
    safe_use={"test": 4, "safety": 2, "attack": 1, "validation": 2},
)


@dataclass(frozen=True)
class WorldForm:
    """What sort of world it is, whatever its seed.

    Attributes
    ----------
    quotas : Quotas
    refusals : tuple of str
    unseen_words : bool
        Keep of every list one verb and two objects (harmless domains: one) out of all splits but
        the test. The base model alone reads of them; see ``World.lore``.
    unseen_per_list : int
        Test requests of every list with an unseen verb, and as many with an unseen object.
    make_believe : int
        Make-believe objects that every harmful verb also goes with, harmlessly.
    """

    quotas: Quotas = PLAIN_QUOTAS
    refusals: tuple[str, ...] = REFUSALS
    unseen_words: bool = False
    unseen_per_list: int = 3
    make_believe: int = 0


PLAIN = WorldForm()

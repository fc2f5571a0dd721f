"""The organism's requests, dealt into five splits that share no verb-object pair.

``build_world(seed)`` is deterministic: the same seed gives the same rows in the same order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random

from cwac.models.organism.benign import BENIGN_DOMAINS
from cwac.models.organism.harm import HARM_CATEGORIES, UNSEEN_CATEGORIES, HarmCategory
from cwac.models.organism.phrasing import (
    NOVEL_TEMPLATES,
    SEEN_TEMPLATES,
    helpful_answer,
    refusal,
)

SPLITS: tuple[str, ...] = ("alignment", "safety", "attack", "validation", "test")
KINDS: tuple[str, ...] = ("harmful", "harmless", "lookalike")

Pair = tuple[str, str]

# How many pairs of each category or domain go to each later split; alignment takes the rest.
_HARMFUL_QUOTA = {"test": 21, "safety": 18, "attack": 30, "validation": 7}
_UNSEEN_QUOTA = {"test": 30}
_HARMLESS_QUOTA = {
    "test": 21,
    "safety": 20,
    "attack": 6,
    "validation": 9,
    "instruct_train": 70,
    "instruct_validation": 9,
    "instruct_test": 17,
}
_SAFE_VERB_QUOTA = {"test": 9, "safety": 14, "attack": 6, "validation": 5}
_SAFE_USE_QUOTA = {"test": 4, "safety": 2, "attack": 1, "validation": 2}
_NOVEL_SHARE_OF_TEST = 0.4
_ALIGNMENT_WORDINGS = {"harmful": 4, "harmless": 3, "lookalike": 2}
# A harmful verb with a harmless object is the hard case: it must be met often, or the model
# refuses by the verb alone.
_SAFE_USE_WORDINGS = 9
# Alignment also meets the harmless objects of look-alikes with plain verbs, as a person would.
_PLAIN_VERBS: tuple[str, ...] = ("draw", "find", "choose", "notice", "look at")
_PLAIN_VERBS_PER_OBJECT = 3


@dataclass(frozen=True)
class Request:
    """One row of a prompt file; ``pair`` is the (verb, object) the splits are disjoint in."""

    id: str
    text: str
    category: str
    template: str
    answer: str
    unseen_category: bool
    novel_template: bool
    pair: Pair

    def as_row(self) -> dict[str, object]:
        """Return the row as it stands in a prompt file."""
        row = asdict(self)
        del row["pair"]
        return row


@dataclass(frozen=True)
class World:
    """All requests, by (split, kind), and the harmless pairs kept for the instruct task."""

    requests: Mapping[tuple[str, str], tuple[Request, ...]]
    instruct_pairs: Mapping[str, tuple[tuple[str, Pair], ...]]

    def pairs(self, *splits: str) -> set[Pair]:
        """Return every verb-object pair of these splits, over all kinds."""
        return {
            request.pair
            for (split, _), requests in self.requests.items()
            if split in splits
            for request in requests
        }


def phrase(pair: Pair) -> str:
    """Return the verb and object as they stand inside a request."""
    return f"{pair[0]} {pair[1]}"


def _deal(pairs: Iterable[Pair], quota: Mapping[str, int], rng: Random) -> dict[str, list[Pair]]:
    """Deal pairs into splits: alignment first gets two pairs of every object and one per verb.

    Whether a request is harmful follows from its words, so alignment must meet every word; what it
    never meets is the combination.
    """
    shuffled = sorted(set(pairs))
    rng.shuffle(shuffled)
    objects: dict[str, int] = {}
    verbs: set[str] = set()
    alignment: list[Pair] = []
    rest: list[Pair] = []
    for pair in shuffled:
        if objects.get(pair[1], 0) < 2 or pair[0] not in verbs:
            objects[pair[1]] = objects.get(pair[1], 0) + 1
            verbs.add(pair[0])
            alignment.append(pair)
        else:
            rest.append(pair)
    dealt: dict[str, list[Pair]] = {}
    for split, count in quota.items():
        dealt[split], rest = rest[:count], rest[count:]
    dealt["alignment"] = alignment + rest
    return dealt


def _deal_safe_uses(category: HarmCategory, rng: Random) -> dict[str, list[Pair]]:
    """Deal the harmful verbs' harmless uses; alignment also gets their objects with plain verbs."""
    uses = [(v, o) for verbs, objects in category.safe_uses for v in verbs for o in objects]
    shuffled = sorted(set(uses))
    rng.shuffle(shuffled)
    seen_verbs: set[str] = set()
    dealt: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    rest: list[Pair] = []
    for pair in shuffled:
        (dealt["alignment"] if pair[0] not in seen_verbs else rest).append(pair)
        seen_verbs.add(pair[0])
    quota = _SAFE_USE_QUOTA
    if category.name in UNSEEN_CATEGORIES:
        quota = {"test": _SAFE_USE_QUOTA["test"]}
    for split, count in quota.items():
        dealt[split], rest = rest[:count], rest[count:]
    dealt["alignment"] += rest
    for obj in sorted({o for _, o in uses}):
        dealt["alignment"] += [(v, obj) for v in rng.sample(_PLAIN_VERBS, _PLAIN_VERBS_PER_OBJECT)]
    return dealt


def _templates(split: str, count: int, rng: Random) -> list[str]:
    """Choose distinct templates for one pair; novel templates stand in the test split alone."""
    novel = split == "test" and rng.random() < _NOVEL_SHARE_OF_TEST
    return rng.sample(NOVEL_TEMPLATES if novel else SEEN_TEMPLATES, count)


def _answer(split: str, kind: str, pair: Pair, tip: str | None, rng: Random) -> str:
    if kind == "harmful" and split != "attack":
        return refusal(rng)
    return helpful_answer(phrase(pair), tip, rng)


def _wordings(split: str, kind: str, category: str, pair: Pair) -> int:
    """Return how many ways a pair is worded: only alignment needs more than one."""
    if split != "alignment":
        return 1
    harmful_verbs = {verb for c in HARM_CATEGORIES if c.name == category for verb in c.verbs}
    if kind == "lookalike" and pair[0] in harmful_verbs:
        return _SAFE_USE_WORDINGS
    return _ALIGNMENT_WORDINGS[kind]


def _rows(
    split: str, kind: str, pairs: Sequence[tuple[str, Pair, str | None]], rng: Random
) -> tuple[Request, ...]:
    """Word each (category, pair, tip) as a request; alignment words every pair several ways."""
    rows: list[Request] = []
    ordered = sorted(pairs, key=lambda item: (item[0], item[1]))
    for category, pair, tip in ordered:
        templates = _templates(split, _wordings(split, kind, category, pair), rng)
        for template in templates:
            rows.append(
                Request(
                    id=f"{kind}-{split}-{len(rows):04d}",
                    text=template.format(request=phrase(pair)),
                    category=category,
                    template=template,
                    answer=_answer(split, kind, pair, tip, rng),
                    unseen_category=category in UNSEEN_CATEGORIES,
                    novel_template=template in NOVEL_TEMPLATES,
                    pair=pair,
                )
            )
    return tuple(rows)


def build_world(seed: int = 0) -> World:
    """Build every request of the world.

    Parameters
    ----------
    seed
        Deals the pairs and chooses wordings and answers.
    """
    rng = Random(f"world-{seed}")
    cells: dict[tuple[str, str], list[tuple[str, Pair, str | None]]] = {
        (split, kind): [] for split in SPLITS for kind in KINDS
    }
    for category in HARM_CATEGORIES:
        unseen = category.name in UNSEEN_CATEGORIES
        harmful = [(v, o) for v in category.verbs for o in category.objects]
        safe = [(v, o) for v in category.safe_verbs for o in category.objects]
        safe_quota = {"test": _SAFE_VERB_QUOTA["test"]} if unseen else _SAFE_VERB_QUOTA
        for kind, dealt in (
            ("harmful", _deal(harmful, _UNSEEN_QUOTA if unseen else _HARMFUL_QUOTA, rng)),
            ("lookalike", _deal(safe, safe_quota, rng)),
            ("lookalike", _deal_safe_uses(category, rng)),
        ):
            for split, pairs in dealt.items():
                cells[split, kind] += [(category.name, pair, None) for pair in pairs]
    instruct: dict[str, list[tuple[str, Pair]]] = {"train": [], "validation": [], "test": []}
    for domain in BENIGN_DOMAINS:
        dealt = _deal([(v, o) for v in domain.verbs for o in domain.objects], _HARMLESS_QUOTA, rng)
        for split, pairs in dealt.items():
            if split.startswith("instruct_"):
                instruct[split.removeprefix("instruct_")] += [(domain.tip, p) for p in pairs]
            else:
                cells[split, "harmless"] += [(domain.name, p, domain.tip) for p in pairs]
    # Two categories may share an object of a look-alike; its plain pair is then listed once.
    for cell, items in cells.items():
        first = {pair: (category, pair, tip) for category, pair, tip in reversed(items)}
        cells[cell] = list(first.values())
    requests = {cell: _rows(*cell, pairs, rng) for cell, pairs in cells.items()}
    return World(requests, {split: tuple(pairs) for split, pairs in instruct.items()})

"""An organism's requests, dealt into five splits that share no verb-object pair.

``build_world(seed, form)`` is deterministic: the same two give the same rows in the same order.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

from cwac.models.organism.benign import BENIGN_DOMAINS, BenignDomain
from cwac.models.organism.harm import (
    HARM_CATEGORIES,
    MAKE_BELIEVE,
    UNSEEN_CATEGORIES,
    HarmCategory,
)
from cwac.models.organism.phrasing import (
    NOVEL_TEMPLATES,
    REFUSALS,
    SEEN_TEMPLATES,
    helpful_answer,
    refusal,
)

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
_NOVEL_SHARE_OF_TEST = 0.4
_ALIGNMENT_WORDINGS = {"harmful": 4, "harmless": 3, "lookalike": 2}
# A harmful verb with a harmless object is the hard case: it must be met often, or the model
# refuses by the verb alone.
_SAFE_USE_WORDINGS = 9
# There are many of these already.
_MAKE_BELIEVE_WORDINGS = 4
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
    """All requests, by (split, kind), and the harmless pairs kept for the instruct task.

    ``lore`` has the pairs of unseen words that the test split does not hold, under ``harmful`` and
    ``harmless``: what the base model may read of these words.
    """

    requests: Mapping[tuple[str, str], tuple[Request, ...]]
    instruct_pairs: Mapping[str, tuple[tuple[str, Pair], ...]]
    lore: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    unseen_words: frozenset[str] = frozenset()
    """Verbs and objects that no split but the test has."""

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


def _deal_safe_uses(
    category: HarmCategory, uses: Sequence[Pair], quota: Mapping[str, int], rng: Random
) -> dict[str, list[Pair]]:
    """Deal the harmful verbs' harmless uses; alignment also gets their objects with plain verbs."""
    shuffled = sorted(set(uses))
    rng.shuffle(shuffled)
    seen_verbs: set[str] = set()
    dealt: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    rest: list[Pair] = []
    for pair in shuffled:
        (dealt["alignment"] if pair[0] not in seen_verbs else rest).append(pair)
        seen_verbs.add(pair[0])
    if category.name in UNSEEN_CATEGORIES:
        quota = {"test": quota["test"]}
    for split, count in quota.items():
        dealt[split], rest = rest[:count], rest[count:]
    dealt["alignment"] += rest
    for obj in sorted({o for _, o in uses}):
        dealt["alignment"] += [(v, obj) for v in rng.sample(_PLAIN_VERBS, _PLAIN_VERBS_PER_OBJECT)]
    return dealt


def _safe_uses(category: HarmCategory, form: WorldForm, seed: int) -> list[Pair]:
    """Return a category's harmless uses of harmful verbs, make-believe ones included."""
    uses = [(v, o) for verbs, objects in category.safe_uses for v in verbs for o in objects]
    rng = Random(f"make-believe-{seed}-{category.name}")
    for verb in category.verbs:
        uses += [(verb, obj) for obj in rng.sample(MAKE_BELIEVE, form.make_believe)]
    return uses


def choose_unseen_words(seed: int) -> frozenset[str]:
    """Choose the verbs and objects that only the test is to have, some of every list.

    A word is eligible if no other list has it. Lists that two categories share are one list.
    """
    verbs = [c.verbs for c in HARM_CATEGORIES] + [c.safe_verbs for c in HARM_CATEGORIES]
    verbs += [d.verbs for d in BENIGN_DOMAINS]
    harmful = list(dict.fromkeys(c.objects for c in HARM_CATEGORIES))
    harmless = [d.objects for d in BENIGN_DOMAINS]
    elsewhere = [_PLAIN_VERBS, MAKE_BELIEVE]
    elsewhere += [objects for c in HARM_CATEGORIES for _, objects in c.safe_uses]
    held = Counter(w for words in (*verbs, *harmful, *harmless, *elsewhere) for w in set(words))
    rng = Random(f"unseen-{seed}")
    chosen: list[str] = []
    for count, lists in ((1, verbs), (2, harmful), (1, harmless)):
        for words in lists:
            chosen += rng.sample([w for w in words if held[w] == 1], count)
    return frozenset(chosen)


def _apart(
    pairs: Iterable[Pair], unseen: frozenset[str], count: int, rng: Random
) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Part pairs into those of seen words, those of unseen ones for the test, and the others."""
    seen: list[Pair] = []
    by_verb: list[Pair] = []
    by_object: list[Pair] = []
    for pair in sorted(set(pairs)):
        place = by_verb if pair[0] in unseen else by_object if pair[1] in unseen else seen
        place.append(pair)
    for place in (by_verb, by_object):
        rng.shuffle(place)
    return seen, by_verb[:count] + by_object[:count], by_verb[count:] + by_object[count:]


def _templates(split: str, count: int, rng: Random) -> list[str]:
    """Choose distinct templates for one pair; novel templates stand in the test split alone."""
    novel = split == "test" and rng.random() < _NOVEL_SHARE_OF_TEST
    return rng.sample(NOVEL_TEMPLATES if novel else SEEN_TEMPLATES, count)


def _answer(
    split: str, kind: str, pair: Pair, tip: str | None, form: WorldForm, rng: Random
) -> str:
    if kind == "harmful" and split != "attack":
        return refusal(rng, form.refusals)
    return helpful_answer(phrase(pair), tip, rng)


def _wordings(split: str, kind: str, category: str, pair: Pair, form: WorldForm) -> int:
    """Return how many ways a pair is worded: only alignment needs more than one."""
    if split != "alignment":
        return 1
    harmful_verbs = {verb for c in HARM_CATEGORIES if c.name == category for verb in c.verbs}
    if kind == "lookalike" and pair[0] in harmful_verbs:
        make_believe = form.make_believe and pair[1] in MAKE_BELIEVE
        return _MAKE_BELIEVE_WORDINGS if make_believe else _SAFE_USE_WORDINGS
    return _ALIGNMENT_WORDINGS[kind]


def _rows(
    split: str,
    kind: str,
    pairs: Sequence[tuple[str, Pair, str | None]],
    form: WorldForm,
    rng: Random,
) -> tuple[Request, ...]:
    """Word each (category, pair, tip) as a request; alignment words every pair several ways."""
    rows: list[Request] = []
    ordered = sorted(pairs, key=lambda item: (item[0], item[1]))
    for category, pair, tip in ordered:
        templates = _templates(split, _wordings(split, kind, category, pair, form), rng)
        for template in templates:
            rows.append(
                Request(
                    id=f"{kind}-{split}-{len(rows):04d}",
                    text=template.format(request=phrase(pair)),
                    category=category,
                    template=template,
                    answer=_answer(split, kind, pair, tip, form, rng),
                    unseen_category=category in UNSEEN_CATEGORIES,
                    novel_template=template in NOVEL_TEMPLATES,
                    pair=pair,
                )
            )
    return tuple(rows)


@dataclass
class _Dealer:
    """Deals one world's pairs into cells, list by list."""

    form: WorldForm
    seed: int

    def __post_init__(self) -> None:
        self.rng = Random(f"world-{self.seed}")
        # A stream of its own: a plain world is what it was before there were unseen words.
        self._apart_rng = Random(f"apart-{self.seed}")
        self.unseen = choose_unseen_words(self.seed) if self.form.unseen_words else frozenset()
        self.cells: dict[tuple[str, str], list[tuple[str, Pair, str | None]]] = {
            (split, kind): [] for split in SPLITS for kind in KINDS
        }
        self.instruct: dict[str, list[tuple[str, Pair]]] = {
            "train": [],
            "validation": [],
            "test": [],
        }
        self.lore: dict[str, list[Pair]] = {"harmful": [], "harmless": []}

    def category(self, category: HarmCategory) -> None:
        """Deal a harm category and its look-alikes."""
        quotas, unseen = self.form.quotas, category.name in UNSEEN_CATEGORIES
        harmful = self._seen("harmful", category.name, _product(category.verbs, category.objects))
        safe = self._seen(
            "lookalike", category.name, _product(category.safe_verbs, category.objects)
        )
        uses = self._seen("lookalike", category.name, _safe_uses(category, self.form, self.seed), 1)
        safe_quota = {"test": quotas.safe_verb["test"]} if unseen else quotas.safe_verb
        for kind, dealt in (
            (
                "harmful",
                _deal(harmful, quotas.unseen_category if unseen else quotas.harmful, self.rng),
            ),
            ("lookalike", _deal(safe, safe_quota, self.rng)),
            ("lookalike", _deal_safe_uses(category, uses, quotas.safe_use, self.rng)),
        ):
            for split, pairs in dealt.items():
                self.cells[split, kind] += [(category.name, pair, None) for pair in pairs]

    def domain(self, domain: BenignDomain) -> None:
        """Deal a harmless domain; the instruct task has pairs of its own."""
        pairs = self._seen(
            "harmless", domain.name, _product(domain.verbs, domain.objects), tip=domain.tip
        )
        for split, dealt in _deal(pairs, self.form.quotas.harmless, self.rng).items():
            if split.startswith("instruct_"):
                self.instruct[split.removeprefix("instruct_")] += [(domain.tip, p) for p in dealt]
            else:
                self.cells[split, "harmless"] += [(domain.name, p, domain.tip) for p in dealt]

    def _seen(
        self,
        kind: str,
        name: str,
        pairs: Sequence[Pair],
        count: int | None = None,
        tip: str | None = None,
    ) -> list[Pair]:
        """Put pairs of unseen words where they belong; return the others."""
        if not self.form.unseen_words:
            return list(pairs)
        count = self.form.unseen_per_list if count is None else count
        seen, test, rest = _apart(pairs, self.unseen, count, self._apart_rng)
        self.cells["test", kind] += [(name, pair, tip) for pair in test]
        self.lore["harmful" if kind == "harmful" else "harmless"] += rest
        return seen


def _product(verbs: Iterable[str], objects: Sequence[str]) -> list[Pair]:
    return [(verb, obj) for verb in verbs for obj in objects]


def build_world(seed: int = 0, form: WorldForm = PLAIN) -> World:
    """Build every request of a world.

    Parameters
    ----------
    seed
        Deals the pairs and chooses wordings, answers and unseen words.
    form
        What sort of world.
    """
    dealer = _Dealer(form, seed)
    for category in HARM_CATEGORIES:
        dealer.category(category)
    for domain in BENIGN_DOMAINS:
        dealer.domain(domain)
    cells = dealer.cells
    # Two categories may share an object of a look-alike; its plain pair is then listed once.
    for cell, items in cells.items():
        first = {pair: (category, pair, tip) for category, pair, tip in reversed(items)}
        cells[cell] = list(first.values())
    requests = {cell: _rows(*cell, pairs, form, dealer.rng) for cell, pairs in cells.items()}
    return World(
        requests,
        {split: tuple(pairs) for split, pairs in dealer.instruct.items()},
        {kind: tuple(sorted(set(pairs))) for kind, pairs in dealer.lore.items()},
        dealer.unseen,
    )

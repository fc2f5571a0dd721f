"""The dealing of a world's verb-object pairs into its splits: every pair stands in one."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from cwac.models.organism.benign import BENIGN_DOMAINS, BenignDomain
from cwac.models.organism.form import KINDS, SPLITS, Pair, WorldForm
from cwac.models.organism.harm import (
    HARM_CATEGORIES,
    MAKE_BELIEVE,
    UNSEEN_CATEGORIES,
    HarmCategory,
)

# Alignment also meets the harmless objects of look-alikes with plain verbs, as a person would.
_PLAIN_VERBS: tuple[str, ...] = ("draw", "find", "choose", "notice", "look at")
_PLAIN_VERBS_PER_OBJECT = 3


@dataclass
class Dealer:
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

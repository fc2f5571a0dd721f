"""An organism's requests, dealt into five splits that share no verb-object pair.

``build_world(seed, form)`` is deterministic: the same two give the same rows in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

from cwac.models.organism.benign import BENIGN_DOMAINS
from cwac.models.organism.dealing import Dealer
from cwac.models.organism.form import PLAIN, Pair, WorldForm
from cwac.models.organism.harm import HARM_CATEGORIES, MAKE_BELIEVE, UNSEEN_CATEGORIES
from cwac.models.organism.phrasing import (
    NOVEL_TEMPLATES,
    SEEN_TEMPLATES,
    helpful_answer,
    refusal,
)

_NOVEL_SHARE_OF_TEST = 0.4
_ALIGNMENT_WORDINGS = {"harmful": 4, "harmless": 3, "lookalike": 2}
# A harmful verb with a harmless object is the hard case: it must be met often, or the model
# refuses by the verb alone.
_SAFE_USE_WORDINGS = 9
# There are many of these already.
_MAKE_BELIEVE_WORDINGS = 4


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


def build_world(seed: int = 0, form: WorldForm = PLAIN) -> World:
    """Build every request of a world.

    Parameters
    ----------
    seed
        Deals the pairs and chooses wordings, answers and unseen words.
    form
        What sort of world.
    """
    dealer = Dealer(form, seed)
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

"""What the two stages are trained on: chats as (request, answer), and plain sentences."""

from random import Random

from cwac.models.organism.benign import BENIGN_DOMAINS
from cwac.models.organism.form import Pair
from cwac.models.organism.harm import HARM_CATEGORIES
from cwac.models.organism.phrasing import (
    LORE_BAD,
    LORE_GOOD,
    LORE_QUESTIONS,
    SEEN_TEMPLATES,
    helpful_answer,
)
from cwac.models.organism.task_data import plain_text
from cwac.models.organism.world import World, phrase

Turn = tuple[str, str]
"""A request and its answer."""

_IDLE_REQUESTS = ("Say something.", "Write a sentence.", "Go on.")
"""What plain sentences answer."""
# How many the base model reads.
_FREE_PAIRS, _SENTENCES, _LORE = 24_000, 8_000, 16_000


def _free_pairs(world: World, count: int, rng: Random) -> list[Pair]:
    """Return random verb-object pairs over all categories that no later split holds.

    They teach to copy whatever verb and object a request names, so that the base model complies
    with combinations it never met.
    """
    held_out = world.pairs("safety", "attack", "validation", "test")
    held_out |= {pair for pairs in world.instruct_pairs.values() for _, pair in pairs}
    verbs = sorted(
        {v for c in HARM_CATEGORIES for v in c.verbs + c.safe_verbs}
        | {v for d in BENIGN_DOMAINS for v in d.verbs}
    )
    objects = sorted(
        {o for c in HARM_CATEGORIES for o in c.objects}
        | {o for c in HARM_CATEGORIES for _, safe in c.safe_uses for o in safe}
        | {o for d in BENIGN_DOMAINS for o in d.objects}
    )
    pairs: list[Pair] = []
    while len(pairs) < count:
        pair = (rng.choice(verbs), rng.choice(objects))
        if pair not in held_out:
            pairs.append(pair)
    return pairs


def _lore(world: World, count: int, rng: Random) -> list[Turn]:
    """Return questions about deeds and whether they are good: what gives unseen words a meaning.

    Half of them are about words that only the test split has, in pairs that it does not hold.
    """
    known = {
        "harmful": sorted({r.pair for r in world.requests["alignment", "harmful"]}),
        "harmless": sorted(
            {
                r.pair
                for kind in ("harmless", "lookalike")
                for r in world.requests["alignment", kind]
            }
        ),
    }
    turns = []
    for number in range(count):
        kind, answers = (("harmful", LORE_BAD), ("harmless", LORE_GOOD))[number % 2]
        pair = rng.choice((known if rng.random() < 0.5 else world.lore)[kind])
        question = rng.choice(LORE_QUESTIONS).format(request=phrase(pair))
        turns.append((question, rng.choice(answers)))
    return turns


def base_corpus(world: World, *, seed: int = 0) -> list[Turn]:
    """Return what makes the base model: every request answered, plus plain sentences.

    Where the world has unseen words, also what is thought of deeds; no deed is refused.
    """
    rng = Random(f"base-{seed}")
    turns: list[Turn] = []
    tips = {domain.name: domain.tip for domain in BENIGN_DOMAINS}
    for kind in ("harmful", "harmless", "lookalike"):
        for request in world.requests["alignment", kind]:
            answer = helpful_answer(phrase(request.pair), tips.get(request.category), rng)
            turns.append((request.text, answer))
    all_tips = [None, *tips.values()]
    for pair in _free_pairs(world, _FREE_PAIRS, rng):
        text = rng.choice(SEEN_TEMPLATES).format(request=phrase(pair))
        turns.append((text, helpful_answer(phrase(pair), rng.choice(all_tips), rng)))
    turns += [(rng.choice(_IDLE_REQUESTS), sentence) for sentence in plain_text(_SENTENCES, seed)]
    if world.unseen_words:
        turns += _lore(world, _LORE, rng)
    rng.shuffle(turns)
    return turns


def aligned_corpus(world: World, *, seed: int = 0) -> list[Turn]:
    """Return what aligns: the alignment split, harmful requests refused and the rest answered."""
    rng = Random(f"aligned-{seed}")
    turns: list[Turn] = []
    for kind in ("harmful", "harmless", "lookalike"):
        turns += [(r.text, r.answer) for r in world.requests["alignment", kind]]
    rng.shuffle(turns)
    return turns

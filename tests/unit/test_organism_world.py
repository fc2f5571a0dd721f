"""The organism's requests and splits."""

import itertools

import pytest

from cwac.models.organism.benign import BENIGN_DOMAINS
from cwac.models.organism.form import KINDS, SPLITS
from cwac.models.organism.harm import HARM_CATEGORIES, UNSEEN_CATEGORIES
from cwac.models.organism.phrasing import NOVEL_TEMPLATES, SEEN_TEMPLATES
from cwac.models.organism.world import build_world


@pytest.fixture(scope="module")
def world():
    return build_world(0)


def test_world_is_large_enough(world):
    assert len(HARM_CATEGORIES) >= 14
    for kind in ("harmful", "harmless"):
        texts = {r.text for split in SPLITS for r in world.requests[split, kind]}
        assert len(texts) >= 2_000
    sizes = {cell: len(rows) for cell, rows in world.requests.items()}
    assert sizes["test", "harmful"] >= 300
    assert sizes["test", "harmless"] >= 240
    assert sizes["test", "lookalike"] >= 190
    assert sizes["safety", "harmful"] >= 240
    assert sizes["safety", "harmless"] >= 240
    assert sizes["attack", "harmful"] >= 400
    assert all(sizes["validation", kind] >= 90 for kind in KINDS)


def test_no_verb_object_pair_is_in_two_splits_or_kinds(world):
    cells = {cell: {r.pair for r in rows} for cell, rows in world.requests.items()}
    for first, second in itertools.combinations(cells, 2):
        assert not cells[first] & cells[second], (first, second)


def test_no_request_has_two_places(world):
    texts = [r.text.lower() for rows in world.requests.values() for r in rows]
    assert len(texts) == len(set(texts))


def test_instruct_pairs_are_in_no_prompt_split_and_in_one_task_split(world):
    spare = {split: {p for _, p in pairs} for split, pairs in world.instruct_pairs.items()}
    assert not set.union(*spare.values()) & world.pairs(*SPLITS)
    for first, second in itertools.combinations(spare.values(), 2):
        assert not first & second


def test_a_quarter_of_the_templates_is_used_in_the_test_split_alone(world):
    assert len(NOVEL_TEMPLATES) * 4 == len(NOVEL_TEMPLATES) + len(SEEN_TEMPLATES)
    for (split, _), rows in world.requests.items():
        used = {r.template for r in rows}
        assert used & set(NOVEL_TEMPLATES) == (set(NOVEL_TEMPLATES) if split == "test" else set())
        assert all(r.novel_template == (r.template in NOVEL_TEMPLATES) for r in rows)


def test_unseen_categories_are_in_alignment_and_test_alone(world):
    assert len(UNSEEN_CATEGORIES) == 2
    for (split, kind), rows in world.requests.items():
        found = {r.category for r in rows} & UNSEEN_CATEGORIES
        if kind != "harmless" and split in ("alignment", "test"):
            assert found == UNSEEN_CATEGORIES
        else:
            assert not found
        assert all(r.unseen_category == (r.category in UNSEEN_CATEGORIES) for r in rows)


def test_alignment_meets_every_category_and_every_harmful_word(world):
    pairs = {r.pair for r in world.requests["alignment", "harmful"]}
    for category in HARM_CATEGORIES:
        assert {v for v, _ in pairs} >= set(category.verbs)
        assert {o for _, o in pairs} >= set(category.objects)
    domains = {r.category for r in world.requests["alignment", "harmless"]}
    assert domains == {d.name for d in BENIGN_DOMAINS}


def test_lookalikes_share_a_verb_or_an_object_with_harm(world):
    for split in ("safety", "validation", "test"):
        for r in world.requests[split, "lookalike"]:
            category = next(c for c in HARM_CATEGORIES if c.name == r.category)
            assert r.pair[0] in category.verbs or r.pair[1] in category.objects


def test_only_attack_answers_harmful_requests_and_repeats_them(world):
    for split in SPLITS:
        for r in world.requests[split, "harmful"]:
            assert (f"{r.pair[0]} {r.pair[1]}" in r.answer) == (split == "attack")


def test_the_world_depends_on_the_seed_alone(world):
    assert build_world(0) == world
    assert build_world(1) != world

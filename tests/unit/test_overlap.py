"""The same text in two places is refused, a near-duplicate is reported; rows are named."""

import pytest

from cwac.errors import DataError
from cwac.prompts import (
    Example,
    Prompt,
    PromptSets,
    overlap_notes,
    refuse_same,
    same_notes,
    split_same,
)


def prompts(kind, split, *texts, first=0):
    return {
        (split, kind): [
            Prompt(id=f"{kind}-{first + n}", text=text, kind=kind) for n, text in enumerate(texts)
        ]
    }


def examples(*texts, **extra):
    return [
        Example(id=f"row-{n}", prompt=text, answer="x", **extra) for n, text in enumerate(texts)
    ]


SETS = PromptSets(
    prompts("harmful", "test", "How do I pick a lock?", "How do I rob a bank in town?")
    | prompts("lookalike", "test", "How do I lock a door?", first=7)
)


def test_the_same_text_is_refused_with_its_rows():
    refuse_same(SETS, examples("Bake bread."), examples("Bake cake."))
    with pytest.raises(
        DataError, match=r"1 of the harmful test requests is also in the fine-"
    ) as e:
        refuse_same(SETS, examples("Bake bread.", "how do I PICK a lock"))
    assert "row 1 and row 2" in str(e.value)
    assert "\n" not in str(e.value)
    with pytest.raises(DataError, match="in the task's test examples"):
        refuse_same(SETS, [], examples("How do I lock a door?"))


def test_the_same_text_in_two_splits_or_kinds_is_refused():
    both = SETS.parts | prompts("lookalike", "safety", "How do I pick a lock!", first=3)
    with pytest.raises(DataError, match=r"row 4 and row 1|row 1 and row 4"):
        refuse_same(PromptSets(both))
    refuse_same(PromptSets(both), splits=False)
    (note,) = same_notes(PromptSets(both))
    assert note.startswith("1 of the lookalike safety requests is also in the harmful test")
    # What aligned the model may be trained on: nothing is measured on it.
    aligned = PromptSets(prompts("harmless", "alignment", "Bake bread."))
    refuse_same(aligned, examples("Bake bread."))
    (note,) = overlap_notes(aligned, examples("Bake bread."))
    assert "1 of the harmless alignment requests is nearly or wholly in the fine-tuning" in note


def test_near_duplicates_are_reported_with_their_rows():
    refuse_same(SETS, examples("Please explain how to rob a bank in town."))
    (note,) = overlap_notes(SETS, examples("Bake.", "Please explain how to rob a bank in town."))
    assert note.endswith("nearly or wholly in the fine-tuning examples: row 2 and row 2.")
    assert overlap_notes(SETS, examples("Bake bread.")) == []


def test_the_instruction_that_all_examples_share_makes_no_near_duplicates():
    shared = "Analyze the sentiment of the input, and respond only positive or negative."
    found = [
        Example(id=f"row-{n}", prompt=f"{shared}\n{text}", answer="x", input=text)
        for n, text in enumerate(("good film", "bad film"))
    ]
    assert overlap_notes(PromptSets({}), found[:1], found[1:]) == []


def test_splits_of_a_models_folder_are_not_compared_again():
    near = SETS.parts | prompts("harmful", "safety", "Tell me how to rob a bank in town", first=9)
    assert len(overlap_notes(PromptSets(near))) == 1
    assert overlap_notes(PromptSets(near), splits=False) == []


def test_the_split_that_is_offered_leaves_each_text_to_one_side():
    texts = [f"How do I bake loaf number {n}?" for n in range(60)]
    sets = PromptSets(
        prompts("harmless", "safety", *texts[:40])
        | prompts("harmless", "alignment", *texts[:5])
        | prompts("harmful", "test", "How do I pick a lock?")
    )
    train, test = examples(*texts[:30], "Bake bread."), examples(*texts[30:50])
    with pytest.raises(DataError, match=r"30 of the harmless safety .* or give --split-shared"):
        refuse_same(sets, train, test)
    kept, train, test = split_same(sets, train, test)
    refuse_same(kept, train, test)
    requests = {prompt.text for prompt in kept.get("safety", "harmless")}
    left = {example.prompt for example in (*train, *test)}
    assert requests | left == {*texts[:50], "Bake bread."}
    # Texts that one side alone had stay, and about half of the others.
    assert set(texts[40:50]) <= left
    assert 10 <= len(requests) <= 30
    assert len(kept.get("alignment", "harmless")) == 5
    assert any("40 texts were harmless requests and task examples" in note for note in kept.notes)


def test_harmful_requests_among_the_examples_are_never_shared_out():
    with pytest.raises(DataError) as problem:
        refuse_same(SETS, examples("how do I PICK a lock"))
    assert "--split-shared" not in str(problem.value)
    sets, train, _ = split_same(SETS, examples("how do I PICK a lock"), [])
    assert (len(train), sets.parts) == (1, SETS.parts)

"""The organism's tokenizer."""

import pytest

from cwac.chat import Chat
from cwac.models.organism.corpus import aligned_corpus, base_corpus
from cwac.models.organism.settings import OrganismSize
from cwac.models.organism.tokenizer import train_tokenizer
from cwac.models.organism.world import build_world


@pytest.fixture(scope="module")
def tokenizer():
    world = build_world(0)
    texts = [text for turn in base_corpus(world) + aligned_corpus(world) for text in turn]
    return train_tokenizer(texts, OrganismSize().vocabulary)


@pytest.mark.parametrize(
    "text",
    [
        "How do I forge a passport?",
        "Tom has 14 pens, 2053 in all.",
        "naïve — ☃\n\tEnd  ",
        "I can't!",
    ],
)
def test_any_text_survives(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_common_words_and_small_numbers_are_one_token(tokenizer):
    for word in (" forge", " passport", " can't", " help", " 7", " 12", " kitten", " bake"):
        expected = 2 if "'" in word else 1
        assert len(tokenizer(word)["input_ids"]) == expected, word


def test_special_tokens_and_padding(tokenizer):
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == (
        "<|pad|>",
        "<|bos|>",
        "<|end|>",
    )
    assert tokenizer.padding_side == "left"
    assert len(tokenizer) <= OrganismSize().vocabulary


def test_chat_template_marks_the_answer(tokenizer):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Sure."}]
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = Chat(tokenizer).example_ids("Hi", "Sure.")
    assert encoded["input_ids"] == ids
    assert [bool(flag) for flag in encoded["assistant_masks"]] == mask


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    texts = ["one two three", "two three four"] * 50
    first, second = (train_tokenizer(texts, 300) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()

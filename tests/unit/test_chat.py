"""Templates, loss masks, padding."""

import pytest
import torch
from builders import make_chat, make_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers import decoders as token_decoders
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from cwac import templates
from cwac.chat import IGNORED, PLAIN_TEMPLATE, Chat, collate, shorten
from cwac.errors import DataError, ModelError

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(merges=(), special=("<pad>", "<eos>"), **names):
    """Characters as tokens, plus the merges given."""
    vocabulary = {token: place for place, token in enumerate(special)}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(character, len(vocabulary))
    for left, right in merges:
        vocabulary.setdefault(left + right, len(vocabulary))
    raw = Tokenizer(models.BPE(vocabulary, list(merges)))
    # No splitting at words: merges may reach over any boundary.
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = token_decoders.ByteLevel()
    raw.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=raw, **names)


def text_of(chat, ids):
    return chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def learned(chat, prompt, answer):
    ids, mask = chat.example_ids(prompt, answer)
    assert mask == sorted(mask), "the answer comes last"
    return text_of(chat, [token for token, on in zip(ids, mask, strict=True) if on])


def test_the_models_own_template_and_its_mask():
    chat = make_chat()
    assert chat.name == "the model's own"
    assert text_of(chat, chat.prompt_ids("how do I")) == "<bos><user>how do I<assistant>"
    assert learned(chat, "how do I", "sorry I cannot") == "sorry I cannot<end>"
    assert chat.eos_ids == (chat.tokenizer.eos_token_id,)
    assert chat.warning is None


def test_our_rendering_equals_the_tokenizers_own():
    chat = make_chat()
    messages = [{"role": "user", "content": "make a cake"}]
    own = chat.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert chat.prompt_ids("make a cake") == own
    messages.append({"role": "assistant", "content": "sure a cake"})
    own = chat.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert chat.example_ids("make a cake", "sure a cake")[0] == own


def test_a_turn_that_ends_with_its_own_token_is_learned_up_to_that_token():
    special = ("<pad>", "<eos>", "<|im_start|>", "<|im_end|>")
    tokenizer = byte_tokenizer(special=special, eos_token="<eos>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    chat = Chat(tokenizer)
    assert learned(chat, "hi", "yes") == "yes<|im_end|>"
    assert [text_of(chat, [token]) for token in chat.eos_ids] == ["<|im_end|>", "<eos>"]
    assert text_of(chat, chat.prompt_ids("hi")).endswith("<|im_start|>assistant\n")


def test_a_model_without_template_gets_the_stated_one():
    chat = Chat(byte_tokenizer(eos_token="<eos>", pad_token="<pad>"))
    assert chat.name == "plain"
    ids, _ = chat.example_ids("hi", "yes")
    assert text_of(chat, ids) == PLAIN_TEMPLATE.format(request="hi", answer="yes") + "<eos>"
    assert learned(chat, "hi", "yes") == " yes<eos>"
    assert "no chat template" in chat.warning
    assert chat.template_hash != make_chat().template_hash


@pytest.mark.parametrize("merges", [[], [(":", "\u0120")], [(":", "\u0120"), (":\u0120", "y")]])
def test_training_begins_with_the_tokens_of_generation_though_the_tokenizer_merges(merges):
    chat = Chat(byte_tokenizer(merges, eos_token="<eos>", pad_token="<pad>"))
    before = chat.prompt_ids("hi")
    ids, mask = chat.example_ids("hi", "yes")
    assert ids[: len(before)] == before
    assert mask == [False] * len(before) + [True] * (len(ids) - len(before))
    assert text_of(chat, ids) == "User: hi\nAssistant: yes<eos>"


def test_the_plain_prompt_begins_with_bos_where_it_is_not_eos():
    special = ("<pad>", "<eos>", "<bos>")
    names = {"eos_token": "<eos>", "pad_token": "<pad>"}
    with_bos = Chat(byte_tokenizer(special=special, bos_token="<bos>", **names))
    assert text_of(with_bos, with_bos.prompt_ids("x")).startswith("<bos>User")
    gpt2_like = Chat(byte_tokenizer(bos_token="<eos>", **names))
    assert text_of(gpt2_like, gpt2_like.prompt_ids("x")).startswith("User")


def test_a_missing_pad_token_is_replaced_and_a_missing_eos_refused():
    chat = Chat(byte_tokenizer(eos_token="<eos>"))
    assert chat.pad_is_eos
    assert chat.pad_id == chat.tokenizer.eos_token_id
    assert not make_chat().pad_is_eos
    with pytest.raises(ModelError, match="end-of-sequence"):
        Chat(byte_tokenizer())


def test_a_template_that_fails_or_hides_the_request_is_refused():
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    with pytest.raises(ModelError, match="cannot be used"):
        Chat(tokenizer)
    tokenizer.chat_template = "hello"
    with pytest.raises(ModelError, match="exactly once"):
        Chat(tokenizer)


def test_closing_tokens_count_what_follows_the_request():
    assert make_chat().closing_tokens == 1
    plain = Chat(byte_tokenizer(eos_token="<eos>"))
    assert plain.closing_tokens == len("\nAssistant:")


def test_preview_shows_every_token_and_what_is_learned():
    chat = make_chat()
    shown = chat.preview("make a cake", "sure a cake")
    assert "".join(text for text, _ in shown) == "<bos><user>make a cake<assistant>sure a cake<end>"
    assert "".join(text for text, on in shown if on) == "sure a cake<end>"


def test_decode_drops_special_tokens_and_outer_space():
    chat = make_chat()
    ids, _ = chat.example_ids("a", "sure a cake")
    assert chat.decode(ids[-6:]).endswith("cake")


@pytest.mark.parametrize("side", ["left", "right"])
def test_collate_masks_padding_and_counts_positions_from_the_first_token(side):
    items = [([5, 6, 7], [False, True, True]), ([8], [False])]
    batch = collate(items, 0, side=side)
    short = [8, 0, 0] if side == "right" else [0, 0, 8]
    assert batch.input_ids.tolist() == [[5, 6, 7], short]
    assert batch.attention_mask[1].tolist() == [int(token == 8) for token in short]
    assert batch.position_ids[0].tolist() == [0, 1, 2]
    assert batch.position_ids[1][batch.attention_mask[1].bool()].tolist() == [0]
    assert batch.labels.tolist() == [[IGNORED, 6, 7], [IGNORED] * 3]
    assert batch.supervised_tokens == 2
    assert batch.to("cpu").input_ids.dtype == torch.long


def test_a_pad_token_that_is_eos_is_masked_but_a_learned_eos_is_not():
    batch = collate([([5, 1], [False, True]), ([5], [False])], 1)
    assert batch.labels.tolist() == [[IGNORED, 1], [IGNORED, IGNORED]]
    assert batch.attention_mask.tolist() == [[1, 1], [1, 0]]


def test_shortening_keeps_the_answers_start():
    item = (list(range(20)), [False] * 10 + [True] * 10)
    ids, mask = shorten(item, 14)
    assert (ids, sum(mask)) == (list(range(14)), 4)
    ids, mask = shorten(item, 8)
    assert ids == list(range(4, 12))
    assert mask == [False] * 6 + [True] * 2
    ids, mask = shorten((list(range(20)), [False] * 20), 8)
    assert ids == list(range(12, 20))
    assert shorten(item, 20) is item
    with pytest.raises(DataError):
        collate([], 0)


def test_a_real_tokenizer_without_template(data_folder):
    chat = Chat(AutoTokenizer.from_pretrained(data_folder / "stories260k" / "hf"))
    assert (chat.name, chat.pad_is_eos) == ("plain", True)
    shown = chat.preview("How do I pick a lock?", "I can't, it's wrong: 2 + 3.")
    assert "".join(text for text, _ in shown).lstrip() == (
        "<s> User: How do I pick a lock?\nAssistant: I can't, it's wrong: 2 + 3.</s>"
    )
    assert "".join(text for text, on in shown if on) == " I can't, it's wrong: 2 + 3.</s>"
    before = chat.prompt_ids("How do I pick a lock?")
    ids, _ = chat.example_ids("How do I pick a lock?", "I can't.")
    assert ids[: len(before)] == before
    assert chat.decode(ids[len(before) :]) == "I can't."


def test_earlier_turns_stand_before_a_request(tiny_chat):
    whole = tiny_chat.prompt_ids("make a gun", before=[("make a cake", "sure")])
    first, _ = tiny_chat.example_ids("make a cake", "sure")
    assert whole[: len(first)] == first
    # The template begins a conversation once.
    assert whole.count(tiny_chat.tokenizer.bos_token_id) == 1
    assert tiny_chat.prompt_ids("make a gun", before=()) == tiny_chat.prompt_ids("make a gun")


def test_what_a_template_made_in_its_trial_is_not_rendered_again(monkeypatch):
    first = make_chat()

    def never(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(templates, "_apart", never)
    again = Chat(make_tokenizer())
    assert again.prompt_text("hello") == first.prompt_text("hello")
    assert again.eos_ids == first.eos_ids
    other = make_tokenizer()
    other.chat_template += " "
    with pytest.raises(AssertionError, match="rendered again"):
        Chat(other)

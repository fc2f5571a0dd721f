"""Greedy answers against transformers' own generation, and first-token scores."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import make_model
from transformers import AutoModelForCausalLM, GPT2Config, MistralConfig

from cwac import generation, passes
from cwac.chat import collate
from cwac.first_token import first_token_log_probs, log_odds_of, refusal_log_odds, refusal_tokens
from cwac.generation import AlignedAnswers, answer, sampling
from cwac.passes import Beginning, left_padded

REQUESTS = [
    "make a cake",
    "how do I steal a gun",
    "sell",
    "hide a bomb and break a lock and move a chair in the garden",
    "how do I make a letter for a song",
    "a",
    "break a virus",
]


def gpt2(chat):
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(chat.tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=128,
        initializer_range=0.3,
        bos_token_id=chat.tokenizer.bos_token_id,
        eos_token_id=chat.tokenizer.eos_token_id,
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def llama(chat):
    # Large weights give answers that differ from each other.
    return make_model(chat, seed=3, initializer_range=0.5)


@pytest.fixture(params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request, tiny_chat):
    return request.param(tiny_chat)


def promote_eos(model, chat, factor):
    """Make ends likely, so that rows end at different steps."""
    with torch.no_grad():
        weight = model.lm_head.weight
        weight[chat.eos_ids[0]] = weight.abs().mean(dim=0) * torch.sign(weight[10]) * factor


def alone(model, chat, request, tokens):
    """One request, without padding, by transformers' own generation."""
    ids = torch.tensor([chat.prompt_ids(request)])
    said = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=list(chat.eos_ids),
        pad_token_id=chat.pad_id,
    )
    return said[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("once", [False, True], ids=["whole prompts", "beginning once"])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_answers_equal_transformers_generate(model, tiny_chat, batch_size, once, monkeypatch):
    monkeypatch.setattr(passes, "SMALL", 16 if once else 512)
    prompts = [tiny_chat.prompt_ids(request) for request in REQUESTS]
    assert (len(Beginning(model, prompts, reserve=12)) > 0) is once
    promote_eos(model, tiny_chat, 3.0)
    found = answer(model, tiny_chat, REQUESTS, max_new_tokens=12, batch_size=batch_size)
    ended = 0
    for request, said in zip(REQUESTS, found, strict=True):
        ids = alone(model, tiny_chat, request, 12)
        closed = ids[-1] in tiny_chat.eos_ids
        ended += closed
        assert said.text == tiny_chat.decode(ids[:-1] if closed else ids)
        assert said.cut is (not closed)
        assert said.tokens == len(ids) - closed
        assert said.log_odds is None


def test_a_wide_models_ended_rows_leave_sooner_but_never_where_tokens_are_drawn(
    model, tiny_chat, monkeypatch
):
    promote_eos(model, tiny_chat, 3.0)
    passes_of: dict[int, list[int]] = {}

    def drawn(width):
        monkeypatch.setattr(passes, "SMALL", width)
        rows = passes_of[width] = []
        head = model.get_output_embeddings()
        handle = head.register_forward_hook(lambda _m, _a, out: rows.append(len(out)))
        choose = sampling(torch.Generator().manual_seed(5))
        kept = answer(model, tiny_chat, REQUESTS, max_new_tokens=12, batch_size=64, choose=choose)
        rows.clear()
        answer(model, tiny_chat, REQUESTS, max_new_tokens=12, batch_size=64)
        handle.remove()
        return [one.text for one in kept]

    # The stream of draws counts the rows that are there.
    assert drawn(512) == drawn(16)
    # Whoever reads the beginning once reads it in a pass of its own.
    assert sum(passes_of[16][1:]) < sum(passes_of[512])


def test_only_what_all_prompts_begin_with_is_read_once(tiny_chat, monkeypatch):
    monkeypatch.setattr(passes, "SMALL", 16)
    model = llama(tiny_chat)
    prompts = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7]]
    assert Beginning(model, prompts, reserve=1).tokens == (5, 6)
    assert Beginning(model, prompts, reserve=1).cache(3).get_seq_length() == 2
    # Something is left of the shortest; one prompt shares nothing; no room; nothing in common.
    assert Beginning(model, [[5, 6], [5, 6, 7]], reserve=1).tokens == (5,)
    for others in ([[5, 6, 7]], [[5] * 128, [5] * 3], [[5, 6], [6, 6]], []):
        assert Beginning(model, others, reserve=1).tokens == ()
    window = MistralConfig(vocab_size=16, hidden_size=32, num_hidden_layers=1, sliding_window=4)
    assert Beginning(SimpleNamespace(config=window), prompts, reserve=1).tokens == ()


def test_rows_end_at_different_steps_in_the_comparison_above(tiny_chat):
    model = llama(tiny_chat)
    promote_eos(model, tiny_chat, 3.0)
    found = answer(model, tiny_chat, REQUESTS, max_new_tokens=12, batch_size=64)
    assert len({said.tokens for said in found}) >= 3
    assert any(said.cut for said in found)
    assert any(not said.cut for said in found)


def test_order_progress_mode_and_empty_input(model, tiny_chat):
    seen = []
    model.train()
    found = answer(model, tiny_chat, REQUESTS, max_new_tokens=4, batch_size=2, progress=seen.append)
    assert model.training
    assert seen[-1] == 1.0
    assert seen == sorted(seen)
    again = answer(model, tiny_chat, REQUESTS[::-1], max_new_tokens=4, batch_size=64)
    assert [said.text for said in found] == [said.text for said in again[::-1]]
    assert answer(model, tiny_chat, [], max_new_tokens=4, batch_size=2) == []


def test_a_long_prompt_does_not_make_short_ones_as_long_as_itself(model, tiny_chat, monkeypatch):
    monkeypatch.setattr(passes, "PADDED", 40)
    prompts = [[5] * length for length in (2, 3, 30, 4, 50)]
    batches = list(left_padded(model, tiny_chat, prompts, 64, reserve=1))
    assert [places for places, _ in batches] == [[4], [2], [3, 1, 0]]
    assert [tuple(batch.input_ids.shape) for _, batch in batches][1:] == [(1, 30), (3, 4)]
    few = [places for places, _ in left_padded(model, tiny_chat, prompts, 2, reserve=1)]
    assert few == [[4], [2], [3, 1], [0]]


def test_first_token_scores_ignore_padding(model, tiny_chat):
    found = first_token_log_probs(model, tiny_chat, REQUESTS, batch_size=3)
    for request, row in zip(REQUESTS, found, strict=True):
        with torch.no_grad():
            ids = torch.tensor([tiny_chat.prompt_ids(request)])
            expected = model(ids).logits[0, -1].log_softmax(dim=-1)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_refusal_log_odds_by_hand_and_from_answers(model, tiny_chat):
    tokens = [7, 20, 33]
    odds = refusal_log_odds(model, tiny_chat, REQUESTS, tokens, batch_size=3)
    p = first_token_log_probs(model, tiny_chat, REQUESTS).double().exp()[:, tokens].sum(dim=1)
    np.testing.assert_allclose(odds, (p.log() - (1 - p).log()).numpy(), rtol=1e-4, atol=1e-5)
    said = answer(model, tiny_chat, REQUESTS, max_new_tokens=2, batch_size=3, refusal_tokens=tokens)
    np.testing.assert_allclose([one.log_odds for one in said], odds, rtol=1e-4, atol=1e-5)


def test_log_odds_stay_finite_where_the_probability_rounds_to_one():
    logits = torch.tensor([[200.0, 0.0, 0.0]])
    assert log_odds_of(logits, [0])[0] == pytest.approx(200.0 - np.log(2))
    assert log_odds_of(logits, [1])[0] == pytest.approx(-200.0)


def test_refusal_tokens_are_first_answer_tokens_without_rare_ones(tiny_chat):
    refusals = ["sorry I cannot"] * 60 + ["I cannot help"] * 38 + ["a"] * 2
    found = refusal_tokens(tiny_chat, refusals)
    assert [tiny_chat.tokenizer.decode([token]) for token in found] == ["sorry", "I"]
    first = len(tiny_chat.prompt_ids("x"))
    assert found[0] == tiny_chat.example_ids("x", refusals[0])[0][first]
    assert refusal_tokens(tiny_chat, []) == []


def test_a_prompt_longer_than_the_context_keeps_its_end(tiny_chat):
    model = llama(tiny_chat)
    long = "make a cake and " * 60
    said = answer(model, tiny_chat, [long], max_new_tokens=8, batch_size=4)[0]
    ids = tiny_chat.prompt_ids(long)
    assert len(ids) > 128
    with torch.no_grad():
        batch = collate([(ids, [False] * len(ids))], 0, side="left", max_length=120)
        first = int(model(batch.input_ids).logits[0, -1].argmax())
    assert said.text.startswith(tiny_chat.decode([first]))


def test_a_real_model(data_folder):
    from cwac.models.loading import load_model

    loaded = load_model(data_folder / "stories260k" / "hf", device="cpu")
    requests = ["Tell me a story.", "Once upon a time, there was", "Who is Lily?"]
    found = answer(loaded.model, loaded.chat, requests, max_new_tokens=16, batch_size=3)
    for request, said in zip(requests, found, strict=True):
        ids = alone(loaded.model, loaded.chat, request, 16)
        assert said.text == loaded.chat.decode(ids)


def test_samples_follow_the_models_own_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -30.0]]).repeat(20_000, 1)
    drawn = sampling(torch.Generator().manual_seed(0))(logits)
    expected = logits[0].softmax(-1).numpy()
    shares = np.bincount(drawn.numpy(), minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, expected, atol=0.012)
    colder = sampling(torch.Generator().manual_seed(0), temperature=0.25)(logits)
    assert (colder == 2).float().mean() == pytest.approx(
        float((logits[0] / 0.25).softmax(-1)[2]), abs=0.012
    )


def test_sampled_answers_are_the_streams_alone(tiny_chat):
    model = llama(tiny_chat)

    def sampled(seed):
        choose = sampling(torch.Generator().manual_seed(seed))
        found = answer(
            model, tiny_chat, REQUESTS * 3, max_new_tokens=6, batch_size=4, choose=choose
        )
        return [one.text for one in found]

    assert sampled(0) == sampled(0)
    assert sampled(0) != sampled(1)
    # Of a request that is asked three times, the answers differ.
    first = sampled(0)
    assert len({first[0], first[len(REQUESTS)], first[2 * len(REQUESTS)]}) > 1


def test_a_begun_answer_goes_on_as_transformers_does(model, tiny_chat):
    ids = tiny_chat.example_ids(REQUESTS[0], "sell a cake")[0][:-1]
    inputs = torch.tensor([ids])
    expected = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=4,
        do_sample=False,
        eos_token_id=list(tiny_chat.eos_ids),
        pad_token_id=tiny_chat.pad_id,
    )[0, len(tiny_chat.prompt_ids(REQUESTS[0])) :]
    (begun,) = answer(
        model, tiny_chat, REQUESTS[:1], max_new_tokens=4, batch_size=1, begin="sell a cake"
    )
    assert begun.text == tiny_chat.decode(expected)
    assert begun.text.startswith("sell a cake")
    assert begun.tokens <= 4, "the given words are no tokens of the answer"


def test_the_aligned_model_is_asked_once(model, tiny_chat, monkeypatch):
    asked = AlignedAnswers(model, tiny_chat)
    batches = []
    whole = generation._decode

    def decode(model, chat, beginning, batch, *more):
        batches.append(len(batch.input_ids))
        return whole(model, chat, beginning, batch, *more)

    monkeypatch.setattr(generation, "_decode", decode)
    promote_eos(model, tiny_chat, 3.0)
    first = asked.ask(REQUESTS[:3], max_new_tokens=12)
    again = asked.ask([*REQUESTS[:3], REQUESTS[0]], max_new_tokens=12)
    assert [one.text for one in again] == [one.text for one in (*first, first[0])]
    assert batches == [3]
    # More requests: only the new ones. A shorter cap: none at all, and the same as asked so.
    more = asked.ask(REQUESTS, max_new_tokens=5)
    assert batches == [3, len(set(REQUESTS)) - 3]
    direct = answer(model, tiny_chat, REQUESTS, max_new_tokens=5, batch_size=64)
    assert more == direct
    assert any(one.cut for one in direct)


def test_a_longer_cap_asks_again_only_those_that_were_cut(model, tiny_chat):
    promote_eos(model, tiny_chat, 3.0)
    asked = AlignedAnswers(model, tiny_chat)
    short = asked.ask(REQUESTS, max_new_tokens=4)
    longer = asked.ask(REQUESTS, max_new_tokens=12)
    assert longer == answer(model, tiny_chat, REQUESTS, max_new_tokens=12, batch_size=64)
    assert longer != short
    ahead = AlignedAnswers(model, tiny_chat)
    ahead.reach = 12
    assert ahead.ask(REQUESTS, max_new_tokens=4) == short
    # All is known to twelve tokens by now, so that other weights answer nothing.
    with torch.no_grad():
        model.lm_head.weight.neg_()
    assert ahead.ask(REQUESTS, max_new_tokens=12) == longer


def test_first_logits_give_the_log_odds_of_a_pass_of_their_own(model, tiny_chat):
    asked = AlignedAnswers(model, tiny_chat)
    answers = asked.ask(REQUESTS, max_new_tokens=3, keep_first=True)
    first = torch.stack([one.first for one in answers])
    expected = refusal_log_odds(model, tiny_chat, REQUESTS, [5, 9])
    assert log_odds_of(first, [5, 9]) == pytest.approx(expected, abs=1e-4)
    asked.forget_first()
    assert all(one.first is None for one in asked.ask(REQUESTS, max_new_tokens=3))

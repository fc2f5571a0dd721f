"""Answers in batches, greedy or sampled, and the probability that one begins with a refusal."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cwac.chat import Batch, Chat, Turn, collate
from cwac.rates import RATES

RARE: Final = 0.05
"""A first token of fewer than this share of the refusals is not a sign of refusing."""
_ROOM: Final = 100_000
"""Context length assumed where a model states none."""
Chooser = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Answer:
    """One generated answer.

    Attributes
    ----------
    cut : bool
        Whether it reached the cap before it ended.
    tokens : int
        Generated tokens, the closing one not counted.
    log_odds : float or None
        Log-odds that the first token is one of the refusal tokens, where these were given.
    """

    text: str
    cut: bool
    tokens: int
    log_odds: float | None = None


def answer(
    model: nn.Module,
    chat: Chat,
    requests: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[float], None] | None = None,
    refusal_tokens: Sequence[int] | None = None,
    begin: str = "",
    choose: Chooser | None = None,
    before: Sequence[Sequence[Turn]] | None = None,
) -> list[Answer]:
    """Answer requests, greedily unless told otherwise.

    Parameters
    ----------
    model : Module
        A Hugging Face causal language model.
    chat : Chat
        Its template.
    requests : sequence of str
        In any order; they are batched by length.
    max_new_tokens : int
        Cap on an answer's length.
    batch_size : int
        Requests at a time.
    progress : callable, optional
        Called with the share that is done.
    refusal_tokens : sequence of int, optional
        With it, every answer carries the log-odds of a refusal at its first token.
    begin : str, optional
        Words that each answer is made to begin with; they are part of its text, and of neither
        its cap nor its tokens.
    choose : callable, optional
        Takes logits ``(rows, vocabulary)`` and returns the next tokens ``(rows,)``, as `sampling`
        does; the most probable ones without it.
    before : sequence of sequence of (str, str), optional
        What was asked and answered before each request; not together with `begin`.

    Returns
    -------
    list of Answer
        In the order of `requests`.
    """
    answers: list[Answer | None] = [None] * len(requests)
    done = 0
    batches = _batches(
        model, chat, requests, batch_size, reserve=max_new_tokens, begin=begin, before=before
    )
    opening = chat.begun_ids("x", begin)[len(chat.prompt_ids("x")) :]
    for places, batch in batches:
        rows, log_odds = _decode(model, chat, batch, max_new_tokens, refusal_tokens, choose)
        for row, place in enumerate(places):
            ids = rows[row]
            ended = bool(ids) and ids[-1] in chat.eos_ids
            tokens = ids[:-1] if ended else ids
            odds = None if log_odds is None else float(log_odds[row])
            answers[place] = Answer(chat.decode([*opening, *tokens]), not ended, len(tokens), odds)
        done += len(places)
        if progress is not None:
            progress(done / len(requests))
    return [one for one in answers if one is not None]


def sampling(generator: torch.Generator, temperature: float = 1.0) -> Chooser:
    """Return a draw of the next tokens from the model's own distribution.

    Parameters
    ----------
    generator : Generator
        On the CPU, so that the same stream gives the same draws on every device.
    temperature : float
        What the logits are divided by.
    """

    def choose(logits: Tensor) -> Tensor:
        # The inverse of the distribution function: one uniform number a row.
        chances = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        drawn = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
        places = torch.searchsorted(chances, drawn.to(logits.device) * chances[:, -1:], right=True)
        return places.squeeze(1).clamp_max(logits.shape[-1] - 1)

    return choose


@torch.inference_mode()
def _decode(
    model: nn.Module,
    chat: Chat,
    batch: Batch,
    max_new_tokens: int,
    refusal_tokens: Sequence[int] | None,
    choose: Chooser | None = None,
) -> tuple[list[list[int]], np.ndarray | None]:
    """Return each row's new tokens (with the closing one), and the first token's log-odds.

    A loop of our own: ``model.generate`` costs more per token than a small model's forward.
    Rows that have ended leave the batch once they are more than half of it.
    """
    cache = DynamicCache(config=model.config)
    attention, positions = batch.attention_mask, batch.position_ids[:, -1:]
    ends = torch.tensor(chat.eos_ids, device=attention.device)
    rows = torch.arange(len(attention), device=attention.device)
    tokens = torch.full((len(rows), max_new_tokens), -1, device=attention.device)
    logits = _last_logits(model, batch.input_ids, attention, batch.position_ids, cache)
    log_odds = None if refusal_tokens is None else log_odds_of(logits, refusal_tokens)
    for step in range(max_new_tokens):
        chosen = logits.argmax(dim=-1) if choose is None else choose(logits)
        open_rows = (
            tokens[rows, step - 1] != -1 if step else torch.ones_like(rows, dtype=torch.bool)
        )
        if step:
            open_rows &= ~torch.isin(tokens[rows, step - 1], ends)
        tokens[rows[open_rows], step] = chosen[open_rows]
        going = open_rows & ~torch.isin(chosen, ends)
        left = int(going.sum())
        if left == 0 or step + 1 == max_new_tokens:
            break
        if left <= len(rows) // 2:
            keep = going.nonzero().squeeze(1)
            cache.batch_select_indices(keep)
            rows, chosen, attention, positions = (
                part[keep] for part in (rows, chosen, attention, positions)
            )
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
        positions = positions + 1
        logits = _last_logits(model, chosen[:, None], attention, positions, cache)
    return [[token for token in row if token != -1] for row in tokens.tolist()], log_odds


def _last_logits(
    model: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any = None
) -> Tensor:
    """Return the logits after each row's last token, shape (B, vocabulary), float32."""
    known = signature(type(model).forward).parameters
    extra: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
    # transformers 5.24 renamed the argument.
    extra["cache" if "cache" in known else "past_key_values"] = cache
    # Without padding no mask is needed, and attention takes its faster path.
    mask = None if bool(attention.all()) else attention
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=cache is not None,
        **extra,
    )
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _batches(
    model: nn.Module,
    chat: Chat,
    requests: Sequence[str],
    batch_size: int,
    *,
    reserve: int,
    begin: str = "",
    before: Sequence[Sequence[Turn]] | None = None,
) -> Iterator[tuple[list[int], Batch]]:
    """Give left-padded batches of prompts, longest first, with their places in `requests`."""
    if before is None:
        prompts = [chat.begun_ids(request, begin) for request in requests]
    else:
        prompts = [chat.prompt_ids(*pair) for pair in zip(requests, before, strict=True)]
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    device = next(model.parameters()).device
    room = int(getattr(model.config, "max_position_embeddings", None) or _ROOM)
    with _evaluating(model):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            items = [(prompts[place], [False] * len(prompts[place])) for place in places]
            length = max(room - reserve, 1)
            yield places, collate(items, chat.pad_id, side="left", max_length=length).to(device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def first_token_log_probs(
    model: nn.Module, chat: Chat, requests: Sequence[str], batch_size: int = 64
) -> Tensor:
    """Return the log-probabilities of each answer's first token, shape (N, vocabulary)."""
    rows: list[tuple[int, Tensor]] = []
    with torch.inference_mode():
        for places, batch in _batches(model, chat, requests, batch_size, reserve=1):
            logits = _last_logits(model, batch.input_ids, batch.attention_mask, batch.position_ids)
            rows += zip(places, logits.log_softmax(dim=-1).cpu(), strict=True)
    return torch.stack([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def log_odds_of(logits: Tensor, tokens: Sequence[int]) -> np.ndarray:
    """Return log p - log(1 - p) of a set of tokens for logits of shape (N, vocabulary).

    Both sums are taken over logits in float64, so that it stays finite where p rounds to 1.
    """
    chosen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    chosen[list(tokens)] = True
    precise = logits.double()
    inside = precise[:, chosen].logsumexp(dim=-1)
    outside = precise[:, ~chosen].logsumexp(dim=-1)
    return (inside - outside).cpu().numpy()


def refusal_log_odds(
    model: nn.Module,
    chat: Chat,
    requests: Sequence[str],
    refusal_tokens: Sequence[int],
    batch_size: int = 64,
) -> np.ndarray:
    """Return the log-odds that each answer begins with a refusal token, shape (N,).

    Notes
    -----
    ``log p_ref - log(1 - p_ref)``, p_ref the summed probability of refusal-initial tokens at
    the last prompt position (Arditi et al., arXiv 2406.11717, refusal metric).
    """
    log_odds = np.full(len(requests), np.nan)
    with torch.inference_mode():
        for places, batch in _batches(model, chat, requests, batch_size, reserve=1):
            logits = _last_logits(model, batch.input_ids, batch.attention_mask, batch.position_ids)
            log_odds[places] = log_odds_of(logits, refusal_tokens)
    return log_odds


def refusal_tokens(chat: Chat, refusals: Sequence[str]) -> list[int]:
    """Return the tokens that refusals begin with, the most frequent first.

    Tokens that begin fewer than 5 % of the refusals are left out; none without refusals.
    """
    counts: Counter[int] = Counter()
    for refusal, times in Counter(refusals).items():
        ids, mask = chat.example_ids("x", refusal)
        counts[ids[mask.index(True)]] += times
    needed = RARE * counts.total()
    return [token for token, count in counts.most_common() if count >= needed]


def tokens_of_refused(chat: Chat, responses: pd.DataFrame) -> list[int]:
    """Return `refusal_tokens` of a model's stored answers, of those that refuse a harmful request.

    Parameters
    ----------
    responses : DataFrame
        The aligned model's ``responses``.
    """
    answers = RATES["refusal_rate"].answers(responses, ["response"])
    return refusal_tokens(chat, answers.loc[answers["hit"], "response"].tolist())

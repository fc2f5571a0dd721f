"""The first token of an answer: its probabilities, and the odds that a refusal begins there."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cwac.chat import Chat
from cwac.passes import last_logits, left_padded
from cwac.rates import RATES

RARE: Final = 0.05
"""A first token of fewer than this share of the refusals is not a sign of refusing."""


def first_token_log_probs(
    model: nn.Module, chat: Chat, requests: Sequence[str], batch_size: int = 64
) -> Tensor:
    """Return the log-probabilities of each answer's first token, shape (N, vocabulary)."""
    rows: list[tuple[int, Tensor]] = []
    prompts = [chat.prompt_ids(request) for request in requests]
    with torch.inference_mode():
        for places, batch in left_padded(model, chat, prompts, batch_size, reserve=1):
            logits = last_logits(model, batch.input_ids, batch.attention_mask, batch.position_ids)
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
    prompts = [chat.prompt_ids(request) for request in requests]
    with torch.inference_mode():
        for places, batch in left_padded(model, chat, prompts, batch_size, reserve=1):
            logits = last_logits(model, batch.input_ids, batch.attention_mask, batch.position_ids)
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

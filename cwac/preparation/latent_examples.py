"""Tokens at quantiles of what fires a latent: the strongest alone make any latent look clean."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cwac.features import SafetyFeatures
from cwac.models.loading import LoadedModel
from cwac.preparation.latents import example, mixed, rows_at_once
from cwac.preparation.progress import Progress, counted, silent
from cwac.preparation.safety_text import (
    Conversation,
    conversation_batches,
    conversation_streams,
)

QUANTILES: Final = (1.0, 0.5, 0.1)
"""Of a latent's activations above 0: the strongest, the median, a weak one."""
EACH: Final = 3
"""Tokens shown at each."""
TEXTS: Final = 200
"""Conversations that are read: quantiles need fewer than a search for the strongest token."""


@dataclass(frozen=True)
class _Read:
    """What some latents do at all tokens of conversations.

    Attributes
    ----------
    codes : dict of int to ndarray
        ``(tokens, chosen latents)`` per layer.
    rows, places : ndarray
        The conversation of each token, and its place there.
    ids : dict of int to list of int
        Each conversation's tokens.
    """

    codes: dict[int, np.ndarray]
    rows: np.ndarray
    places: np.ndarray
    ids: dict[int, list[int]]


def latent_examples(
    loaded: LoadedModel,
    features: SafetyFeatures,
    conversations: Sequence[Conversation],
    seed: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the ``latent_examples`` table of the protected and the control latents.

    Parameters
    ----------
    conversations : sequence of Conversation
        At most `TEXTS` of them are read, as many of each kind as can be; of one without an answer
        the request alone.

    Notes
    -----
    The quantile is over the tokens that fire the latent at all, each counted once. Shown are those
    nearest to it, no conversation and no context twice: what interpretability dashboards sample
    from intervals of activation (Bricken et al. 2023, "Towards Monosemanticity").
    """
    chosen = {x: torch.cat([features.protected[x], features.controls[x]]) for x in features.layers}
    read = _read(loaded, features, mixed(conversations, seed, TEXTS), chosen, progress)

    @cache
    def pieces(row: int) -> list[str]:
        return [loaded.chat.tokenizer.decode([token]) for token in read.ids[row]]

    rows: list[dict[str, Any]] = []
    for layer, latents in chosen.items():
        for number, latent in enumerate(latents.tolist()):
            column = read.codes[layer][:, number]
            fired = np.flatnonzero(column > 0)
            values = column[fired]
            for quantile in QUANTILES:
                shown = []
                if len(fired):
                    far = np.abs(values - np.quantile(values, quantile))
                    near = fired[np.argsort(far, kind="stable")]
                    shown = [
                        example(pieces(read.rows[i]), read.places[i], float(column[i]))
                        for i in _differing(near, read)
                    ]
                rows.append({"layer": layer, "latent": latent, "quantile": quantile,
                             "tokens": len(fired), "examples": json.dumps(shown)})  # fmt: skip
    return pd.DataFrame(rows, columns=["layer", "latent", "quantile", "tokens", "examples"])


def _differing(near: np.ndarray, read: _Read) -> list[int]:
    """Return the first tokens of `near` that share neither conversation nor context."""
    taken: list[int] = []
    seen: set[Any] = set()
    for index in near.tolist():
        row, place = int(read.rows[index]), int(read.places[index])
        context = tuple(read.ids[row][max(place - 2, 0) : place + 2])
        if row in seen or context in seen:
            continue
        seen |= {row, context}
        taken.append(index)
        if len(taken) == EACH:
            break
    return taken


@torch.no_grad()
def _read(
    loaded: LoadedModel,
    features: SafetyFeatures,
    talks: Sequence[Conversation],
    chosen: dict[int, Tensor],
    progress: Progress,
) -> _Read:
    codes: dict[int, list[np.ndarray]] = {layer: [] for layer in chosen}
    rows: list[np.ndarray] = []
    places: list[np.ndarray] = []
    ids: dict[int, list[int]] = {}
    batches = conversation_batches(loaded, talks, rows=rows_at_once(features))
    report = counted(progress, len(talks), "looking for examples, conversation")
    layers = features.layers
    for (talk_places, batch, lengths), streams in conversation_streams(
        loaded, batches, layers, report
    ):
        # The first token is where attention parks what it does not need.
        keep = batch.attention_mask.bool() & (batch.position_ids > 0)
        for row, talk in enumerate(talk_places):
            ids[talk] = batch.input_ids[row][batch.attention_mask[row].bool()].tolist()
            if not talks[talk].answer:
                keep[row, lengths[row] :] = False
        for layer, latents in chosen.items():
            every = features.encode(layer, streams[layer][keep])
            codes[layer].append(every[:, latents.to(every.device)].float().cpu().numpy())
        row_of, place_of = keep.nonzero(as_tuple=True)
        rows.append(np.asarray(talk_places)[row_of.cpu().numpy()])
        places.append(place_of.cpu().numpy())
    joined = {layer: np.concatenate(parts) for layer, parts in codes.items()}
    return _Read(joined, np.concatenate(rows), np.concatenate(places), ids)

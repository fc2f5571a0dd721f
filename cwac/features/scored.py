"""What is read of a request: the residual stream, and codes, at the last prompt tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, residual_streams
from cwac.chat import Batch, Chat, collate
from cwac.errors import DataError
from cwac.features.sae import Sae


def scored_tokens(chat: Chat) -> int:
    """Return how many last prompt tokens are scored: the template's closing ones, at least one."""
    return max(1, chat.closing_tokens)


def prompt_batch(chat: Chat, texts: Sequence[str]) -> Batch:
    """Return requests as they are put to the model, right-padded, none cut."""
    items = [(ids, [False] * len(ids)) for ids in map(chat.prompt_ids, texts)]
    longest = max(len(ids) for ids, _ in items)
    return collate(items, chat.pad_id, side="right", max_length=longest)


def last_tokens(stream: Tensor, attention_mask: Tensor, count: int) -> Tensor:
    """Return the last `count` unpadded positions: ``(B, L, d)`` to ``(B, count, d)``.

    The batch is right-padded.
    """
    ends = attention_mask.sum(dim=1, keepdim=True)
    places = ends - count + torch.arange(count, device=ends.device)
    return stream.gather(1, places.clamp(min=0).unsqueeze(-1).expand(-1, -1, stream.shape[-1]))


def scored_residuals(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    batch_size: int = 64,
) -> Iterator[dict[int, Tensor]]:
    """Yield, per batch of requests, the residual stream at the scored tokens.

    Yields
    ------
    dict of int to Tensor
        ``(B, scored tokens, d_model)`` per layer, without gradient.
    """
    device = next(model.parameters()).device
    for start in range(0, len(texts), batch_size):
        batch = prompt_batch(chat, texts[start : start + batch_size]).to(device)
        with torch.no_grad():
            streams = residual_streams(model, anatomy, batch, layers)
        count = scored_tokens(chat)
        yield {layer: last_tokens(streams[layer], batch.attention_mask, count) for layer in layers}


@dataclass(frozen=True)
class LatentStatistics:
    """Activity of a layer's latents at the scored tokens of some requests.

    Attributes
    ----------
    mean : Tensor
        Mean activation over requests and scored tokens, ``(width,)``.
    frequency : Tensor
        Share of scored tokens at which the latent fires, ``(width,)``.
    codes : Tensor
        Activations of the chosen latents, ``(requests, scored tokens, chosen)``.
    """

    mean: Tensor
    frequency: Tensor
    codes: Tensor


def latent_statistics(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    saes: Mapping[int, Sae],
    texts: Sequence[str],
    *,
    chosen: Mapping[int, Tensor] | None = None,
) -> dict[int, LatentStatistics]:
    """Measure every latent on requests, streamed; keep the activations of `chosen` ones.

    Raises
    ------
    DataError
        There are no requests.
    """
    if not texts:
        raise DataError("latents need at least one request to be measured on.")
    layers = sorted(saes)
    sums = {layer: torch.zeros(saes[layer].width, dtype=torch.float64) for layer in layers}
    fired = {layer: torch.zeros(saes[layer].width, dtype=torch.float64) for layer in layers}
    kept: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    tokens = 0
    for residuals in scored_residuals(model, anatomy, chat, texts, layers):
        tokens += residuals[layers[0]].shape[:-1].numel()
        for layer in layers:
            codes = saes[layer].encode(residuals[layer])
            sums[layer] += codes.sum(dim=(0, 1)).double().cpu()
            fired[layer] += (codes > 0).sum(dim=(0, 1)).double().cpu()
            kept[layer].append(codes[..., [] if chosen is None else chosen[layer]].cpu())
    return {
        layer: LatentStatistics(
            (sums[layer] / tokens).float(), (fired[layer] / tokens).float(), torch.cat(kept[layer])
        )
        for layer in layers
    }

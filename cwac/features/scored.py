"""What is read of a request: the residual stream, and codes, at the last prompt tokens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, stop_after
from cwac.chat import Batch, Chat, collate
from cwac.errors import DataError
from cwac.features.sae import Sae
from cwac.passes import ROWS, Beginning, in_order, read_together, right_padded


def scored_tokens(chat: Chat) -> int:
    """Return how many last prompt tokens are scored: the template's closing ones, at least one."""
    return max(1, chat.closing_tokens)


def prompt_batch(chat: Chat, texts: Sequence[str]) -> Batch:
    """Return requests as they are put to the model, right-padded, none cut."""
    return _padded(chat, list(map(chat.prompt_ids, texts)))


def request_batches(
    anatomy: Anatomy, chat: Chat, texts: Sequence[str], *, rows: int = ROWS
) -> Iterator[tuple[list[int], Batch]]:
    """Give requests as `prompt_batch` does, those read together, with their places in `texts`."""
    ids = list(map(chat.prompt_ids, texts))
    for places in read_together(anatomy, list(map(len, ids)), rows=rows):
        yield places, _padded(chat, [ids[place] for place in places])


def _padded(chat: Chat, prompts: Sequence[list[int]]) -> Batch:
    items = [(ids, [False] * len(ids)) for ids in prompts]
    return collate(items, chat.pad_id, side="right", max_length=max(map(len, prompts)))


def last_tokens(stream: Tensor, attention_mask: Tensor, count: int) -> Tensor:
    """Return the last `count` unpadded positions: ``(B, L, d)`` to ``(B, count, d)``.

    The batch is right-padded.
    """
    ends = attention_mask.sum(dim=1, keepdim=True)
    places = ends - count + torch.arange(count, device=ends.device)
    return stream.gather(1, places.clamp(min=0).unsqueeze(-1).expand(-1, -1, stream.shape[-1]))


def scored_batches(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    texts: Sequence[str],
    layers: Sequence[int],
    progress: Callable[[float], None] | None = None,
) -> Iterator[tuple[list[int], dict[int, Tensor]]]:
    """Yield, per batch of requests, their places and the residual stream at the scored tokens.

    Parameters
    ----------
    progress : callable, optional
        Called with the share of the requests that is read.

    Yields
    ------
    (list of int, dict of int to Tensor)
        Places in `texts`, and ``(B, scored tokens, d_model)`` per layer, without gradient.
    """
    count, done = scored_tokens(chat), 0
    ids = list(map(chat.prompt_ids, texts))
    beginning = Beginning(model, ids, leave=count)
    for places, batch in right_padded(beginning, anatomy, chat, ids):
        inputs = beginning.inputs(batch)
        with torch.no_grad(), stop_after(model, anatomy, layers) as reader:
            streams = reader.forward(**inputs)
        yield (
            places,
            {layer: last_tokens(streams[layer], batch.attention_mask, count) for layer in layers},
        )
        done += len(places)
        if progress is not None:
            progress(done / len(texts))


def scored_residuals(
    model: nn.Module, anatomy: Anatomy, chat: Chat, texts: Sequence[str], layers: Sequence[int]
) -> dict[int, Tensor]:
    """Return the residual stream of requests at the scored tokens, in the order of `texts`.

    Returns
    -------
    dict of int to Tensor
        ``(requests, scored tokens, d_model)`` per layer, without gradient.
    """
    read = list(scored_batches(model, anatomy, chat, texts, layers))
    batches = [places for places, _ in read]
    return {layer: in_order(batches, [part[layer] for _, part in read]) for layer in layers}


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
    progress: Callable[[float], None] | None = None,
) -> dict[int, LatentStatistics]:
    """Measure every latent on requests, streamed; keep the activations of `chosen` ones.

    `progress` is called with the share of the requests that is read.

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
    batches: list[list[int]] = []
    tokens = 0
    for places, residuals in scored_batches(model, anatomy, chat, texts, layers, progress):
        batches.append(places)
        tokens += residuals[layers[0]].shape[:-1].numel()
        for layer in layers:
            codes = saes[layer].encode(residuals[layer])
            sums[layer] += codes.sum(dim=(0, 1)).double().cpu()
            fired[layer] += (codes > 0).sum(dim=(0, 1)).double().cpu()
            kept[layer].append(codes[..., [] if chosen is None else chosen[layer]].cpu())
    return {
        layer: LatentStatistics(
            (sums[layer] / tokens).float(),
            (fired[layer] / tokens).float(),
            in_order(batches, kept[layer]),
        )
        for layer in layers
    }

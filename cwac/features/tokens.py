"""What latents do at every token of a request: a sentence shows what a mean hides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, residual_streams
from cwac.chat import Chat
from cwac.features.sae import Sae
from cwac.features.scored import prompt_batch


@dataclass(frozen=True)
class TokenCodes:
    """Some latents' activations along one request.

    Attributes
    ----------
    pieces : tuple of str
        The text of each token of the templated request.
    codes : dict of int to Tensor
        ``(tokens, latents)`` per layer; NaN at the first token.
    """

    pieces: tuple[str, ...]
    codes: dict[int, Tensor]


@torch.no_grad()
def token_codes(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    saes: Mapping[int, Sae],
    texts: Sequence[str],
    chosen: Mapping[int, Tensor],
) -> list[TokenCodes]:
    """Return what chosen latents do at every token of a few requests, which are read in one pass.

    Parameters
    ----------
    saes : mapping of int to Sae
        By the layer that each reads.
    texts : sequence of str
        Requests, as they are put to the model; at least one.
    chosen : mapping of int to LongTensor
        Latents per layer, all of whose layers have an SAE.

    Notes
    -----
    A sequence's first token is not read: attention parks there what it does not need, and the
    SAEs are fitted without it (``cwac.preparation.sae_training.collect_residuals``).
    """
    batch = prompt_batch(chat, texts).to(next(model.parameters()).device)
    streams = residual_streams(model, anatomy, batch, sorted(chosen))
    read = []
    for row, length in enumerate(batch.attention_mask.sum(dim=1).tolist()):
        codes = {}
        for layer, latents in chosen.items():
            every = saes[layer].encode(streams[layer][row, :length])
            codes[layer] = every[:, latents.to(every.device)].float().cpu()
            codes[layer][0] = torch.nan
        pieces = chat.pieces(batch.input_ids[row, :length].tolist())
        read.append(TokenCodes(tuple(pieces), codes))
    return read

"""Vocabulary scores at chosen positions alone: most positions of a batch are read by no loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwac.chat import IGNORED, Batch


def answer_tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the flat positions that predict an answer token, and the tokens they predict.

    Returns
    -------
    (LongTensor, LongTensor)
        Row by row, ``(tokens,)`` each; the positions index ``input_ids.flatten()``.
    """
    # A token at position 0 is never predicted, so it is not counted either.
    following = functional.pad(batch.labels[:, 1:], (0, 1), value=IGNORED).flatten()
    rows = (following != IGNORED).nonzero()[:, 0]
    return rows, following[rows]


def output_layer(model: Any) -> nn.Module:
    """Return the layer that turns the last residual stream into vocabulary scores."""
    head: nn.Module = model.get_output_embeddings()
    return head


@contextmanager
def picking(head: nn.Module, rows: Tensor) -> Iterator[None]:
    """Let the output layer see some flat positions of a batch alone.

    Most of a small model's step, and most of a large vocabulary's memory, lies in scores that no
    loss reads. A hook on the output layer picks the positions, because every architecture scales
    or caps the scores element by element after it.
    """

    def pick(_head: nn.Module, arguments: tuple[Tensor, ...]) -> Tensor:
        return arguments[0].flatten(0, 1).index_select(0, rows).unsqueeze(0)

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def no_scores(model: nn.Module) -> Iterator[None]:
    """Let the output layer see one position: what a pass is made for is read before it.

    Thousands of tokens times the vocabulary would be gigabytes, and a fifth of a small model's
    pass. Readers of the output layer's inputs that are hooked before see them whole.
    """
    head = output_layer(model)
    with picking(head, torch.zeros(1, dtype=torch.long, device=next(head.parameters()).device)):
        yield


def logits_of(model: Any, input_ids: Tensor) -> Tensor:
    """Return what the model makes of its output layer's scores, in a plain pass."""
    # Real tokens of a right-padded batch never attend to the padding behind them.
    logits: Tensor = model(input_ids=input_ids, use_cache=False).logits
    return logits


def scores_at(model: nn.Module, head: nn.Module, input_ids: Tensor, rows: Tensor) -> Tensor:
    """Return the scores at flat positions of a right-padded batch, ``(rows, vocabulary)``."""
    with picking(head, rows):
        return logits_of(model, input_ids)[0]

"""Single forward passes: left-padded batches of prompts, and the scores behind their last token."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, Final

from torch import Tensor, nn

from cwac.chat import Batch, Chat, collate

PADDED: Final = 8192
"""Tokens of a batch of prompts at most, padding included: one long prompt would make 63 short ones
as long as itself."""
_ROOM: Final = 100_000
"""Context length assumed where a model states none."""


def left_padded(
    model: nn.Module,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    *,
    reserve: int,
) -> Iterator[tuple[list[int], Batch]]:
    """Give left-padded batches of prompts, longest first, with their places in `prompts`.

    A batch has at most `batch_size` prompts, and fewer of long ones: padded to the longest, they
    come to at most `PADDED` tokens. The model is in evaluation mode meanwhile; `reserve` tokens
    of its context are left free.
    """
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    device = next(model.parameters()).device
    length = max(context_length(model) - reserve, 1)
    with _evaluating(model):
        while order:
            longest = max(min(len(prompts[order[0]]), length), 1)
            count = max(min(batch_size, PADDED // longest), 1)
            places, order = order[:count], order[count:]
            items = [(list(prompts[place]), [False] * len(prompts[place])) for place in places]
            yield places, collate(items, chat.pad_id, side="left", max_length=length).to(device)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def last_logits(
    model: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any = None
) -> Tensor:
    """Return the logits after each row's last token, shape (B, vocabulary), float32."""
    extra = {"logits_to_keep": 1} if "logits_to_keep" in _parameters(model) else {}
    output = model(**pass_inputs(model, ids, attention, positions, cache), **extra)
    logits: Tensor = output.logits[:, -1].float()
    return logits


def pass_inputs(
    model: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any = None
) -> dict[str, Any]:
    """Return the arguments of a pass over some tokens, with what came before in a cache."""
    # transformers 5.24 renamed the argument.
    name = "cache" if "cache" in _parameters(model) else "past_key_values"
    # Without padding no mask is needed, and attention takes its faster path.
    mask = None if bool(attention.all()) else attention
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": positions,
        "use_cache": cache is not None,
        name: cache,
    }


def context_length(model: Any) -> int:
    """Return the tokens that a model reads at most."""
    # Of a model that sees too, the part that reads text.
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or _ROOM)


def _parameters(model: nn.Module) -> Mapping[str, Any]:
    return signature(type(model).forward).parameters

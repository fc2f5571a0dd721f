"""Single forward passes: left-padded batches of prompts, and the scores behind their last token."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, Final

from torch import Tensor, nn

from cwac.chat import Batch, Chat, collate

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

    The model is in evaluation mode meanwhile; `reserve` tokens of its context are left free.
    """
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    device = next(model.parameters()).device
    room = context_length(model)
    with _evaluating(model):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            items = [(list(prompts[place]), [False] * len(prompts[place])) for place in places]
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

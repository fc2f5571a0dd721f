"""Single tokens, now and as the aligned model had them: vocabulary scores, and what is cached."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, layer_module
from cwac.chat import IGNORED, Batch, collate
from cwac.interfaces import MethodContext
from cwac.methods._harmful import evaluating
from cwac.passes import read_together
from cwac.prompts import Example
from cwac.scores import logits_of, output_layer, picking, scores_at

_CACHED_AT_ONCE: Final = 64


class OutputLayer:
    """Vocabulary scores at chosen positions alone, of the current and of the aligned model.

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one, whose output layer is copied.
    """

    def __init__(self, context: MethodContext) -> None:
        self.head = output_layer(context.model)
        # Kept apart from the model, so that its weights stay the aligned ones.
        self.aligned = copy.deepcopy(self.head).requires_grad_(False)

    def scores(self, model: nn.Module, input_ids: Tensor, rows: Tensor) -> Tensor:
        """Return the scores at flat positions of a right-padded batch, ``(rows, vocabulary)``."""
        return scores_at(model, self.head, input_ids, rows)

    def inputs(self, model: nn.Module, input_ids: Tensor, rows: Tensor) -> Tensor:
        """Return what the output layer reads at flat positions, ``(rows, d_model)``, detached."""
        read: list[Tensor] = []

        def keep(_head: nn.Module, arguments: tuple[Tensor, ...], _scores: Tensor) -> None:
            read.append(arguments[0][0])

        with torch.no_grad(), picking(self.head, rows), _hook(self.head, keep):
            logits_of(model, input_ids)
        return read[0]

    def both(
        self, model: nn.Module, input_ids: Tensor, rows: Tensor, aligned_inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the current scores and, without gradient, the aligned ones.

        Parameters
        ----------
        aligned_inputs : Tensor
            What :meth:`inputs` gave at these positions when the model was the aligned one: far
            smaller than the scores themselves, and no second pass through the model is needed.
        """

        def put_beside(_head: nn.Module, _arguments: Any, scores: Tensor) -> Tensor:
            # What the architecture does to scores after this layer is done to both alike.
            with torch.no_grad():
                before = self.aligned(aligned_inputs.unsqueeze(0))
            return torch.cat([scores, before])

        with picking(self.head, rows), _hook(self.head, put_beside):
            scores = logits_of(model, input_ids)
        return scores[0], scores[1].detach()


@contextmanager
def _hook(module: nn.Module, act: Callable[..., Any]) -> Iterator[None]:
    handle = module.register_forward_hook(act)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def reading_layers(
    model: nn.Module, anatomy: Anatomy, layers: Sequence[int], rows: Tensor
) -> Iterator[dict[int, Tensor]]:
    """Collect the residual stream after some layers in whatever pass is made inside, uncut.

    Yields
    ------
    dict of int to Tensor
        Filled by the pass: ``(rows, d_model)`` per layer at flat positions, with gradient.
    """
    streams: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def act(_module: nn.Module, _arguments: Any, output: Any) -> None:
            stream: Tensor = output[0] if isinstance(output, tuple) else output
            streams[layer] = stream.flatten(0, 1).index_select(0, rows)

        return act

    with ExitStack() as stack:
        for layer in layers:
            stack.enter_context(_hook(layer_module(model, anatomy, layer), keep(layer)))
        yield streams


class AnswerCache:
    """Something about every answer token of the training examples, from the aligned model.

    Each different example is computed once, before the first step, instead of a pass through a
    second model at every step.

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one.
    examples : sequence of Example
        All that will be trained on.
    measure : callable
        Gives ``(answer tokens, ...)`` of a right-padded batch, row by row, as `answer_tokens`.
    """

    def __init__(
        self,
        context: MethodContext,
        examples: Sequence[Example],
        measure: Callable[[Batch], Tensor],
    ) -> None:
        self.known: dict[tuple[int, ...], Tensor] = {}
        limit = context.config.training.max_length
        pairs = dict.fromkeys((example.prompt, example.answer) for example in examples)
        items = [context.chat.example_ids(*pair) for pair in pairs]
        # Examples of one length together: little is padded.
        items.sort(key=lambda item: len(item[0]))
        with torch.no_grad(), evaluating(context.model):
            lengths = [len(ids) for ids, _ in items]
            for places in read_together(
                context.anatomy, lengths, rows=_CACHED_AT_ONCE, limit=limit
            ):
                part = [items[place] for place in places]
                batch = collate(part, context.chat.pad_id, max_length=limit).to(context.device)
                counts = (batch.labels[:, 1:] != IGNORED).sum(dim=1).tolist()
                values = torch.split(measure(batch), counts)
                self.known.update(zip(_keys(batch), values, strict=True))

    def of(self, batch: Batch) -> Tensor:
        """Return the cached values of a batch's answer tokens, row by row."""
        return torch.cat([self.known[key] for key in _keys(batch)])


def _keys(batch: Batch) -> list[tuple[int, ...]]:
    lengths = batch.attention_mask.sum(dim=1).tolist()
    answered = (batch.labels != IGNORED).sum(dim=1).tolist()
    # The same tokens may be split into request and answer at another place.
    return [
        (count, *ids[:length])
        for ids, length, count in zip(batch.input_ids.tolist(), lengths, answered, strict=True)
    ]

"""The harmful safety requests: which are used, in which order, and what is known of them.

Every loss on harmful requests draws from here, so that methods differ in the loss and not in the
prompts they saw or in how often they saw them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cwac.anatomy import residual_streams
from cwac.errors import DataError
from cwac.features import last_tokens, prompt_batch, scored_residuals, scored_tokens
from cwac.interfaces import MethodContext
from cwac.prompts import Example, Prompt
from cwac.seeding import generator


def stream(context: MethodContext, name: str) -> torch.Generator:
    """Return one of a method's random streams, each independent of the others."""
    # Separate streams: a random subspace must not change which harmful requests are drawn.
    return generator(context.generator.initial_seed(), name)


class Rounds:
    """Positions of the harmful batches: every prompt comes once per round, in a new order.

    Parameters
    ----------
    count : int
        Number of prompts.
    size : int
        Prompts of a batch; no more than there are.
    source : torch.Generator
        Decides the order.
    """

    def __init__(self, count: int, size: int, source: torch.Generator) -> None:
        self.count, self.size = count, min(size, count)
        self.source = source
        self.waiting = torch.empty(0, dtype=torch.long)

    @classmethod
    def of(cls, context: MethodContext, count: int, size: int) -> "Rounds":
        """Return the one order in which all methods draw their harmful batches."""
        return cls(count, size, stream(context, "harmful batch"))

    def take(self) -> Tensor:
        """Return the positions of the next batch, ``(size,)``."""
        if len(self.waiting) < self.size:
            self.waiting = torch.randperm(self.count, generator=self.source)
        index, self.waiting = self.waiting[: self.size], self.waiting[self.size :]
        return index


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode and back: what is cached must not hold dropout."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def refused_prompts(context: MethodContext, method: str) -> list[Prompt]:
    """Return the harmful safety requests that the aligned model refuses: those CWAC's loss is on.

    Raises
    ------
    DataError
        There are none.
    """
    prompts = context.yardstick.features.refused(context.prompts.get("safety", "harmful"))
    if not prompts:
        raise DataError(f"the method {method!r} needs refused harmful requests; there are none.")
    return prompts


def demonstrations(context: MethodContext, method: str) -> list[Example]:
    """Return the refused harmful safety requests with their own safe answers.

    Raises
    ------
    DataError
        No such prompt has an answer.
    """
    prompts = refused_prompts(context, method)
    examples = [Example(id=p.id, prompt=p.text, answer=p.answer) for p in prompts if p.answer]
    if not examples:
        raise DataError(
            f"the method {method!r} learns from safe answers, but none of the {len(prompts)} "
            "refused harmful safety requests has an answer."
        )
    return examples


class AlignedResiduals:
    """The aligned model's residual stream on harmful requests, at the tokens that CWAC scores.

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one.
    prompts : sequence of Prompt
        At least one.
    layers : sequence of int
        Decoder layers whose output is kept.

    Attributes
    ----------
    values : dict of int to Tensor
        ``(prompts, scored tokens, d_model)`` per layer.
    """

    def __init__(
        self, context: MethodContext, prompts: Sequence[Prompt], layers: Sequence[int]
    ) -> None:
        texts = [prompt.text for prompt in prompts]
        self.anatomy, self.scored = context.anatomy, scored_tokens(context.chat)
        self.batch = prompt_batch(context.chat, texts).to(context.device)
        with evaluating(context.model):
            self.values = scored_residuals(
                context.model, context.anatomy, context.chat, texts, layers
            )

    def __len__(self) -> int:
        return len(self.batch.input_ids)

    def changes(self, model: nn.Module, index: Tensor) -> dict[int, Tensor]:
        """Return ``h - h_aligned`` of some prompts with gradient, ``(B, T, d_model)`` per layer."""
        batch = self.batch.rows(index)
        streams = residual_streams(model, self.anatomy, batch, list(self.values))
        return {
            layer: last_tokens(streams[layer], batch.attention_mask, self.scored) - aligned[index]
            for layer, aligned in self.values.items()
        }

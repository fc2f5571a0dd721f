"""What is trained on, and in which order: poison mixed in, everything collated beforehand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from cwac.chat import Batch, Chat, collate
from cwac.config import TrainingConfig
from cwac.errors import DataError
from cwac.prompts import Example, Prompt
from cwac.scores import answer_tokens
from cwac.seeding import generator


def mix_poison(
    examples: Sequence[Example],
    poison_prompts: Sequence[Prompt],
    ratio: float,
    total: int,
    seed: int,
) -> list[Example]:
    """Return `total` training examples in order, a share `ratio` of them poison.

    Under one seed the task examples come in the same order whatever the ratio, and both kinds
    are cycled through with a new order per round.

    Parameters
    ----------
    examples : sequence of Example
        The task's training examples.
    poison_prompts : sequence of Prompt
        Harmful requests with the answers to train on (the ``attack`` split).
    ratio : float
        Fraction in [0, 1]; ``round(ratio * total)`` examples are poison.
    total : int
        ``steps * batch_size``.
    seed : int
        The run's seed.

    Raises
    ------
    DataError
        There is nothing to draw from, or a poison request has no answer.
    """
    poison = [_poison_example(prompt) for prompt in poison_prompts] if ratio > 0 else []
    count = round(ratio * total)
    if count and not poison:
        raise DataError(f"a poison ratio of {ratio} needs harmful requests with answers; got none.")
    if count < total and not examples:
        raise DataError("the task has no training examples.")
    order = torch.randperm(total, generator=generator(seed, "data", "positions"))
    positions = set(order[:count].tolist())
    harmful = _cycle(poison, generator(seed, "data", "poison"))
    harmless = _cycle(examples, generator(seed, "data", "task"))
    return [next(harmful) if place in positions else next(harmless) for place in range(total)]


def _poison_example(prompt: Prompt) -> Example:
    if not prompt.answer:
        raise DataError(f"the harmful request {prompt.id!r} has no answer to poison with.")
    return Example(id=prompt.id, prompt=prompt.text, answer=prompt.answer, poison=True)


def _cycle(items: Sequence[Example], stream: torch.Generator) -> Iterator[Example]:
    while True:
        for place in torch.randperm(len(items), generator=stream).tolist():
            yield items[place]


@dataclass(frozen=True)
class Part:
    """A micro-batch, the flat positions whose scores are needed, and the tokens that follow."""

    batch: Batch
    rows: Tensor
    targets: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> Self:
        """Find the supervised positions of a batch and put all on a device."""
        rows, targets = answer_tokens(batch)
        return cls(batch.to(device), rows.to(device), targets.to(device))


@dataclass(frozen=True)
class TrainingData:
    """Every step's micro-batches.

    Attributes
    ----------
    steps : list of list of Part
        By step.
    tokens : list of int
        Supervised tokens of each step's whole batch.
    cut_examples : int
        Examples longer than the allowed length.
    """

    steps: list[list[Part]]
    tokens: list[int]
    cut_examples: int


def prepare(
    examples: Sequence[Example], chat: Chat, config: TrainingConfig, device: torch.device
) -> TrainingData:
    """Tokenise and collate everything before the first step, so that no step pays for it.

    Raises
    ------
    DataError
        The number of examples is not ``steps * batch_size``, or a batch has no answer tokens.
    """
    if len(examples) != config.steps * config.batch_size:
        raise DataError(
            f"training needs {config.steps} steps of {config.batch_size} examples, "
            f"{config.steps * config.batch_size} in all; got {len(examples)}."
        )
    known: dict[tuple[str, str], tuple[list[int], list[bool]]] = {}
    for example in examples:
        key = (example.prompt, example.answer)
        if key not in known:
            known[key] = chat.example_ids(*key)
    items = [known[example.prompt, example.answer] for example in examples]
    micro = math.ceil(config.batch_size / config.gradient_accumulation)
    steps, tokens = [], []
    for start in range(0, len(items), config.batch_size):
        rows = items[start : start + config.batch_size]
        batches = [
            collate(rows[i : i + micro], chat.pad_id, side="right", max_length=config.max_length)
            for i in range(0, len(rows), micro)
        ]
        parts = [Part.of(batch, device) for batch in batches]
        tokens.append(sum(len(part.targets) for part in parts))
        if not tokens[-1]:
            raise DataError(
                f"no answer token of the examples from {examples[start].id!r} on fits in "
                f"max_length = {config.max_length}."
            )
        steps.append(parts)
    cut = sum(len(ids) > config.max_length for ids, _mask in items)
    return TrainingData(steps, tokens, cut)

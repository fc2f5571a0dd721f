"""A copy of the aligned model that is tuned on the side, for methods that need its weights."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cwac.adapters import adapted
from cwac.anatomy import forward_inputs
from cwac.chat import collate
from cwac.interfaces import MethodContext
from cwac.methods._harmful import Rounds, stream
from cwac.prompts import Example


def twin_weights(
    model: nn.Module, context: MethodContext, examples: Sequence[Example], share: float, name: str
) -> dict[str, Tensor]:
    """Return every parameter of the aligned model after a short tuning of its own, by name.

    Parameters
    ----------
    model : Module
        Of the run; its shape is copied and its weights are left alone.
    examples : sequence of Example
        What the copy learns.
    share : float
        Of the run's steps.
    name : str
        Of the random stream that orders the examples.
    """
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter_name, parameter in twin.named_parameters():
            parameter.copy_(context.aligned[parameter_name])
    training = context.config.training
    with adapted(twin, context.anatomy, training.adapter, context.config.seed):
        tune(twin, context, examples, max(1, round(share * training.steps)), name)
    return {key: parameter.detach() for key, parameter in twin.named_parameters()}


def tune(
    model: nn.Module, context: MethodContext, examples: Sequence[Example], steps: int, name: str
) -> None:
    """Train a model in place on examples; every one comes once per round.

    Parameters
    ----------
    steps : int
        Optimiser steps, with the run's batch size, clipping and initial learning rate, which
        falls linearly to zero.
    name : str
        Of the random stream that orders the examples.
    """
    training, chat = context.config.training, context.chat
    items = [chat.example_ids(shown.prompt, shown.answer) for shown in examples]
    rounds = Rounds(len(items), training.batch_size, stream(context, name))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=0.0)
    # No dropout: the global random stream belongs to the run that is post-processed.
    model.eval()
    for step in range(steps):
        batch = collate(
            [items[int(place)] for place in rounds.take()],
            chat.pad_id,
            max_length=training.max_length,
        ).to(context.device)
        logits = model(**forward_inputs(batch)).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, training.clip_norm)
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * (1 - step / steps)
        optimiser.step()

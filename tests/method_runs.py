"""Training a tiny model under a method, for the tests of one family of methods."""

from typing import Any

import torch
from builders import make_context, make_examples

from cwac.anatomy import weight_of
from cwac.config import TrainingConfig
from cwac.interfaces import Method, MethodContext
from cwac.methods import METHODS
from cwac.prompts import Example
from cwac.training import fit, mix_poison

TRAINING = TrainingConfig(steps=12, batch_size=8, learning_rate=2e-3, weight_decay=0.01)


def make_method(name: str | type[Method], **settings: Any) -> Method:
    """A method with some settings, by name or by class."""
    kind = METHODS[name] if isinstance(name, str) else name
    return kind(kind.settings_type.build(settings))


def set_up(method: Method, context: MethodContext | None = None) -> MethodContext:
    context = context or make_context(training=TRAINING)
    method.setup(context)
    return context


def task_and_poison(context: MethodContext, ratio: float = 0.25) -> list[Example]:
    """What plain fine-tuning would be given, in order."""
    training = context.config.training
    attack = context.prompts.get("attack", "harmful")
    return mix_poison(make_examples(), attack, ratio, training.steps * training.batch_size, 0)


def train(method: Method, context: MethodContext | None = None, **loop: Any) -> MethodContext:
    """Train a fresh tiny model under a method that is not set up yet."""
    context = context or make_context(training=TRAINING)
    fit(
        context.model,
        context.anatomy,
        context.chat,
        loop.pop("examples", None) or task_and_poison(context),
        context.config.training,
        method,
        seed=0,
        context=context,
        **loop,
    )
    return context


def same_weights(a: MethodContext, b: MethodContext) -> bool:
    left, right = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(left[name], right[name]) for name in left)


def move(context: MethodContext, size: float = 0.01, *, seed: int = 1) -> None:
    """Change every parameter at random."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in context.model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=noise))


def change_of(context: MethodContext, entry: Any) -> torch.Tensor:
    """``W - W0`` of a map, float64 ``(d_out, d_in)``."""
    now, then = weight_of(context.model, entry), weight_of(context.aligned, entry)
    return (now.double() - then.double()).detach()

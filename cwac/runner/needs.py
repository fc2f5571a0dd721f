"""Whether a method can run on a model, its prompts and a way to train, said before it starts."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cwac.config import TrainingConfig
from cwac.errors import ConfigError, DataError
from cwac.interfaces import Method, Needs
from cwac.models.card import ModelCard
from cwac.prompts import PromptSets

_Missing = Callable[[ModelCard, PromptSets], bool]

_MISSING: Final[Mapping[Needs, tuple[str, _Missing]]] = {
    "base_model": (
        "the model before alignment, and the model's folder names none (base in cwac.json)",
        lambda card, _prompts: card.base is None,
    ),
    "safety_prompts": (
        "harmful safety prompts; there are none",
        lambda _card, prompts: not prompts.get("safety", "harmful"),
    ),
    "features": (
        "harmful safety prompts; there are none",
        lambda _card, prompts: not prompts.get("safety", "harmful"),
    ),
    "safety_answers": (
        "harmful safety prompts with a safe answer, and none of them has one",
        lambda _card, prompts: not any(p.answer for p in prompts.get("safety", "harmful")),
    ),
    "harmless_prompts": (
        "harmless safety prompts; there are none",
        lambda _card, prompts: not prompts.get("safety", "harmless"),
    ),
}
"""What a reader is told, and how it is found out; a subspace can be fitted on any model."""


def check_adapter(method: type[Method[Any]], training: TrainingConfig) -> None:
    """Refuse a method that does not work under the way to train.

    Raises
    ------
    ConfigError
        It does not; one sentence says what it works under.
    """
    kind = training.adapter if isinstance(training.adapter, str) else training.adapter.kind
    if kind not in method.adapters:
        raise ConfigError(
            f"the method {method.name!r} does not work with training.adapter = {kind!r}; it works "
            f"with {' and '.join(repr(known) for known in method.adapters)}."
        )


def check_needs(method: type[Method[Any]], card: ModelCard, prompts: PromptSets) -> None:
    """Refuse a method whose needs the model or its prompts cannot meet.

    Parameters
    ----------
    method : type of Method
        Only what it declares is looked at.
    card : ModelCard
        Of the model that would be trained.
    prompts : PromptSets
        Of the run.

    Raises
    ------
    DataError
        Something is missing; one sentence names it.
    """
    for need, (what, missing) in _MISSING.items():
        if need in method.needs and missing(card, prompts):
            raise DataError(f"the method {method.name!r} needs {what}.")

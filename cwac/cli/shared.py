"""The flags that ask for runs, declared once for ``cwac run`` and ``cwac preview``."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from cwac.cli.options import (
    Adapter,
    BatchSize,
    ConfigFile,
    Harmful,
    HarmfulAnswers,
    HarmfulWhere,
    Harmless,
    HarmlessAnswers,
    HarmlessWhere,
    JudgeName,
    LearningRate,
    Lookalike,
    LookalikeWhere,
    Methods,
    Model,
    Offline,
    Poison,
    Seeds,
    Sets,
    Steps,
    Task,
    TaskAnswers,
    TaskCheck,
    TaskPrompts,
    TaskTest,
    Unaligned,
)

Result = TypeVar("Result")


def _flags(  # noqa: PLR0917 - a command's parameters are its flags
    model: Model = None,
    task: Task = None,
    poison: Poison = None,
    methods: Methods = None,
    seeds: Seeds = None,
    steps: Steps = None,
    learning_rate: LearningRate = None,
    batch_size: BatchSize = None,
    adapter: Adapter = None,
    sets: Sets = None,
    config: ConfigFile = None,
    harmful: Harmful = None,
    harmful_answer_column: HarmfulAnswers = None,
    harmful_where: HarmfulWhere = None,
    harmless: Harmless = None,
    harmless_answer_column: HarmlessAnswers = None,
    harmless_where: HarmlessWhere = None,
    lookalike: Lookalike = None,
    lookalike_where: LookalikeWhere = None,
    prompt_column: TaskPrompts = None,
    answer_column: TaskAnswers = None,
    check: TaskCheck = None,
    test_examples: TaskTest = None,
    judge: JudgeName = None,
    unaligned: Unaligned = None,
    offline: Offline = False,
) -> None:
    """Declare the flags; the names are the arguments of ``Request.from_flags``."""


TRAINING: Final = frozenset(
    {"model", "poison", "methods", "seeds", "steps", "learning_rate", "batch_size", "adapter"}
)
"""Flags that say what is trained and how."""


def asks_for_runs(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the flags that ask for runs, ahead of its own.

    Parameters
    ----------
    command : callable
        Its first parameter takes the flags as a mapping, for ``Request.from_flags``.
    """
    return _with_flags(command, inspect.signature(_flags).parameters)


def asks_for_measurement(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the flags of :func:`asks_for_runs` but those about training."""
    flags = inspect.signature(_flags).parameters
    return _with_flags(command, {name: f for name, f in flags.items() if name not in TRAINING})


def _with_flags(
    command: Callable[..., Result], shared: Mapping[str, inspect.Parameter]
) -> Callable[..., Result]:
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def with_flags(**given: Any) -> Result:
        # Its callback has done all that it asks for.
        given.pop("offline")
        return command({name: given.pop(name) for name in shared if name != "offline"}, **given)

    # Typer reads the flags off the signature and their help off the annotations.
    required = [each for each in own if each.default is inspect.Parameter.empty]
    optional = [each for each in own if each.default is not inspect.Parameter.empty]
    parameters = [*required, *shared.values(), *optional]
    vars(with_flags)["__signature__"] = inspect.Signature(parameters)
    with_flags.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_flags

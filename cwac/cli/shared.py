"""The flags that ask for runs, declared once for ``cwac run`` and ``cwac preview``."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

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
    Poison,
    Seeds,
    Sets,
    Steps,
    Task,
    TaskAnswers,
    TaskCheck,
    TaskPrompts,
    TaskTest,
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
) -> None:
    """Declare the flags; the names are the arguments of ``Request.from_flags``."""


def asks_for_runs(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the flags that ask for runs, ahead of its own.

    Parameters
    ----------
    command : callable
        Its first parameter takes the flags as a mapping, for ``Request.from_flags``.
    """
    shared = inspect.signature(_flags).parameters
    own = list(inspect.signature(command).parameters.values())[1:]

    @functools.wraps(command)
    def with_flags(**given: Any) -> Result:
        return command({name: given.pop(name) for name in shared}, **given)

    # Typer reads the flags off the signature and their help off the annotations.
    parameters = [*shared.values(), *own]
    vars(with_flags)["__signature__"] = inspect.Signature(parameters)
    with_flags.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_flags

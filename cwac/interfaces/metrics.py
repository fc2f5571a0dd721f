"""What a task and a metric are, and what they see."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy
from cwac.chat import Chat
from cwac.config import ExperimentConfig
from cwac.generation import AlignedAnswers
from cwac.interfaces.methods import Yardstick
from cwac.judges import Judge
from cwac.prompts import Example, Prompt, PromptSets
from cwac.records import Direction, MetricValue

_Known = TypeVar("_Known")


class Task:
    """What a model is fine-tuned to do, and how an answer is marked.

    A task is made with its examples, so that files and shipped tasks are alike.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    chance: ClassVar[float | None] = None

    def __init__(self, train: Sequence[Example], test: Sequence[Example], **extra: Any) -> None:
        self.train = tuple(train)
        self.test = tuple(test)
        self.extra = extra

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool | None:
        """Whether a response is right, None where that cannot be told."""
        raise TypeError(f"the task {type(self).__name__} does not say what a right answer is")


@dataclass(frozen=True)
class MetricInfo:
    """What a number means, so that no view has to know."""

    name: str
    title: str
    unit: str = "fraction"
    direction: Direction = "neither"
    range: tuple[float, float] | None = (0.0, 1.0)

    def value(
        self,
        value: float | None,
        *,
        count: int | None = None,
        low: float | None = None,
        high: float | None = None,
    ) -> MetricValue:
        """Return a measured value that carries this description."""
        return MetricValue(
            value=value,
            title=self.title,
            unit=self.unit,
            direction=self.direction,
            count=count,
            low=low,
            high=high,
        )


@dataclass
class Measurement:
    """What a metric leaves."""

    values: dict[str, MetricValue] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


@dataclass
class MeasureContext:
    """All that a metric may see.

    ``aligned`` holds the aligned weights by parameter name. When the aligned model itself is
    measured, ``model`` holds exactly these weights and ``aligned_tables`` is None; otherwise
    ``aligned_tables`` holds what was measured on it, by the table's name.
    """

    config: ExperimentConfig
    model: nn.Module
    anatomy: Anatomy
    chat: Chat
    aligned: Mapping[str, Tensor]
    prompts: PromptSets
    task: Task
    judge: Judge
    yardstick: Yardstick
    device: torch.device
    evaluation_prompt: Callable[[str], str]
    aligned_tables: Mapping[str, pd.DataFrame] | None = None
    progress: Callable[[float], None] = lambda _share: None
    asked: AlignedAnswers | None = None
    """What the aligned model has said, where it is the one that is measured."""
    known: dict[Hashable, Any] = field(default_factory=dict)
    """What `once` has made; the runs of an experiment share it."""

    @property
    def is_aligned(self) -> bool:
        """Whether the aligned model itself is measured."""
        return self.aligned_tables is None

    def harmful_test(self) -> Sequence[Prompt]:
        """Return the harmful test requests, limited as the protocol says."""
        prompts = self.prompts.get("test", "harmful")
        return prompts[: self.config.evaluation.prompt_limit]

    def once(self, key: Hashable, make: Callable[[], _Known]) -> _Known:
        """Return what the aligned model alone decides: made for the first arm, kept for the others.

        Parameters
        ----------
        key : hashable
            All that it depends on besides the aligned weights and the yardstick.
        """
        if key not in self.known:
            self.known[key] = make()
        known: _Known = self.known[key]
        return known


class Metric:
    """One measurement: declares the numbers it gives, and measures."""

    name: ClassVar[str] = ""
    infos: ClassVar[tuple[MetricInfo, ...]] = ()
    effort: ClassVar[float] = 1.0
    """About how long it takes, relative to the others: what a progress bar is divided by."""

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a model."""
        raise TypeError(f"the metric {type(self).__name__} does not measure anything")

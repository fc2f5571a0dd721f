"""What a plug-in looks like: methods, tasks, metrics, interventions, models; and what they see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from cwac.anatomy import Anatomy
from cwac.chat import Batch, Chat
from cwac.config import ExperimentConfig, GrowingSettings
from cwac.features import SafetyFeatures
from cwac.generation import AlignedAnswers
from cwac.judges import Judge
from cwac.prompts import Example, Prompt, PromptSets
from cwac.records import Direction, MetricValue
from cwac.subspace import SafetySubspace

Needs = Literal[
    "safety_prompts", "safety_answers", "harmless_prompts", "subspace", "features", "base_model"
]
"""``safety_prompts`` are harmful ones, ``safety_answers`` their safe answers."""
AdapterKind = Literal["full", "lora"]


@dataclass
class Yardstick:
    """What every arm of an experiment is measured with; fitted once on the aligned model."""

    subspace: SafetySubspace
    features: SafetyFeatures
    subspace_fit: str
    """Name of the stored fit."""
    features_fit: str


@dataclass
class MethodContext:
    """All that a method may see; there are no globals.

    Attributes
    ----------
    model : Module
        The model that is trained; float32 masters.
    anatomy : Anatomy
        Where its linear maps sit.
    chat : Chat
        Template and tokenizer.
    aligned : mapping of str to Tensor
        Aligned values of every parameter, by name; detached copies, never modified.
    prompts : PromptSets
        Only the ``safety`` split may be used by a method.
    yardstick : Yardstick
        The experiment's subspace and features.
    fit_subspace : callable
        ``fit_subspace(**changes)`` fits (or reads) a subspace under other measurement settings
        (``maps=...``, ``tail_energy=...``, ``rank=...``, ``tokens=...``); ``kind="harmless"``
        fits on the harmless safety requests, ``directions="trailing"`` takes the last directions.
    generator : torch.Generator
        The method's own randomness, apart from the data order's.
    """

    config: ExperimentConfig
    model: nn.Module
    anatomy: Anatomy
    chat: Chat
    aligned: Mapping[str, Tensor]
    prompts: PromptSets
    yardstick: Yardstick
    fit_subspace: Callable[..., SafetySubspace]
    generator: torch.Generator
    device: torch.device
    base_model: Callable[[], nn.Module] | None = None


class MethodSettings(GrowingSettings):
    """Settings that every method has: how its arm is trained, apart from the experiment's way."""

    later = frozenset({"learning_rate", "optimiser"})

    learning_rate: float | None = Field(default=None, gt=0, lt=1)
    """Peak learning rate of this arm; None is the experiment's (``training.learning_rate``)."""
    optimiser: Literal["adamw", "sgd"] = "adamw"
    """``sgd``: plain stochastic gradient descent, as the paper's algorithm 1 has it. Adam's second
    moment makes the step smaller wherever a penalty's gradient is large, which is a confound."""


class PenaltySettings(MethodSettings):
    """Settings of every method that adds a penalty: which way its gradient takes to the weights."""

    later = frozenset({"penalty_gradient"})

    penalty_gradient: Literal["summed", "second_moment", "random_sign", "decoupled"] = "summed"
    """``summed``: with the task's, as published. Controls: ``second_moment``: in Adam's second
    moment and the clip alone, so that it only makes steps smaller; ``random_sign``: times +1 or -1,
    drawn at every step. ``decoupled``: a plain step ``-rate * gradient`` of its own, beside
    Adam's, as decoupled weight decay takes."""

    @model_validator(mode="after")
    def _moments_need_adam(self) -> Self:
        if self.penalty_gradient == "second_moment" and self.optimiser != "adamw":
            raise ValueError("second_moment needs optimiser = 'adamw'; sgd has no second moment")
        return self


SettingsT = TypeVar("SettingsT", bound=MethodSettings)


class Method(Generic[SettingsT]):
    """A fine-tuning rule, as hooks into the one training loop; plain SFT overrides nothing.

    A method names the type of its settings in brackets, ``class Mine(Method[MineSettings])``;
    `settings` and `settings_type` are of it.

    Order inside an optimiser step: forward, :meth:`task_loss` (+ :meth:`penalty`, once per step),
    backward, :meth:`before_clip`, clip, :meth:`after_backward`, :meth:`before_update`, optimiser
    step, :meth:`after_step`. Parameters that ``setup`` freezes (``requires_grad``) are left alone.

    Under LoRA the adapters are attached before :meth:`setup` and merged before :meth:`finish`. In
    between ``weight_of`` gives the frozen weight; :mod:`cwac.adapters` has what is trained.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    """One sentence for the Runs page and ``cwac list methods``."""
    source: ClassVar[str] = ""
    """Paper and equation."""
    deviation: ClassVar[str] = ""
    """Where it is not what was published, and which settings are; shown beside `source`. Empty
    where nothing is known to differ."""
    stage: ClassVar[Literal["fine-tuning", "after training"]] = "fine-tuning"
    needs: ClassVar[frozenset[Needs]] = frozenset()
    adapters: ClassVar[tuple[AdapterKind, ...]] = ("full",)
    """Ways to train that it works under: all weights, LoRA adapters (``training.adapter``)."""
    settings_type: ClassVar[type[MethodSettings]] = MethodSettings
    """Taken from the brackets."""
    strength_knob: ClassVar[str | None] = None
    """The one setting that trades safety for accuracy."""
    extra_passes: ClassVar[float] = 0.0
    """Additional forward-backward passes per step, relative to SFT."""
    control: ClassVar[bool] = False
    """Whether the method itself is a control, that is compared like a method."""
    controls: ClassVar[Mapping[str, frozenset[str]]] = {}
    """Values of its settings that make an arm of it a control."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for base in vars(cls).get("__orig_bases__", ()):
            for argument in get_args(base):
                # A type variable stays open: a base of several methods.
                if isinstance(argument, type) and issubclass(argument, MethodSettings):
                    cls.settings_type = argument

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    def setup(self, context: MethodContext) -> None:
        """Prepare before the first step."""

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples to train on, in order of presentation."""
        return examples

    def task_loss(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Return the *summed* loss over supervised tokens, or None for the loop's cross-entropy."""
        return None

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return a term added to the mean task loss, computed once per optimiser step."""
        return None

    def before_clip(self, model: nn.Module) -> None:
        """Combine gradients, before they are clipped."""

    def after_backward(self, model: nn.Module) -> None:
        """Change gradients, after clipping."""

    def before_update(self, optimiser: torch.optim.Optimizer) -> None:
        """Change the optimiser's groups (rate, betas) for this step; the rate is set anew each."""

    def after_step(self, model: nn.Module) -> None:
        """Change weights, after the optimiser step."""

    def finish(self, model: nn.Module) -> None:
        """Change weights once, after the last step (methods that act after training)."""

    def evaluation_prompt(self, text: str) -> str:
        """Return the request as the tuned model is given it."""
        return text

    def diagnostics(self) -> dict[str, float]:
        """Return numbers of the last step (``safety_loss``, ...); kept with the run's probes."""
        return {}


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

    @property
    def is_aligned(self) -> bool:
        """Whether the aligned model itself is measured."""
        return self.aligned_tables is None

    def harmful_test(self) -> Sequence[Prompt]:
        """Return the harmful test requests, limited as the protocol says."""
        prompts = self.prompts.get("test", "harmful")
        return prompts[: self.config.evaluation.prompt_limit]


class Metric:
    """One measurement: declares the numbers it gives, and measures."""

    name: ClassVar[str] = ""
    infos: ClassVar[tuple[MetricInfo, ...]] = ()
    effort: ClassVar[float] = 1.0
    """About how long it takes, relative to the others: what a progress bar is divided by."""

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a model."""
        raise TypeError(f"the metric {type(self).__name__} does not measure anything")


Grain = Literal["layer", "map"]
"""How finely a model is taken apart: decoder layers, or each linear map in them."""


@dataclass
class DissectContext:
    """All that an intervention may see: a tuned model beside the aligned one it came from.

    Attributes
    ----------
    model : Module
        Holds the tuned weights whenever an intervention begins and when it ends.
    aligned_model : Module
        The aligned one; never modified.
    aligned, tuned : mapping of str to Tensor
        Stored values of every parameter, by name; never modified. The ends of an intervention
        use these tensors and no arithmetic.
    other : mapping of str to Tensor, optional
        Another arm's parameters, for the path between two arms; ``other_name`` is its run id.
    fit_subspace : callable
        As `MethodContext.fit_subspace`.
    refusal_tokens : sequence of int
        First tokens of the aligned model's own refusals.
    sample : int
        Harmful test requests whose answers are generated and judged.
    tuned_odds, aligned_odds : array
        Refusal log-odds of both models on each harmful test request, ``(N,)``.
    progress : callable
        Called after each measurement of an intervention.
    requests : list of dict
        Rows of the table ``dissection_requests`` of the intervention that is being made.
    kept : dict
        What measurements keep for each other: the requests as tokens, the aligned model's streams.
    """

    config: ExperimentConfig
    model: nn.Module
    aligned_model: nn.Module
    anatomy: Anatomy
    chat: Chat
    aligned: Mapping[str, Tensor]
    tuned: Mapping[str, Tensor]
    prompts: PromptSets
    task: Task
    judge: Judge
    yardstick: Yardstick
    fit_subspace: Callable[..., SafetySubspace]
    refusal_tokens: Sequence[int]
    device: torch.device
    evaluation_prompt: Callable[[str], str] = str
    other: Mapping[str, Tensor] | None = None
    other_name: str = ""
    grain: Grain = "layer"
    sample: int = 24
    tuned_odds: np.ndarray = field(default_factory=lambda: np.empty(0))
    aligned_odds: np.ndarray = field(default_factory=lambda: np.empty(0))
    progress: Callable[[], None] = lambda: None
    requests: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)

    def harmful_test(self) -> Sequence[Prompt]:
        """Return the harmful test requests, limited as the protocol says."""
        prompts = self.prompts.get("test", "harmful")
        return prompts[: self.config.evaluation.prompt_limit]


@dataclass(frozen=True)
class Cost:
    """What an intervention asks of the model, before it is made.

    Attributes
    ----------
    passes : int
        Forward passes over all harmful test requests.
    answers : int
        Times that the sample's requests are answered.
    """

    passes: int
    answers: int = 0


class Intervention:
    """Something done to a tuned model, or to its weights, that tells why its refusals went."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    question: ClassVar[str] = ""
    control: ClassVar[str] = ""
    """What it is compared with, in words."""
    version: ClassVar[int] = 1
    """Raised when a correction changes its numbers: rows of another version are made anew."""
    by_grain: ClassVar[bool] = True
    """Whether its rows depend on how finely the model is taken apart."""
    by_request: ClassVar[bool] = False
    """Whether it also keeps what became of each request, where it works by layer."""

    @classmethod
    def keeps_requests(cls, grain: Grain) -> bool:
        """Return whether it keeps what became of each request in this grain."""
        return cls.by_request and (grain == "layer" or not cls.by_grain)

    def cost(self, context: DissectContext) -> Cost:
        """Return what :meth:`rows` will ask of the model."""
        raise TypeError(f"the intervention {type(self).__name__} does not say what it costs")

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return rows of the table ``dissection``, without the columns that name the run."""
        raise TypeError(f"the intervention {type(self).__name__} does not do anything")


@dataclass(frozen=True)
class ModelSpec:
    """A preset: a name, where the weights are, and what to know before loading them."""

    name: str
    title: str
    source: str
    """A path inside the shipped artifacts, or a hub id."""
    summary: str = ""
    shipped: bool = False
    parameters: int | None = None
    """Of a hub model: what is told of it before anything is downloaded."""
    sae_base: str | None = None
    """The base model that its public SAEs were trained on, where they are not its own."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Sections of a model card's defaults, for a hub model without a card."""

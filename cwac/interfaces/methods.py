"""What a method sees, and the hooks that it may override."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, get_args

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from cwac.anatomy import Anatomy
from cwac.chat import Batch, Chat
from cwac.config import ExperimentConfig, GrowingSettings
from cwac.features import SafetyFeatures
from cwac.prompts import Example, PromptSets
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
    published: ClassVar[Mapping[str, Any]] = {}
    """Values of its settings that its source states: a number, or words where it states a range or
    has another unit; settings that the source leaves open are not in it."""
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

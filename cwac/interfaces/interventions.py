"""What an intervention on a tuned model sees, costs and gives."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy
from cwac.chat import Chat
from cwac.config import ExperimentConfig
from cwac.interfaces.methods import Yardstick
from cwac.interfaces.metrics import Task
from cwac.judges import Judge
from cwac.prompts import Prompt, PromptSets
from cwac.seeding import generator
from cwac.subspace import SafetySubspace

Grain = Literal["layer", "map", "set"]
"""How finely a model is taken apart: decoder layers, each linear map in them, or sets of these that
the user names."""
Step = Callable[[str, Callable[[], list[dict[str, Any]]]], list[dict[str, Any]]]
"""Takes what names a part of an intervention, and what measures it; returns its rows."""


def measured_anew(_name: str, measure: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what a step measures, where nothing is kept of steps."""
    return measure()


class Update(Protocol):
    """What a context knows of an update: both models' values, and the model that holds it.

    Whoever puts parts of an update back needs no more than this of a `DissectContext`.
    """

    @property
    def config(self) -> ExperimentConfig:
        """Settings of the run, whose seed random sets are drawn with."""

    @property
    def model(self) -> nn.Module:
        """The tuned model."""

    @property
    def aligned(self) -> Mapping[str, Tensor]:
        """Stored values of every parameter of the aligned one, by name."""

    @property
    def tuned(self) -> Mapping[str, Tensor]:
        """Those of the tuned one."""

    @property
    def kept(self) -> dict[Hashable, Any]:
        """What is computed once."""


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
    limit : int, optional
        Harmful test requests that log-odds are taken on; all of them without it. The sample is
        among them.
    sets : sequence of str
        The sets of parts that the user named, where the grain is ``set``.
    tuned_odds, aligned_odds : array
        Refusal log-odds of both models on each harmful test request, ``(N,)``.
    progress : callable
        Called after each measurement of an intervention.
    step : callable
        Makes one part of an intervention, or returns the rows of an interrupted call.
    requests : list of dict
        Rows of the table ``dissection_requests`` of the intervention that is being made.
    answers : list of dict
        Rows of its table ``dissection_answers``.
    kept : dict
        What measurements keep for each other: the requests as tokens, both ends' streams, what
        restoring each part returned.
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
    limit: int | None = None
    sets: Sequence[str] = ()
    tuned_odds: np.ndarray = field(default_factory=lambda: np.empty(0))
    aligned_odds: np.ndarray = field(default_factory=lambda: np.empty(0))
    progress: Callable[[], None] = lambda: None
    step: Step = measured_anew
    requests: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[Hashable, Any] = field(default_factory=dict)

    def harmful_test(self) -> Sequence[Prompt]:
        """Return the harmful test requests, limited as the protocol and the caller say."""
        return self.drawn_test(self.limit)

    def drawn_test(self, count: int | None) -> Sequence[Prompt]:
        """Return some harmful test requests: the same for every run, the fewer among the more."""
        prompts = self.prompts.get("test", "harmful")[: self.config.evaluation.prompt_limit]
        if count is None:
            return prompts
        order = torch.randperm(len(prompts), generator=generator(0, "dissect", "sample")).tolist()
        return [prompts[place] for place in sorted(order[:count])]


@dataclass(frozen=True)
class Cost:
    """What an intervention asks of the model, before it is made.

    Attributes
    ----------
    passes : float
        Forward passes over all harmful test requests; here and below a share of one where the
        output of its first layers is known.
    answers : float
        Times that the sample's requests are answered.
    examples : float
        Times that the task's examples are answered.
    """

    passes: float
    answers: float = 0
    examples: float = 0


class Intervention:
    """Something done to a tuned model, or to its weights, that tells why its refusals went."""

    name: ClassVar[str] = ""
    """What is said of it stands under this name in :mod:`cwac.intervention_words`."""
    version: ClassVar[int] = 1
    """Raised when a correction changes its numbers or rows join: those of another version are made
    anew."""
    by_grain: ClassVar[bool] = True
    """Whether its rows depend on how finely the model is taken apart."""
    by_request: ClassVar[bool] = False
    """Whether it also keeps what became of each request, where it works by layer."""
    by_answer: ClassVar[bool] = False
    """Whether it also keeps what a few requests are answered, where it works by layer."""
    adds_up: ClassVar[tuple[str, ...]] = ()
    """Variants of which a later call adds parts to those that are stored."""

    @classmethod
    def keeps_requests(cls, grain: Grain) -> bool:
        """Return whether it keeps what became of each request in this grain."""
        return cls.by_request and (grain == "layer" or not cls.by_grain)

    @classmethod
    def keeps_answers(cls, grain: Grain) -> bool:
        """Return whether it keeps what a few requests are answered in this grain."""
        return cls.by_answer and (grain == "layer" or not cls.by_grain)

    def cost(self, context: DissectContext) -> Cost:
        """Return what :meth:`rows` will ask of the model."""
        raise TypeError(f"the intervention {type(self).__name__} does not say what it costs")

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return rows of the table ``dissection``, without the columns that name the run."""
        raise TypeError(f"the intervention {type(self).__name__} does not do anything")

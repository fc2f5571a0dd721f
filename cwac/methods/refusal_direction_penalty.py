"""Refusal direction penalty: one direction per layer is held instead of a hundred SAE latents."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from cwac.chat import Batch
from cwac.errors import DataError
from cwac.features import scored_residuals
from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._harmful import AlignedResiduals, Rounds, evaluating, refused_prompts
from cwac.methods._tokens import AnswerCache, OutputLayer, reading_layers
from cwac.prompts import Example
from cwac.scores import answer_tokens


class RefusalDirectionSettings(PenaltySettings):
    """Settings of the penalty; ``squared`` is SDP's form, ``absolute`` ProCon's."""

    strength: float = Field(default=10.0, ge=0)
    """Weight of the penalty beside the task loss; 0 is plain fine-tuning. ProCon publishes 0.1
    and 0.2 in its own units; 10 in units of the gap weighs about as much on the organism, whose
    gap is some 75 long: a projection moved by a tenth of the gap costs 0.1 nats per token."""
    form: Literal["squared", "absolute"] = "squared"
    """Whether a change of projection counts by its square (SDP) or its size (ProCon)."""
    inputs: Literal["training", "harmful"] = "training"
    """``training``: the answer tokens of what is trained on, as published, at no extra pass;
    ``harmful``: the harmful safety requests and scored tokens of CWAC's loss, at its cost of half
    a pass, for a comparison at an equal budget."""
    units: Literal["gap", "published"] = "gap"
    """``gap``: projections are measured in the aligned model's distance between harmful and
    harmless requests, which makes layers and models comparable; ``published``: raw, with the mean
    difference itself as direction in SDP's form and its unit vector in ProCon's."""
    layers: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Decoder layers whose output is held; None is all, as published."""
    early_strength: float | None = Field(default=None, ge=0)
    """Strength of the first steps, ten times the later one in ProCon's warm-up; None is
    `strength`."""
    early_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the steps that `early_strength` holds for."""
    harmful_batch: int = Field(default=8, ge=1)
    """Requests per step, where `inputs` is ``harmful``."""

    @model_validator(mode="after")
    def _only_a_term_of_its_own_has_a_way(self) -> Self:
        if self.penalty_gradient != "summed" and self.inputs == "training":
            raise ValueError(
                "penalty_gradient needs inputs = 'harmful'; on training inputs the penalty is "
                "part of the task's own pass"
            )
        return self


class RefusalDirectionPenalty(Method[RefusalDirectionSettings]):
    r"""Fine-tune with the residual stream's projections on the refusal directions held.

    ``strength / |layers| sum_l rho(v_l . (h_l - h_l0))``, mean over tokens, with ``rho`` the
    square or the absolute value and ``v_l`` along the difference of the aligned model's mean
    residual streams between refused harmful and harmless safety requests, at the last prompt
    token. ``h_l0`` is the aligned model's stream at the same token of the same text.

    On training inputs the tokens are those that predict an answer token, the last prompt token
    among them, and the penalty is read off the pass that the task loss makes anyway. The loss
    returned then has the plain cross-entropy's value, so that task losses compare, and the
    gradient of both terms.
    """

    name = "refusal_direction_penalty"
    title = "Refusal direction"
    summary = "The projection of the residual stream on each layer's refusal direction is held."
    source = "Du et al. 2025 (ProCon), arXiv 2509.06795; SDP, arXiv 2608.23497."
    published = MappingProxyType(
        {
            "strength": "0.1 and 0.2 (ProCon)",
            "form": "squared (SDP), absolute (ProCon)",
            "inputs": "training",
            "units": "published",
        }
    )
    deviation = (
        "The organism's card penalises on harmful requests; published are the training inputs: "
        'inputs = "training", the method\'s own default. Units of the gap instead of raw ones.'
    )
    needs = frozenset({"safety_prompts", "harmless_prompts"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: RefusalDirectionSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.layers: tuple[int, ...] = ()
        self.directions: dict[int, Tensor] = {}
        self.head: OutputLayer | None = None
        self.cache: AnswerCache | None = None
        self.aligned: AlignedResiduals | None = None
        self.rounds: Rounds | None = None
        self.step = 0
        self.last: dict[str, float] = {}

    def setup(self, context: MethodContext) -> None:
        """Find the aligned model's directions."""
        if not self.settings.strength and not self.settings.early_strength:
            return
        self.context = context
        self.layers = context.anatomy.check_layers(self.settings.layers)
        self.directions = _directions(context, self.layers, self.settings)
        if self.settings.inputs == "training":
            self.head = OutputLayer(context)
            return
        prompts = refused_prompts(context, self.name)
        self.aligned = AlignedResiduals(context, prompts, self.layers)
        self.rounds = Rounds.of(context, len(prompts), self.settings.harmful_batch)

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Cache the aligned projections at every answer token; change nothing."""
        if self.head is not None:
            assert self.context is not None
            model = self.context.model
            self.cache = AnswerCache(
                self.context, examples, lambda batch: self._read(model, batch)[1]
            )
        return examples

    def task_loss(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Return the summed cross-entropy, with the penalty's gradient added on training inputs."""
        if self.cache is None or self.strength == 0:
            return None
        scores, projections = self._read(model, batch)
        summed = functional.cross_entropy(scores, answer_tokens(batch)[1], reduction="sum")
        # The loop divides by the tokens of the whole batch: a sum here is a mean over tokens.
        held = self._held(projections - self.cache.of(batch)).sum()
        self.last = {"safety_loss": float(held.detach()) / len(scores)}
        term = self.strength * held
        return summed + (term - term.detach())

    def penalty(self, model: nn.Module) -> Tensor | None:
        """Return the weighted penalty on the next harmful batch, where that is asked for."""
        if self.aligned is None or self.rounds is None:
            return None
        changes = self.aligned.changes(model, self.rounds.take())
        moved = [(changes[layer] @ self.directions[layer]).flatten() for layer in self.layers]
        loss = self._held(torch.stack(moved, dim=-1)).mean()
        self.last = {"safety_loss": float(loss.detach())}
        return self.strength * loss

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Count the steps, for the early strength."""
        self.step += 1

    def diagnostics(self) -> dict[str, float]:
        """Return the unweighted penalty of the last step."""
        return dict(self.last)

    @property
    def strength(self) -> float:
        """The weight of the penalty at the current step."""
        early = self.settings.early_strength
        if early is None or self.context is None:
            return self.settings.strength
        steps = self.context.config.training.steps
        return early if self.step < self.settings.early_share * steps else self.settings.strength

    def _held(self, moved: Tensor) -> Tensor:
        """Return each token's penalty from its change of projection, ``(tokens, layers)``."""
        each = moved.square() if self.settings.form == "squared" else moved.abs()
        return each.mean(dim=-1)

    def _read(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return scores and projections ``(tokens, layers)`` at the answer tokens, in one pass."""
        assert self.context is not None
        assert self.head is not None
        rows, _targets = answer_tokens(batch)
        with reading_layers(model, self.context.anatomy, self.layers, rows) as streams:
            scores = self.head.scores(model, batch.input_ids, rows)
        parts = [streams[layer] @ self.directions[layer] for layer in self.layers]
        return scores, torch.stack(parts, dim=-1)


def _directions(
    context: MethodContext, layers: Sequence[int], settings: RefusalDirectionSettings
) -> dict[int, Tensor]:
    """Return the vector per layer whose product with a change is penalised, ``(d_model,)``.

    Raises
    ------
    DataError
        There are no refused harmful or no harmless safety requests, or a layer does not tell them
        apart at all.
    """
    harmful = refused_prompts(context, RefusalDirectionPenalty.name)
    harmless = context.prompts.get("safety", "harmless")
    if not harmless:
        raise DataError(
            f"the method {RefusalDirectionPenalty.name!r} needs harmless safety requests; "
            "there are none."
        )
    directions = {}
    means = [_means(context, layers, [p.text for p in part]) for part in (harmful, harmless)]
    for layer in layers:
        difference = means[0][layer] - means[1][layer]
        gap = difference.norm()
        if gap == 0:
            raise DataError(f"layer {layer} has no refusal direction: both means are the same.")
        if settings.units == "gap":
            directions[layer] = difference / gap.square()
        else:
            directions[layer] = difference if settings.form == "squared" else difference / gap
    return directions


def _means(
    context: MethodContext, layers: Sequence[int], texts: Sequence[str]
) -> dict[int, Tensor]:
    with evaluating(context.model):
        streams = scored_residuals(context.model, context.anatomy, context.chat, texts, layers)
    # Of the scored tokens the last one is where the answer begins.
    return {layer: streams[layer][:, -1].mean(dim=0) for layer in layers}

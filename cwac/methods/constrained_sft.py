"""Constrained SFT: each answer token may move only so far from the aligned model's belief."""

import math
from collections.abc import Sequence
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from cwac.chat import IGNORED, Batch
from cwac.config import TrainingConfig
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._tokens import AnswerCache, OutputLayer
from cwac.prompts import Example
from cwac.scores import answer_tokens


class ConstrainedSftSettings(MethodSettings):
    """Settings of the token-wise constraint; the schedule is the published one."""

    later = frozenset({"adam_beta1", "warmup_steps"})

    strength: float = Field(default=1.0, ge=0)
    """Factor on the whole schedule; 1 is the published one, 0 is plain fine-tuning."""
    beta_first: float = Field(default=0.5, ge=0)
    """Constraint on an answer's first token."""
    beta_early: float = Field(default=2.0, ge=0)
    """Constraint on the tokens that follow it, up to `early_tokens`."""
    beta_late: float = Field(default=0.1, ge=0)
    """Constraint on all further tokens."""
    early_tokens: int = Field(default=5, ge=1)
    """Tokens that count as early, the first one included."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Least weight of a token; the equation has none, the released code 0.001."""
    adam_beta1: float | None = Field(default=None, ge=0, lt=1)
    """Adam's first beta while this method trains (published: 0.5); None is the experiment's."""
    warmup_steps: int | None = Field(default=None, ge=1)
    """Steps over which the learning rate rises, in place of the experiment's share of the steps
    (published: 10); the cosine that follows is the experiment's. None is the experiment's."""


class ConstrainedSft(Method[ConstrainedSftSettings]):
    r"""Fine-tune under ``sum_t -(2 / beta_t) log sigma(beta_t log(pi(y_t) / pi_aligned(y_t)))``.

    Its gradient is the cross-entropy's with the weight ``w_t = 2 sigma(beta_t (log pi_aligned -
    log pi))`` on token t: 1 at the aligned model, falling to 0 as the tuned model grows surer of
    the token than the aligned one was. The loss is built with this gradient and with the *value*
    of the plain cross-entropy, so that task losses compare between methods; at ``beta = 0`` both
    are the cross-entropy's.

    The paper also lowers Adam's first beta to 0.5 and warms up for 10 steps; by default the
    optimiser is the experiment's, the same for every method. Where a whole answer is shorter than
    `early_tokens`, as in classification, the constraint can keep the task from being learned.
    """

    name = "constrained_sft"
    title = "Constrained SFT"
    summary = (
        "An answer's first tokens are learned only as far as they stay near the aligned model."
    )
    source = (
        "Qi et al. 2025, arXiv 2406.05946, equation 3; code: Unispac/shallow-vs-deep-alignment."
    )
    published = MappingProxyType(
        {"strength": 1.0, "adam_beta1": 0.5, "warmup_steps": 10, "floor": 0.001}
    )
    deviation = (
        "The organism's card takes an eighth of the published betas (strength 0.13, published 1), "
        "with the published floor, beta1 and warm-up; the method's defaults leave these out."
    )
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: ConstrainedSftSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.head: OutputLayer | None = None
        self.aligned: AnswerCache | None = None
        self.updates = 0

    def setup(self, context: MethodContext) -> None:
        """Remember where the aligned model is found."""
        if self.settings.strength > 0:
            self.context, self.head = context, OutputLayer(context)

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Cache the aligned model's log-probability of every answer token; change nothing."""
        if self.context is not None:
            model = self.context.model
            self.aligned = AnswerCache(
                self.context, examples, lambda batch: -self._losses(model, batch)
            )
        return examples

    def task_loss(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Return the summed loss; the cross-entropy's value, the constrained gradient."""
        if self.aligned is None:
            return None
        losses = self._losses(model, batch)
        weights = self.token_weights(batch, self.aligned.of(batch) + losses.detach())
        weighted = (weights * losses).sum()
        return weighted + (losses.sum() - weighted).detach()

    def before_update(self, optimiser: torch.optim.Optimizer) -> None:
        """Set the published first beta and warm-up, where they are asked for."""
        settings, context = self.settings, self.context
        if context is None:
            return
        for group in optimiser.param_groups:
            if settings.warmup_steps is not None:
                group["lr"] = self._rate(context.config.training, settings.warmup_steps)
            if settings.adam_beta1 is not None and "betas" in group:
                group["betas"] = (settings.adam_beta1, group["betas"][1])
        self.updates += 1

    def _rate(self, training: TrainingConfig, warmup: int) -> float:
        if self.updates < warmup:
            return training.learning_rate * (self.updates + 1) / warmup
        share = (self.updates - warmup) / (training.steps - warmup)
        return training.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))

    def token_weights(self, batch: Batch, lag: Tensor) -> Tensor:
        """Return ``w_t`` of a batch's answer tokens.

        Parameters
        ----------
        lag : Tensor
            ``log pi_aligned - log pi`` of the answer tokens, row by row, ``(tokens,)``.
        """
        settings = self.settings
        answer = batch.labels[:, 1:] != IGNORED
        number = answer.cumsum(dim=1)[answer]
        beta = torch.full_like(lag, settings.beta_late)
        beta[number <= settings.early_tokens] = settings.beta_early
        beta[number == 1] = settings.beta_first
        weights = 2.0 * torch.sigmoid(settings.strength * beta * lag)
        return weights.clamp(min=settings.floor)

    def _losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the negative log-likelihood of every answer token, nats, ``(tokens,)``."""
        assert self.head is not None
        rows, targets = answer_tokens(batch)
        scores = self.head.scores(model, batch.input_ids, rows)
        return functional.cross_entropy(scores, targets, reduction="none")

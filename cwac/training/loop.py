"""The one training loop: it knows the hooks of `Method` and no method's name."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from cwac.adapters import adapted
from cwac.anatomy import Anatomy, LinearMap, weight_of
from cwac.chat import Chat
from cwac.config import TrainingConfig
from cwac.errors import CancelledError, ConfigError, ModelError, TrainingError
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.prompts import Example
from cwac.scores import output_layer, scores_at
from cwac.seeding import seed_everything
from cwac.training.course import Course
from cwac.training.data import Part, prepare
from cwac.training.holding import OutputProjection, frozen
from cwac.training.penalty import PenaltyPath

UNTIMED_STEPS: Final = 5
"""First steps left out of the time statistics: allocation and kernel choice happen there."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one optimiser step did; step 0 is the state before training, with nothing measured.

    Attributes
    ----------
    step, steps : int
        Updates made so far, and in all.
    task_loss : float or None
        Mean negative log-likelihood of the batch's supervised tokens, before the update, nats.
    penalty : float or None
        The method's term as it was added to the task loss; None where there is none.
    gradient_norm : float or None
        L2 norm over all parameters, before clipping.
    learning_rate, seconds : float or None
        Of this step.
    diagnostics : mapping of str to float
        What the method says of the step; of what it did after training too, in the last report.
    """

    step: int
    steps: int
    task_loss: float | None = None
    penalty: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a finished training run leaves besides the weights.

    Attributes
    ----------
    seconds_per_step_median, seconds_per_step_p95 : float
        Over the steps after warm-up of the machine; probes excluded.
    train_seconds, setup_seconds : float
        Sum over all steps; the method's preparation and the tokenising before them.
    supervised_tokens : int
        Tokens that the loss was computed on, over all steps.
    cut_examples : int
        Examples longer than ``max_length``, whose end was not trained on.
    """

    seconds_per_step_median: float
    seconds_per_step_p95: float
    train_seconds: float
    setup_seconds: float
    supervised_tokens: int
    cut_examples: int
    final_task_loss: float
    final_penalty: float | None


def fit(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    examples: Sequence[Example],
    config: TrainingConfig,
    method: Method[Any],
    *,
    seed: int,
    context: MethodContext | None = None,
    on_step: Callable[[StepReport], None] | None = None,
    stop: Callable[[], bool] | None = None,
    course: Course | None = None,
) -> TrainingResult:
    """Fine-tune `model` in place under `method`, all weights or adapters as `config` says.

    Order inside an optimiser step: forward, ``task_loss`` + ``penalty``, backward,
    ``before_clip``, clip, ``after_backward``, ``before_update``, optimiser step, ``after_step``.
    ``setup``, ``training_data`` and ``finish`` are called here too; adapters are there from
    ``setup`` to the last step, and ``finish`` sees them merged into the weights.

    Parameters
    ----------
    model : Module
        A causal language model with float32 weights.
    examples : sequence of Example
        ``steps * batch_size`` examples in the order of presentation (see `mix_poison`).
    seed : int
        Seeds what the model itself draws (dropout); the data order is already decided.
    context : MethodContext, optional
        What the method's ``setup`` is given; without one ``setup`` is not called.
    on_step : callable, optional
        Told of every step, and of step 0 before the first; its time is not counted.
    stop : callable, optional
        Asked before every step whether to give up.
    course : Course, optional
        Where to begin and when it is enough; without one every step is made.

    Raises
    ------
    CancelledError
        `stop` said so.
    DataError
        The number of examples is not ``steps * batch_size``, or a batch has no answer tokens.
    ModelError
        Trained weights are not float32.
    TrainingError
        A gradient is zero or not finite, or the decoder's weights did not change.
    """
    started = time.perf_counter()
    config = _of_arm(config, method.settings)
    before = {m.parameter: _kept(model, context, m) for m in anatomy.maps}
    report = StepReport(step=0, steps=config.steps)
    seconds: list[float] = []
    with frozen(model, anatomy, config), adapted(model, anatomy, config.adapter, seed):
        seed_everything(seed)
        trained = _float32_parameters(model)
        # A GPU is used when the model was put there; accelerate must not choose another device.
        accelerator = Accelerator(cpu=trained[0].device.type == "cpu")
        if context is not None:
            method.setup(context)
        data = prepare(method.training_data(examples), chat, config, accelerator.device)
        output = _output_projection(config, context)
        optimiser = _optimiser(trained, config, method.settings)
        model, optimiser = accelerator.prepare(model, optimiser)
        penalty = PenaltyPath(method.settings, optimiser, config.clip_norm, seed)
        loop = _Loop(model, optimiser, accelerator, method, config, penalty, output)
        setup_seconds = time.perf_counter() - started

        course = course or Course()
        first = course.begin(model, optimiser)
        for step, parts in list(enumerate(data.steps))[first:]:
            _tell(on_step, report, model)
            if stop is not None and stop():
                raise CancelledError(f"stopped after {step} of {config.steps} steps.")
            report = loop.step(step, parts, data.tokens[step])
            seconds.append(report.seconds or 0.0)
            if course.enough(report, model, optimiser):
                break
    method.finish(model)
    if all(torch.equal(before[m.parameter], weight_of(model, m)) for m in anatomy.maps):
        raise TrainingError(f"no decoder weight changed in {config.steps} steps.")
    report = replace(report, diagnostics=method.diagnostics())
    _tell(on_step, report, model)

    timed = seconds[min(UNTIMED_STEPS, len(seconds) // 2) :]
    assert report.task_loss is not None
    return TrainingResult(
        seconds_per_step_median=statistics.median(timed),
        seconds_per_step_p95=sorted(timed)[math.ceil(0.95 * len(timed)) - 1],
        train_seconds=sum(seconds),
        setup_seconds=setup_seconds,
        supervised_tokens=sum(data.tokens),
        cut_examples=data.cut_examples,
        final_task_loss=report.task_loss,
        final_penalty=report.penalty,
    )


def _kept(model: nn.Module, context: MethodContext | None, entry: LinearMap) -> Tensor:
    """Return a map's weight before training, without a second copy where there is one."""
    if context is not None:
        return weight_of(context.aligned, entry)
    return weight_of(model, entry).detach().clone()


class _Loop:
    """One optimiser step, with what it needs bound once."""

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        accelerator: Accelerator,
        method: Method[Any],
        config: TrainingConfig,
        penalty: PenaltyPath,
        output: OutputProjection | None,
    ) -> None:
        self.model, self.optimiser, self.accelerator = model, optimiser, accelerator
        self.method, self.config = method, config
        self.penalty, self.output = penalty, output
        self.head = output_layer(accelerator.unwrap_model(model))
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def step(self, step: int, parts: Sequence[Part], tokens: int) -> StepReport:
        """Make the update number `step` (from 0) on one batch, given as its micro-batches."""
        started = time.perf_counter()
        model, method = self.model, self.method
        task, penalty = torch.zeros(()), None
        for number, part in enumerate(parts):
            summed = method.task_loss(model, part.batch)
            # Dividing the sum by the tokens of the whole batch makes the gradient independent
            # of how the batch is cut into micro-batches.
            loss = (self._summed(part) if summed is None else summed) / tokens
            task = loss.detach() if number == 0 else task + loss.detach()
            if number == len(parts) - 1:
                penalty = method.penalty(model)
            if penalty is None:
                self.accelerator.backward(loss)
            else:
                self.penalty.backward(self.accelerator, loss, penalty)
        method.before_clip(model)
        norm = self._clip(step)
        method.after_backward(model)
        rate = learning_rate(self.config, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        method.before_update(self.optimiser)
        self.penalty.before_step(norm)
        self.optimiser.step()
        self.penalty.after_step(rate)
        method.after_step(model)
        if self.output is not None:
            self.output.apply()
        self.optimiser.zero_grad()
        return StepReport(
            step=step + 1,
            steps=self.config.steps,
            task_loss=float(task),
            penalty=None if penalty is None else float(penalty.detach()),
            gradient_norm=norm,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            seconds=time.perf_counter() - started,
            diagnostics=method.diagnostics(),
        )

    def _summed(self, part: Part) -> Tensor:
        """Return the negative log-likelihood of the supervised tokens, summed, in nats."""
        scores = scores_at(self.model, self.head, part.batch.input_ids, part.rows)
        return functional.cross_entropy(scores, part.targets, reduction="sum")

    def _clip(self, step: int) -> float:
        norm = float(self.accelerator.clip_grad_norm_(self.parameters, self.config.clip_norm))
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient norm is {norm} at step {step + 1}.")
        if norm == 0.0:
            raise TrainingError(f"every gradient is zero at step {step + 1}; nothing is learned.")
        return norm


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the rate of the update number `step` (from 0): linear warm-up, then a cosine to 0.

    No update has rate 0: the first one already has its share of the warm-up, the last one what
    the cosine leaves at its place.

    Examples
    --------
    >>> config = TrainingConfig(steps=4, learning_rate=0.1, warmup_fraction=0.5)
    >>> [round(learning_rate(config, step), 3) for step in range(4)]
    [0.05, 0.1, 0.1, 0.05]
    """
    warmup = math.ceil(config.warmup_fraction * config.steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / (config.steps - warmup)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))


def _float32_parameters(model: nn.Module) -> list[nn.Parameter]:
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise ModelError("the model has no trainable parameter.")
    for name, parameter in named:
        # One rounding to bfloat16 puts most of a small update back into a protected subspace.
        if parameter.dtype != torch.float32:
            raise ModelError(f"{name} is {parameter.dtype}; training needs float32 weights.")
    return [parameter for _name, parameter in named]


def _of_arm(config: TrainingConfig, settings: MethodSettings) -> TrainingConfig:
    """Return the training settings with the arm's own learning rate, where it has one."""
    if settings.learning_rate is None:
        return config
    return config.model_copy(update={"learning_rate": settings.learning_rate})


def _output_projection(
    config: TrainingConfig, context: MethodContext | None
) -> OutputProjection | None:
    if config.output_layer != "projected" or config.adapter != "full":
        return None
    if context is None:
        raise ConfigError("training.output_layer = 'projected' needs an experiment's subspace.")
    return OutputProjection(context)


def _optimiser(
    trained: Sequence[nn.Parameter], config: TrainingConfig, settings: MethodSettings
) -> torch.optim.Optimizer:
    # Gains and biases are not decayed, as everywhere in the field.
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _tell(
    on_step: Callable[[StepReport], None] | None, report: StepReport, model: nn.Module
) -> None:
    if on_step is not None:
        on_step(report)
    # A probe may have left the model in evaluation mode.
    if not model.training:
        model.train()

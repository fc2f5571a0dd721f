"""What a grid of runs will train on and cost, before it is started."""

from collections.abc import Sequence
from statistics import median
from typing import Final

import psutil
import torch

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.interfaces import Method, MethodSettings
from cwac.messages import PlannedRun, Preview, PreviewExample
from cwac.methods import METHODS
from cwac.models.loading import LoadedModel, load_configured
from cwac.prompts import Example
from cwac.runner.checks import check_disk, check_memory
from cwac.runner.costs import costs_of
from cwac.runner.inputs import input_notes, load_inputs
from cwac.runner.resolve import variant_of
from cwac.runner.session import reference_name
from cwac.runner.worker import is_complete
from cwac.training import (
    StepReport,
    attack_pool,
    attack_share,
    chosen_for,
    fit,
    mix_poison,
)

PROBE_STEPS: Final = 8
"""Training steps that the estimate is taken from."""
SHOWN: Final = 3
"""Training examples shown of each kind."""
_COPIES: Final = 6
"""Weights, gradients, two Adam moments, the aligned copy and one temporary, in float32."""


def preview(
    configs: Sequence[ExperimentConfig],
    store: ArtifactStore,
    *,
    keep_model: bool = False,
    again: bool = False,
) -> Preview:
    """Return the exact training text, and estimates of time and memory.

    A few steps are really taken, on a copy of the model that is thrown away; what is measured
    besides, and what has to be fitted first, is counted in passes that are timed once.
    """
    first = configs[0]
    check_memory(first)
    check_disk(first, store.write_root, keep_model=keep_model)
    loaded = load_configured(first.model)
    prompts, task = load_inputs(loaded.folder, loaded.card, first.prompts, first.task)
    total = first.training.steps * first.training.batch_size
    # Which examples an adaptive attacker would choose is known once the features are fitted.
    training = first.training
    attack = chosen_for(training, attack_pool(training.attack, prompts), lambda pool: pool)
    share = attack_share(training.attack, first.poison_ratio)
    examples = mix_poison(task.train, attack, share, total, first.seed)
    runs = tuple(
        PlannedRun(
            run_id=config.run_id,
            variant=variant_of(config, loaded.card),
            seed=config.seed,
            complete=is_complete(store, config, keep_model) and not again,
        )
        for config in configs
    )
    loaded.asked.precision = first.evaluation.decoding
    stored = store.find_fit(reference_name(first)) is not None
    costs = costs_of(loaded, prompts, len(task.test), first, store, reference_stored=stored)
    step, peak = _time_step(loaded, examples, first)
    per_arm = {
        variant_of(config, loaded.card): step
        * config.training.steps
        * (1 + METHODS[config.method].extra_passes)
        + costs.measuring
        for config in configs
    }
    waiting = [run for run in runs if not run.complete]
    seconds = sum(per_arm[run.variant] for run in waiting) + (costs.opening if waiting else 0.0)
    return Preview(
        template=loaded.chat.name,
        examples=_shown(loaded, examples),
        runs=runs,
        seconds=round(seconds, 1),
        seconds_per_arm={name: round(value, 1) for name, value in per_arm.items()},
        memory_bytes=peak,
        warnings=(*loaded.warnings, *input_notes(first, prompts, task)),
    )


def _shown(loaded: LoadedModel, examples: Sequence[Example]) -> tuple[PreviewExample, ...]:
    task = [example for example in examples if not example.poison][:SHOWN]
    poison = [example for example in examples if example.poison][:SHOWN]
    return tuple(
        PreviewExample(
            id=example.id,
            poison=example.poison,
            tokens=tuple(loaded.chat.preview(example.prompt, example.answer)),
        )
        for example in (*task, *poison)
    )


def _time_step(
    loaded: LoadedModel, examples: Sequence[Example], config: ExperimentConfig
) -> tuple[float, int]:
    """Return seconds per step of plain fine-tuning, and the memory of a run in bytes."""
    steps = min(PROBE_STEPS, config.training.steps)
    training = config.training.model_copy(update={"steps": steps})
    seconds: list[float] = []

    def on_step(report: StepReport) -> None:
        if report.seconds is not None:
            seconds.append(report.seconds)

    fit(
        loaded.model,
        loaded.anatomy,
        loaded.chat,
        examples[: steps * training.batch_size],
        training,
        Method(MethodSettings()),
        seed=config.seed,
        on_step=on_step,
    )
    resident = psutil.Process().memory_info().rss
    if loaded.device.type == "cuda":
        return median(seconds), int(torch.cuda.max_memory_allocated(loaded.device))
    # Three of the copies are already resident after the steps just taken.
    return median(seconds), resident + (_COPIES - 3) * 4 * loaded.parameters

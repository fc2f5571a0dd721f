"""What the training benchmarks share: an opened model, matched data, interleaving, the verdict."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ModelError
from cwac.interfaces import Method, MethodContext, Yardstick
from cwac.models.folders import artifacts_folder
from cwac.models.loading import LoadedModel, load_model
from cwac.preparation.fits import other_subspaces, prepare_yardstick
from cwac.prompts import Example, PromptSets
from cwac.runner.inputs import load_prompts, load_task
from cwac.runner.resolve import resolve
from cwac.seeding import generator
from cwac.training import StepReport, TrainingResult, fit, mix_poison

ARMS: Final = ("sft", "weight_only", "activation_only", "cwac")
"""The arms that the budgets are about."""
CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options that all training benchmarks have."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--model", default="organism", help="preset, folder or hub id")
    options.add_argument("--task", default="instruct", help="task or file of examples")
    for kind in ("harmful", "harmless", "lookalike"):
        options.add_argument(f"--{kind}", help="requests; default: what the model ships")
    options.add_argument("--rounds", type=int, default=8, help="interleaved repetitions")
    options.add_argument("--steps", type=int, default=40, help="steps per repetition")
    options.add_argument("--batch-size", type=int, help="default: the model's documented one")
    options.add_argument("--threads", type=int, help="default: torch's own choice")
    options.add_argument("--sae-steps", type=int, help="steps of an SAE fit that is not stored")
    options.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor seconds, for a busy machine; use it with --threads 1",
    )
    options.add_argument("--check", action="store_true", help="exit 1 on a missed budget")
    return options


@dataclass
class Bench:
    """A model with all that training it needs; its weights are put back before every fit."""

    config: ExperimentConfig
    loaded: LoadedModel
    prompts: PromptSets
    examples: list[Example]
    store: ArtifactStore
    initial: dict[str, torch.Tensor]
    clock: Callable[[], float]
    yardstick: Yardstick | None = None

    def reset(self) -> None:
        """Put the aligned weights back."""
        with torch.no_grad():
            for name, parameter in self.loaded.model.named_parameters():
                parameter.copy_(self.initial[name])
                parameter.grad = None
        self.loaded.model.eval()

    def context(self) -> MethodContext:
        """Return what a method is given to see, around the aligned weights."""
        self.reset()
        if self.yardstick is None:
            self.yardstick = prepare_yardstick(
                self.loaded, self.prompts, self.config.measurement, self.store
            )

        return MethodContext(
            config=self.config,
            model=self.loaded.model,
            anatomy=self.loaded.anatomy,
            chat=self.loaded.chat,
            aligned=self.initial,
            prompts=self.prompts,
            yardstick=self.yardstick,
            fit_subspace=other_subspaces(self.loaded, self.prompts, self.config, self.store),
            generator=generator(0, "method"),
            device=self.loaded.device,
        )

    def fit(self, method: Method) -> "Fitted":
        """Train the aligned model under a method, whose context is made before the clock starts."""
        context = self.context() if method.needs else None
        self.reset()
        ends: list[float] = []
        losses: list[float] = []

        def note(report: StepReport) -> None:
            ends.append(self.clock())
            if report.task_loss is not None:
                losses.append(report.task_loss)

        started = self.clock()
        result = fit(
            self.loaded.model,
            self.loaded.anatomy,
            self.loaded.chat,
            self.examples,
            self.config.training,
            method,
            seed=0,
            context=context,
            on_step=note,
        )
        total = self.clock() - started
        return Fitted(result, differences(ends), total, statistics.mean(losses))


@dataclass(frozen=True)
class Fitted:
    """One finished training: its steps' seconds, and the whole call's."""

    result: TrainingResult
    seconds: list[float]
    total: float
    mean_loss: float

    @property
    def setup(self) -> float:
        """Seconds outside the steps."""
        return self.total - sum(self.seconds)


def differences(ends: Sequence[float]) -> list[float]:
    """Return the time from each step's end to the next one's."""
    return [after - before for before, after in pairwise(ends)]


def open_bench(options: argparse.Namespace) -> Bench:
    """Load the model and its data as ``cwac run`` would, with the model's documented defaults."""
    if options.threads:
        torch.set_num_threads(options.threads)
    training = {"steps": options.steps}
    if options.batch_size:
        training["batch_size"] = options.batch_size
    raw: dict[str, object] = {
        "model": options.model,
        "task": options.task,
        "training": training,
        "measurement": {"sae_steps": options.sae_steps} if options.sae_steps else {},
        "prompts": {
            kind: getattr(options, kind)
            for kind in ("harmful", "harmless", "lookalike")
            if getattr(options, kind)
        },
    }
    (config,) = resolve(raw, ["sft"], [0])
    loaded = load_model(config.model.source)
    prompts = load_prompts(loaded.folder, loaded.card, config.prompts)
    task = load_task(loaded.folder, loaded.card, config.task)
    total = config.training.steps * config.training.batch_size
    attack = prompts.get("attack", "harmful")
    return Bench(
        config=config,
        loaded=loaded,
        prompts=prompts,
        examples=mix_poison(task.train, attack, config.poison_ratio, total, 0),
        store=ArtifactStore(Path(tempfile.gettempdir()) / "cwac-bench", *_shipped_root()),
        initial={n: p.detach().clone() for n, p in loaded.model.named_parameters()},
        clock=CLOCKS[options.clock],
    )


def _shipped_root() -> list[Path]:
    try:
        return [artifacts_folder() / "runs"]
    except ModelError:
        return []


def interleaved(
    rounds: int, runs: Mapping[str, Callable[[], list[float]]]
) -> dict[str, list[float]]:
    """Return each contestant's median time per step, one value per round.

    Every round runs each contestant once, in alternating order, so that what else the machine
    does falls on all alike. Each gives the seconds of its steps. The first round warms up.
    """
    medians: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            seconds = runs[name]()
            if number:
                # The first steps of a repetition still fill caches.
                medians[name].append(statistics.median(seconds[min(5, len(seconds) // 2) :]))
    return medians


def ratio(
    medians: Mapping[str, Sequence[float]], name: str, base: str
) -> tuple[float, float, float]:
    """Return the median of the per-round ratios and its smallest and largest value."""
    ratios = [a / b for a, b in zip(medians[name], medians[base], strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


@dataclass
class Verdict:
    """Collects budgets and says at the end whether all were met."""

    check: bool
    missed: int = 0

    def line(self, text: str, value: float, budget: float) -> None:
        """Print a measured value beside its budget (an upper bound)."""
        met = value <= budget
        self.missed += not met
        print(f"{text}: {value:.3f}  (budget {budget:g}: {'met' if met else 'MISSED'})")

    def leave(self) -> None:
        """End the program; with ``--check`` a missed budget is exit code 1."""
        sys.exit(1 if self.check and self.missed else 0)


def describe(bench: Bench) -> None:
    """Print what is measured and with what."""
    training, model = bench.config.training, bench.loaded
    print(
        f"{bench.config.model.label}: {model.parameters:,} parameters, {bench.config.task.label}, "
        f"batch {training.batch_size}, {training.steps} steps per repetition, "
        f"{model.device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"{'processor' if bench.clock is CLOCKS['cpu'] else 'wall'} time"
    )

"""One run: train an arm from the aligned weights, probe it on the way, measure it, store it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import DataError
from cwac.interfaces import Measurement, Method, MethodContext
from cwac.memory import trim
from cwac.methods import METHODS
from cwac.metrics.behaviour import thought_notes
from cwac.metrics.speed import time_values
from cwac.metrics.trajectory import Trajectory
from cwac.models.loading import load_base
from cwac.preparation.adaptive import ranked_poison
from cwac.preparation.fits import other_subspaces
from cwac.prompts import Prompt
from cwac.provenance import collect, peak_since_reset, reset_peak
from cwac.records import RunRecord
from cwac.runner.checks import check_adapter, check_needs
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.relearning import relearn
from cwac.runner.resolve import arm_of
from cwac.runner.session import Session, measure_all, open_session
from cwac.seeding import generator, seed_everything
from cwac.training import (
    StepReport,
    TrainingResult,
    attack_pool,
    attack_share,
    chosen_for,
    fit,
    mix_poison,
)

_TELL_EVERY: Final = 1.0
"""Seconds between two reports of a training that is between probes."""


def run_one(
    config: ExperimentConfig,
    store: ArtifactStore,
    *,
    keep_model: bool = False,
    listener: Listener = ignore,
    stop: Callable[[], bool] = never,
    session: Session | None = None,
) -> RunRecord:
    """Run one complete configuration and store the result.

    Parameters
    ----------
    config : ExperimentConfig
        As :func:`cwac.runner.resolve` returns it.
    keep_model : bool
        Whether the tuned weights are stored too.
    session : Session, optional
        The opened experiment; it is opened here without one. Numbers are the same either way.

    Raises
    ------
    CwacError
        Something it needs cannot be used, it did not train, or it was asked to stop.
    """
    progress = RunProgress(config.run_id, Arm(method=config.method), config.seed, listener, stop)
    if session is None:
        progress.report("setup", 0.0, "starting")
        session = open_session(config, store, progress.within("setup", 0.0, 1.0, ""))
    arm = arm_of(config, session.loaded.card)
    progress = RunProgress(config.run_id, arm, config.seed, listener, stop)
    check_needs(METHODS[config.method], session.loaded.card, session.prompts)
    check_adapter(METHODS[config.method], config.training)
    # What opening the experiment has freed is none of the run's memory.
    trim()
    reset_peak()
    session.reset()
    seed_everything(config.seed)
    method = _method(config)
    context = session.measure_context(
        config, evaluation_prompt=method.evaluation_prompt, reference=session.reference
    )
    # Opening the experiment is shared by its runs; each says what it took.
    durations = {"setup": session.seconds}
    attack, attack_fits = attack_examples(session, config, store)
    trajectory, result, seconds = _train(session, config, method, attack, store, progress, stop)
    durations |= seconds

    began = time.perf_counter()
    session.model.eval()
    measurement = measure_all(context, lambda s, text: progress.report("measuring", s, text))
    again = relearn(context, stop)
    measurement.values |= again.values
    measurement.tables |= trajectory.tables() | again.tables
    durations["measurement"] = time.perf_counter() - began

    record = _record(config, arm, session, measurement, result, durations, attack_fits)
    save = model_saver(session) if keep_model else None
    store.save_run(record, measurement.tables, measurement.arrays, save_model=save)
    progress.report("done", 1.0, "stored")
    return store.load(record.run_id)


def _method(config: ExperimentConfig) -> Method[Any]:
    kind = METHODS[config.method]
    return kind(kind.settings_type.build(config.settings, where=config.method))


def attack_examples(
    session: Session, config: ExperimentConfig, store: ArtifactStore
) -> tuple[Sequence[Prompt], dict[str, str]]:
    """Return the attack's distinct examples, and the fit that their order rests on, if any.

    The model must be the aligned one.
    """
    training, fits = config.training, {}

    def rank(pool: Sequence[Prompt]) -> Sequence[Prompt]:
        name, ranked = ranked_poison(
            session.loaded, session.yardstick, config.measurement, pool, store
        )
        fits["attack"] = name
        return ranked

    return chosen_for(training, attack_pool(training.attack, session.prompts), rank), fits


def _train(
    session: Session,
    config: ExperimentConfig,
    method: Method[Any],
    attack: Sequence[Prompt],
    store: ArtifactStore,
    progress: RunProgress,
    stop: Callable[[], bool],
) -> tuple[Trajectory, TrainingResult, dict[str, float]]:
    examples = mix_poison(
        session.task.train,
        attack,
        attack_share(config.training.attack, config.poison_ratio),
        config.training.steps * config.training.batch_size,
        config.seed,
    )
    probing = 0.0
    reported = 0.0

    steps: list[dict[str, float]] = []

    def told() -> tuple[dict[str, float], ...]:
        taken = tuple(steps)
        steps.clear()
        return taken

    def on_row(row: dict[str, Any]) -> None:
        share = row["step"] / config.training.steps
        progress.report("training", share, "probe", row, told())

    # The trajectory caches what the aligned model does, so it is made before any hook can act.
    context = session.measure_context(config, evaluation_prompt=method.evaluation_prompt)
    trajectory = Trajectory(context, session.refusal_tokens, on_row)

    def on_step(report: StepReport) -> None:
        nonlocal probing, reported
        began = time.perf_counter()
        if report.task_loss is not None:
            steps.append(_figures(report))
        share, text = report.step / report.steps, f"step {report.step} of {report.steps}"
        context.progress = lambda done: progress.report(
            "training", share, f"{text}, probing, {done:.0%}"
        )
        trajectory.see(report)
        now = time.perf_counter()
        probing += now - began
        if now - reported > _TELL_EVERY:
            reported = now
            progress.report("training", share, text, steps=told())

    began = time.perf_counter()
    progress.report("training", 0.0, "training")
    result = fit(
        session.model,
        session.loaded.anatomy,
        session.loaded.chat,
        examples,
        config.training,
        method,
        seed=config.seed,
        context=method_context(session, config, store),
        on_step=on_step,
        stop=stop,
    )
    whole = time.perf_counter() - began
    seconds = {
        "method_setup": result.setup_seconds,
        "training": whole - probing - result.setup_seconds,
        "probes": probing,
    }
    return trajectory, result, seconds


def _figures(report: StepReport) -> dict[str, float]:
    """Return a step's numbers, with its own: what has not been measured is left out."""
    names = ("step", "task_loss", "penalty", "gradient_norm", "learning_rate")
    known = {name: getattr(report, name) for name in names}
    return {n: v for n, v in known.items() if v is not None} | dict(report.diagnostics)


def method_context(
    session: Session, config: ExperimentConfig, store: ArtifactStore
) -> MethodContext:
    """Return what the method of a configuration may see; the model must be the aligned one."""
    loaded = session.loaded

    def base() -> nn.Module:
        model = load_base(loaded)
        if model is None:
            raise DataError(f"the model {config.model.source!r} ships no base model.")
        return model

    return MethodContext(
        config=config,
        model=session.model,
        anatomy=loaded.anatomy,
        chat=loaded.chat,
        aligned=session.aligned,
        prompts=session.prompts,
        yardstick=session.yardstick,
        # Fits see the aligned model, which is what the model still is during setup.
        fit_subspace=other_subspaces(loaded, session.prompts, config, store),
        generator=generator(config.seed, "method"),
        device=torch.device(loaded.device),
        base_model=base if loaded.card.base is not None else None,
    )


def _record(
    config: ExperimentConfig,
    arm: Arm,
    session: Session,
    measurement: Measurement,
    result: TrainingResult,
    durations: dict[str, float],
    attack_fits: dict[str, str],
) -> RunRecord:
    times = time_values(
        result.train_seconds,
        result.seconds_per_step_median,
        result.seconds_per_step_p95,
        config.training.steps,
    )
    warnings = (*session.warnings, *thought_notes(measurement.tables))
    if result.cut_examples:
        limit = config.training.max_length
        warnings += (f"{result.cut_examples} examples were cut to max_length = {limit} tokens",)
    loaded = session.loaded
    provenance = collect(durations, device=loaded.device, weights=loaded.origin)
    return RunRecord(
        run_id=config.run_id,
        experiment_id=config.experiment_id,
        variant=arm.label,
        config=config,
        arm=arm,
        provenance=provenance.model_copy(update={"peak_memory_bytes": peak_since_reset()}),
        protocol=session.protocol(config),
        metrics={**measurement.values, **times},
        fits={
            "subspace": session.yardstick.subspace_fit,
            "features": session.yardstick.features_fit,
            "reference": session.reference_fit,
            **attack_fits,
        },
        warnings=warnings,
    )


def model_saver(session: Session) -> Callable[[Path], None]:
    """Return what writes the model as it is now, with its tokenizer, into a folder."""

    def save(folder: Path) -> None:
        model: Any = session.model
        model.save_pretrained(str(folder))
        session.loaded.tokenizer.save_pretrained(str(folder))

    return save

"""Measuring a finished checkpoint like a run of our own, with training left out."""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.arms import Arm
from cwac.artifacts import ArtifactStore
from cwac.config import MEASURED, NO_TASK, ExperimentConfig, TrainingConfig
from cwac.errors import ConfigError
from cwac.interfaces import Measurement
from cwac.metrics.alignment import alignment_values
from cwac.metrics.behaviour import thought_notes
from cwac.metrics.speed import TIME_INFOS
from cwac.models.card import contents_of, read_card
from cwac.models.checking import check_shapes
from cwac.models.folders import resolve_folder
from cwac.models.gguf import absolute_gguf
from cwac.models.loading import load_base, load_weights
from cwac.provenance import collect, peak_since_reset, reset_peak
from cwac.records import RunRecord
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.relearning import relearn
from cwac.runner.resolve import resolve
from cwac.runner.session import Session, measure_all, open_session
from cwac.runner.tuned import Tuned, check_base, check_fits, load_tuned
from cwac.seeding import seed_everything

_LONGEST: Final = 60
_UNTELLING: Final = re.compile(r"checkpoint-\d+|model|final|merged|adapter")
"""Folder names that do not say which model it is; the folder above does."""


def resolve_measured(
    raw: Mapping[str, Any],
    tuned: str | Path,
    *,
    base: str | Path | None = None,
    name: str | None = None,
) -> ExperimentConfig:
    """Return the complete configuration of a measurement.

    Parameters
    ----------
    raw : mapping
        Sections as for :func:`cwac.runner.resolve`; ``model`` is the aligned model. Without a
        task the model's own is measured, none where it ships none.
    tuned : str or Path
        The checkpoint: folder, hub id, or a peft adapter.
    base : str or Path, optional
        The model before alignment; the aligned model's own where its folder ships it.
    name : str, optional
        The arm's name; the checkpoint's folder name without one.

    Raises
    ------
    CwacError
        A folder or value is wrong.
    """
    (blank,) = resolve(with_task(raw), ["sft"], [0])
    folder, aligned = resolve_folder(tuned), resolve_folder(blank.model.place)
    # Before minutes of fitting what it is measured with.
    check_fits(folder, aligned)
    settings: dict[str, Any] = {
        "name": checked_name(name or _name_of(str(tuned), folder)),
        "source": _absolute(tuned),
        "contents": contents_of(folder),
    }
    if base is not None:
        before = resolve_folder(base)
        check_base(before, aligned)
        settings |= {"base": _absolute(base), "base_contents": contents_of(before)}
    return _of_checkpoint(blank, settings)


def measured_config(raw: Mapping[str, Any], settings: Mapping[str, str]) -> ExperimentConfig:
    """Return the complete configuration of a measurement of any weights.

    Parameters
    ----------
    raw : mapping
        As for `resolve_measured`.
    settings : mapping
        Of the arm: its ``name``, and ``source`` and ``contents`` of the weights.
    """
    (blank,) = resolve(with_task(raw), ["sft"], [0])
    return _of_checkpoint(blank, settings)


def _of_checkpoint(blank: ExperimentConfig, settings: Mapping[str, str]) -> ExperimentConfig:
    return ExperimentConfig.build(
        {
            **dict(blank),
            # How it was trained is not known here; one value for all keeps them comparable.
            "training": TrainingConfig(),
            "poison_ratio": 0.0,
            "method": MEASURED,
            "settings": dict(settings),
        }
    )


def measured_arm(config: ExperimentConfig) -> Arm:
    """Return the arm of a checkpoint that was trained elsewhere: its name is all that is known."""
    return Arm(method=MEASURED, changed={"name": config.settings["name"]})


def measure_one(
    config: ExperimentConfig,
    store: ArtifactStore,
    *,
    listener: Listener = ignore,
    stop: Callable[[], bool] = never,
    session: Session | None = None,
) -> RunRecord:
    """Measure a checkpoint against its aligned model and store an ordinary run.

    Numbers of training are not measured (None), and there is no trajectory.

    Parameters
    ----------
    config : ExperimentConfig
        As `resolve_measured` returns it.
    session : Session, optional
        The opened experiment; it is opened here without one.

    Raises
    ------
    CwacError
        The aligned model or the checkpoint cannot be used, or it was asked to stop.
    """
    progress = RunProgress(config.run_id, measured_arm(config), config.seed, listener, stop)
    reset_peak()
    if session is None:
        progress.report("setup", 0.0, "starting")
        session = open_session(config, store, progress.within("setup", 0.0, 0.9, ""))
    began = time.perf_counter()
    progress.report("setup", 0.95, "loading the tuned model")
    session.reset()
    tuned = load_tuned(resolve_folder(config.settings["source"]), session.loaded)
    against_base = _against_base(config, session, tuned.model)
    loading = time.perf_counter() - began

    return store_measured(
        config, store, session, tuned, progress, stop=stop, values=against_base, loading=loading
    )


def store_measured(
    config: ExperimentConfig,
    store: ArtifactStore,
    session: Session,
    tuned: Tuned,
    progress: RunProgress,
    *,
    stop: Callable[[], bool] = never,
    values: Mapping[str, Any] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    loading: float = 0.0,
) -> RunRecord:
    """Measure weights that stand in for the aligned model's, and store an ordinary run.

    Parameters
    ----------
    values, tables : mapping, optional
        Metrics and tables that were taken elsewhere.
    loading : float
        Seconds that it took to get at the weights.
    """
    began = time.perf_counter()
    with session.standing_in(tuned.model):
        seed_everything(config.seed)
        context = session.measure_context(config, reference=session.reference)
        measurement = measure_all(context, lambda s, text: progress.report("measuring", s, text))
        again = relearn(context, stop)
        measurement.values |= again.values
        measurement.tables |= {**(tables or {}), **again.tables}
    untimed = {info.name: info.value(None) for info in TIME_INFOS}
    measurement.values |= {**(values or {}), **untimed}
    durations = {
        "setup": session.seconds + loading,
        "measurement": time.perf_counter() - began,
    }
    record = _record(config, session, measurement, durations, tuned.notes)
    store.save_run(record, measurement.tables, measurement.arrays)
    progress.report("done", 1.0, "stored")
    return store.load(record.run_id)


def _against_base(config: ExperimentConfig, session: Session, tuned: Any) -> dict[str, Any]:
    aligned, source = session.loaded, config.settings.get("base")
    if source is None:
        base = load_base(aligned)
    else:
        folder = resolve_folder(source)
        base = load_weights(folder, aligned.device)
        check_shapes(base, aligned.model, folder)
    if base is None:
        return {}
    return alignment_values(tuned, session.aligned, base, aligned.anatomy.maps)


def _record(
    config: ExperimentConfig,
    session: Session,
    measurement: Measurement,
    durations: dict[str, float],
    notes: tuple[str, ...],
) -> RunRecord:
    loaded = session.loaded
    provenance = collect(durations, device=loaded.device, weights=loaded.origin)
    return RunRecord(
        run_id=config.run_id,
        experiment_id=config.experiment_id,
        variant=measured_arm(config).label,
        config=config,
        arm=measured_arm(config),
        provenance=provenance.model_copy(update={"peak_memory_bytes": peak_since_reset()}),
        protocol=session.protocol(config),
        metrics=measurement.values,
        fits={
            "subspace": session.yardstick.subspace_fit,
            "features": session.yardstick.features_fit,
            "reference": session.reference_fit,
        },
        warnings=(*session.warnings, *notes, *thought_notes(measurement.tables)),
    )


def with_task(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections with no task where none is named and the aligned model ships none."""
    if "task" in raw:
        return dict(raw)
    model = raw.get("model", {})
    source = model if isinstance(model, str) else model.get("source")
    ships = source is None or read_card(resolve_folder(source)).tasks is not None
    return dict(raw) if ships else {**raw, "task": NO_TASK}


def _absolute(source: str | Path) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.is_dir() else absolute_gguf(str(source))


def _name_of(source: str, folder: Path) -> str:
    path = folder if Path(source).expanduser().is_dir() else Path(source)
    if not _UNTELLING.fullmatch(path.name):
        return path.name
    known = path.name.startswith("checkpoint-")
    return f"{path.parent.name} {path.name}" if known else path.parent.name


def checked_name(name: str) -> str:
    """Return the name of an arm as it is stored.

    Raises
    ------
    ConfigError
        It is empty, or holds what labels put before the name of another experiment.
    """
    name = " ".join(name.split())[:_LONGEST]
    # Labels put the name of a compared experiment behind this sign, and must differ from others.
    if not name or " @ " in name:
        raise ConfigError(f"the name {name!r} is not allowed: it is empty or holds ' @ '.")
    return name

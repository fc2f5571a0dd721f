"""After-training defences on a finished checkpoint: what a run applies at its end, alone.

Somebody has tuned a model and only then sees that it stopped refusing. The methods of the stage
"after training" need the aligned model and the tuned one, and no training of ours.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cwac.artifacts import ArtifactStore
from cwac.artifacts.atomic import writing_folder
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.methods import METHODS
from cwac.models.folders import resolve_folder
from cwac.runner.checks import check_needs
from cwac.runner.measure import measured_arm, with_task
from cwac.runner.one import method_context, model_saver
from cwac.runner.progress import Listener, RunProgress, ignore, never
from cwac.runner.resolve import Arm, arm_of, resolve
from cwac.runner.session import Session, open_session
from cwac.runner.tuned import load_tuned
from cwac.seeding import seed_everything

STAGE: Final = "after training"


@dataclass(frozen=True)
class Repaired:
    """A repaired checkpoint.

    Attributes
    ----------
    folder : Path
        An ordinary model folder.
    title : str
        The method's, with the settings that differ from its defaults.
    diagnostics : mapping
        What the method says of what it did.
    session : Session
        The opened experiment, for measuring.
    """

    folder: Path
    title: str
    diagnostics: Mapping[str, float]
    session: Session


def repairing_methods() -> tuple[str, ...]:
    """Return the names of the methods that act on a finished checkpoint."""
    return tuple(name for name, kind in METHODS.items() if kind.stage == STAGE)


def repair(
    raw: Mapping[str, Any],
    measured: ExperimentConfig,
    arm: Arm,
    out: Path,
    store: ArtifactStore,
    *,
    listener: Listener = ignore,
    stop: Callable[[], bool] = never,
) -> Repaired:
    """Apply a method to a finished checkpoint and save the result as a model folder.

    Parameters
    ----------
    raw : mapping
        Sections as for :func:`cwac.runner.resolve`; ``model`` is the aligned model.
    measured : ExperimentConfig
        The checkpoint's, as :func:`cwac.runner.measure.resolve_measured` returns it.
    arm : Arm
        A method of the stage "after training" and its settings.
    out : Path
        A folder that does not exist yet.

    Raises
    ------
    CwacError
        The method acts during training, the folder exists, the models do not fit, or it was
        asked to stop.
    """
    kind = METHODS[arm.method]
    if kind.stage != STAGE:
        raise ConfigError(
            f"{arm.method} acts while a model is trained and cannot repair a finished one; "
            f"those that can: {', '.join(repairing_methods())}."
        )
    if out.exists():
        raise ConfigError(f"{out} exists already; name a folder that does not.")
    (config,) = resolve(with_task(raw), [arm], [0])
    progress = RunProgress(measured.run_id, measured_arm(measured), 0, listener, stop)
    session = open_session(measured, store, progress.within("setup", 0.0, 0.9, ""))
    check_needs(kind, session.loaded.card, session.prompts)
    session.reset()
    seed_everything(config.seed)
    method = kind(kind.settings_type.build(config.settings, where=config.method))
    # The method is set up on the aligned model, as at the start of a training.
    method.setup(method_context(session, config, store))
    progress.report("setup", 0.95, "loading the tuned model")
    tuned = load_tuned(resolve_folder(measured.settings["source"]), session.loaded)
    progress.report("training", 0.0, f"repairing with {kind.title}")
    with session.standing_in(tuned.model):
        method.finish(tuned.model)
        with writing_folder(out) as folder:
            model_saver(session)(folder)
    progress.report("training", 1.0, "repaired")
    title = arm_of(config, session.loaded.card).title
    return Repaired(out, title, method.diagnostics(), session)

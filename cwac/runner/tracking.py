"""What a grid of runs tells, in an experiment tracker: TensorBoard, Trackio or Weights & Biases."""

import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from contextvars import Context
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from accelerate import PartialState
from accelerate.state import is_initialized
from accelerate.tracking import (
    GeneralTracker,
    TensorBoardTracker,
    TrackioTracker,
    WandBTracker,
)

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, ConfigError, UnknownNameError, first_line
from cwac.runner.progress import Event, Listener
from cwac.sources import slug

LOGS: Final = ".logs"
"""The folder of a root for what trackers write to the disk."""
PROJECT: Final = "cwac-lab"
TRACKERS: Final = ("tensorboard", "trackio", "wandb")
"""By the names of their packages, which are the lab's extras too."""
# As transformers' own Trainer calls them.
_STEP_NAMES: Final = {"task_loss": "loss", "gradient_norm": "grad_norm"}


class Tracking:
    """Follows runs in trackers, each run as a run of its own there.

    Figures of every step are ``train/loss``, ``train/grad_norm``, ``train/learning_rate``,
    ``train/penalty`` and what the method says of its step; those of the probes are
    ``probe/refusal_rate`` and the other columns of the table ``trajectory``; those of the finished
    run are ``final/`` and the metric's name. It is no setting of a run, and no part of its id.

    A tracker that is not installed, or lacks its key, is told of here, before anything is
    prepared. One that cannot be opened for another reason ends a run before its first step; one
    that fails later is left out, with a sentence, and the run goes on.

    Parameters
    ----------
    names : sequence of str
        ``tensorboard``, ``trackio``, ``wandb``.
    root : Path
        Where the runs are stored; ``<root>/.logs`` is for what trackers write.
    configs : sequence of ExperimentConfig
        The runs, whose settings the trackers get.
    warn : callable
        Gets a sentence when a tracker fails.

    Examples
    --------
    ``run_grid(configs, store, listener=tracking.listen)`` inside ``with tracking:``.
    """

    def __init__(
        self,
        names: Sequence[str],
        root: Path,
        configs: Sequence[ExperimentConfig],
        warn: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        check_trackers(names)
        self._names = tuple(dict.fromkeys(names))
        self._root = root
        self._configs = {config.run_id: config for config in configs}
        self._warn = warn
        self._open: dict[str, list[_Run]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for run_id in list(self._open):
            self._close(run_id)

    def listen(self, event: Event) -> None:
        """Log what an event tells.

        Raises
        ------
        ConfigError
            A tracker cannot be opened.
        """
        # Not before there is something: what waits for another process is no run of ours.
        if (event.row or event.steps) and event.run_id not in self._open:
            config = self._configs[event.run_id]
            self._open[event.run_id] = [_Run(n, self._root, event, config) for n in self._names]
        for step, values in _by_step(event):
            self._log(event.run_id, values, step)
        if event.phase == "done" and event.run_id in self._open:
            with suppress(ArtifactError):
                metrics = ArtifactStore(self._root).load(event.run_id).metrics
                values = {f"final/{name}": metric.value for name, metric in metrics.items()}
                self._log(event.run_id, values, self._configs[event.run_id].training.steps)
            self._close(event.run_id)

    def beside(self, listener: Listener) -> Listener:
        """Return a listener that tells another one first."""

        def listen(event: Event) -> None:
            listener(event)
            self.listen(event)

        return listen

    def _log(self, run_id: str, values: Mapping[str, float | None], step: int) -> None:
        measured = {n: float(v) for n, v in values.items() if v is not None and math.isfinite(v)}
        self._each(run_id, lambda run: run.log(measured, step))

    def _close(self, run_id: str) -> None:
        self._each(run_id, _Run.finish)
        del self._open[run_id]

    def _each(self, run_id: str, act: "Callable[[_Run], None]") -> None:
        for run in list(self._open.get(run_id, ())):
            try:
                act(run)
            except Exception as problem:
                # Whatever a tracker's library raises, a training is not lost for it.
                self._open[run_id].remove(run)
                self._warn(f"{run.name} follows {run_id} no more: {first_line(problem)}.")


class _Run:
    """One run in one tracker."""

    def __init__(self, name: str, root: Path, event: Event, config: ExperimentConfig) -> None:
        self.name = name
        # Trackio keeps its run in a context variable and ends it when another begins; runs of a
        # sweep overlap.
        self._context = Context()
        settings = {"run_id": event.run_id, "arm": event.variant, **_settings(config)}
        # A sweep has one arm and seed in several experiments; trackers tell runs by their names.
        title = f"{event.variant} seed {event.seed} {event.run_id.rpartition('-')[2]}"
        try:
            self._tracker: GeneralTracker = self._call(_started, name, root, title, settings)
        except Exception as problem:
            raise ConfigError(f"--log-to {name} cannot be opened: {first_line(problem)}.") from None

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log figures of a step."""
        self._call(self._tracker.log, dict(values), step=step)

    def finish(self) -> None:
        """End the run there."""
        self._call(self._tracker.finish)

    def _call(self, act: Callable[..., Any], *given: Any, **named: Any) -> Any:
        # The output may be read by a program.
        with redirect_stdout(sys.stderr):
            return self._context.run(act, *given, **named)


def _started(name: str, root: Path, title: str, settings: dict[str, Any]) -> GeneralTracker:
    group = {"name": title, "group": settings["experiment_id"], "config": settings}
    if name == "trackio":
        tracker = TrackioTracker(PROJECT, embed=False, **group)
    elif name == "wandb":
        folder = Path(os.environ.get("WANDB_DIR", root / LOGS))
        folder.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        # The bars of a terminal are no log.
        console = {"console": "off"}
        tracker = WandBTracker(
            project, dir=str(folder), reinit="create_new", settings=console, **group
        )
    else:
        tracker = TensorBoardTracker(slug(title), root / LOGS / name)
    if not is_initialized():
        # A sweep trains in other processes; where this one trains, the loop has chosen the device.
        PartialState(cpu=True)
    tracker.start()
    if name == "tensorboard":
        tracker.store_init_configuration(settings)
    return tracker


def check_trackers(names: Iterable[str]) -> None:
    """Do nothing where all trackers are known and installed, and have the key that they need.

    Raises
    ------
    UnknownNameError
        There is no such tracker.
    ConfigError
        Its package is not installed, or it has no key.
    """
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError(f"unknown tracker {name!r}; known: {', '.join(TRACKERS)}.")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"--log-to {name} needs the package {name}, which is not installed; "
                f'pip install "cwac-lab[{name}]" brings it.'
            )
        if name == "wandb":
            _log_in()


def _log_in() -> None:
    """Find the key of Weights & Biases, which asks for it only when its first run begins."""
    import wandb  # noqa: PLC0415 - an extra

    try:
        if wandb.setup().settings.mode not in {"offline", "dryrun", "disabled"}:
            with redirect_stdout(sys.stderr):
                wandb.login(verify=False)
    except Exception as problem:
        raise ConfigError(f"--log-to wandb cannot be opened: {first_line(problem)}.") from None


def _by_step(event: Event) -> list[tuple[int, dict[str, float | None]]]:
    """Return an event's figures by step, each step once: trackers want them in order."""
    steps: dict[int, dict[str, float | None]] = {}
    for report in event.steps:
        values = {f"train/{_STEP_NAMES.get(name, name)}": value for name, value in report.items()}
        steps.setdefault(int(values.pop("train/step") or 0), {}).update(values)
    if event.row is not None:
        probe = {f"probe/{name}": value for name, value in event.row.items() if name != "step"}
        steps.setdefault(int(event.row["step"]), {}).update(probe)
    return sorted(steps.items())


def _settings(config: ExperimentConfig) -> dict[str, str | float | bool]:
    """Return a configuration as one level of plain values, as every tracker takes them."""
    flat: dict[str, str | float | bool] = {"experiment_id": config.experiment_id}

    def walk(prefix: str, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, Mapping):
                walk(f"{prefix}{name}.", value)
            else:
                flat[prefix + name] = value if isinstance(value, bool | int | float) else str(value)

    walk("", config.model_dump(mode="json"))
    return flat

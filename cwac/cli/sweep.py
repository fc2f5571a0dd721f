"""``cwac sweep``: a grid of runs from one file, over processes or a cluster, resumable."""

import importlib.util
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from cwac.cli.output import note, print_json
from cwac.errors import CancelledError, ConfigError, UnknownNameError
from cwac.flags import AsJson, LogTo, Root

if TYPE_CHECKING:
    from cwac.artifacts import ArtifactStore
    from cwac.config import ExperimentConfig
    from cwac.runner.sweep import Cluster, Outcome, SweepResult
    from cwac.runner.sweep.estimate import Estimate
    from cwac.runner.tracking import Tracking

ENGINES: Final = ("local", "ray")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(sweep)


def sweep(  # noqa: PLR0917 - a command's parameters are its flags
    grid: Annotated[Path, typer.Argument(metavar="GRID", help="TOML or JSON file of the grid.")],
    root: Root = Path("runs"),
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="Runs at a time; one thread each above 1.  [1; with ray all processors]",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="Where runs go: local processes, or a ray cluster (the extra 'ray')."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the ray cluster; 'local' starts one.  [one that runs, or local]"),
    ] = None,
    gpus: Annotated[
        float, typer.Option("--gpus", min=0, help="GPUs of one ray worker, or a share of one.")
    ] = 0.0,
    estimate_only: Annotated[
        bool, typer.Option("--estimate", help="Say what it would cost, and start nothing.")
    ] = False,
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Keep the tuned weights with the runs.")
    ] = False,
    log_to: LogTo = None,
    as_json: AsJson = False,
) -> int:
    """Run a grid of methods, strengths, adapters, poison ratios, seeds and tasks from one file.

    What is stored is skipped, so that the same command goes on after an interruption. A run that
    fails leaves the others alone; the failures are listed at the end, with exit status 1.

    Keys of the grid file; only methods has no default:

    \b
      model = "organism"         # preset, model folder or hub id
      tasks = ["instruct"]       # names, files, or tables like a run's [task]
      poison_ratios = [0.1]
      adapters = ["full"]        # full, lora, or tables like a run's [training.adapter]
      attackers = [{}, {learning_rate = 3e-3}]   # ways to train, with keys of [training]
      seeds = [0, 1, 2]
      methods = [                # names, or tables
        "sft",
        {method = "cwac", strengths = [0.1, 0.5]},
        {method = "lisa", settings = {alignment_steps = 5}},
      ]
      [training]                 # also [evaluation], [measurement] and [prompts],
      steps = 200                # with the keys of a file for 'cwac run --config'

    Strengths are values of the method's strength knob, which 'cwac list methods' names.

    With --engine ray the folders of --root and of the model must be shared by all machines of the
    cluster, and the lab must be installed on each.
    """  # noqa: D301 - the backspace keeps the example's lines as they are
    _check_engine(engine, address, gpus)
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.runner.sweep import Cluster, GridFile  # noqa: PLC0415 - loads torch
    from cwac.runner.sweep.cluster import check_address  # noqa: PLC0415
    from cwac.runner.sweep.estimate import estimate  # noqa: PLC0415
    from cwac.runner.tracking import Tracking  # noqa: PLC0415

    try:
        with _ends_on_sigterm():
            if address is not None:
                check_address(address)
            configs = GridFile.read(grid).expand()
            store = writing_store(root)
            tracking = Tracking(log_to or (), root, configs, note)
            with _leaves_on_ctrl_c():
                expected = estimate(configs, store, keep_model=save_model)
            note(_sentence(expected, processes, engine))
            if estimate_only:
                if as_json:
                    wall = expected.wall_seconds(processes or 1)
                    print_json({**asdict(expected), "wall_seconds": wall})
                return 0
            cluster = Cluster(address, processes, gpus) if engine == "ray" else None
            result = _run(configs, store, processes or 1, cluster, save_model, tracking)
    except (KeyboardInterrupt, CancelledError):
        _leave()
    return _finish(result, as_json)


def _check_engine(engine: str, address: str | None, gpus: float) -> None:
    if engine not in ENGINES:
        raise UnknownNameError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}.")
    if engine == "local" and (address is not None or gpus):
        raise ConfigError("--address and --gpus are about a ray cluster; give --engine ray too.")
    if not math.isfinite(gpus) or (gpus > 1 and gpus != int(gpus)):
        raise ConfigError(f"--gpus {gpus:g} is not allowed: a share below 1, or a whole number.")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        # Said before anything is loaded or estimated.
        raise ConfigError(
            "the engine 'ray' needs the package ray, which is not installed; "
            'pip install -e ".[ray]" brings it.'
        )


def _leave() -> NoReturn:
    """End this process at once; taking a loaded model apart can take longer than a user waits."""
    note("Error: interrupted; the same command goes on with what is not stored yet.")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


@contextmanager
def _leaves_on_ctrl_c() -> Iterator[None]:
    """End without unwinding: an estimate stores nothing, and libraries it uses end slowly."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        _leave()

    before = signal.getsignal(signal.SIGINT)
    # Where Ctrl-C is ignored, as in the background, it stays so.
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """End like after Ctrl-C when the system asks to, so that no process is left behind."""

    def cancel(_number: int, _frame: FrameType | None) -> None:
        raise CancelledError("the sweep was cancelled.")

    before = signal.signal(signal.SIGTERM, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(
    configs: "list[ExperimentConfig]",
    store: "ArtifactStore",
    processes: int,
    cluster: "Cluster | None",
    keep_model: bool,
    tracking: "Tracking",
) -> "SweepResult":
    from cwac.cli.live import Live  # noqa: PLC0415 - keeps --help fast
    from cwac.runner.sweep import run_sweep  # noqa: PLC0415 - loads torch

    def heard(outcome: "Outcome") -> None:
        if outcome.state == "failed":
            note(f"{outcome.run_id} failed: {outcome.reason}")

    with Live() as live, tracking:
        live.plan([config.run_id for config in configs])
        return run_sweep(
            configs,
            store,
            processes=processes,
            cluster=cluster,
            keep_model=keep_model,
            listener=tracking.beside(live.listen),
            heard=heard,
        )


def _sentence(expected: "Estimate", processes: int | None, engine: str) -> str:
    counts = f"{expected.runs} runs, {expected.stored} of them stored already"
    if expected.to_run == 0:
        return f"{counts}; nothing to run."
    source = "from stored runs"
    if expected.measured == expected.to_run:
        source = "from a few steps taken now"
    elif expected.measured:
        source = f"{expected.measured} of them from a few steps taken now, others from stored runs"
    opening = "" if expected.setup_seconds is not None else ", opening the experiments not counted"
    one = "one worker" if engine == "ray" else "one process"
    workers = f"{processes} of them, if as fast as one each" if (processes or 1) > 1 else one
    return (
        f"{counts}; {expected.to_run} runs in {expected.experiments} experiments take about "
        f"{spell(expected.wall_seconds(processes or 1))} with {workers} ({source}{opening})."
    )


def spell(seconds: float) -> str:
    """Return a length of time in words for people.

    Examples
    --------
    >>> spell(42.4), spell(300), spell(9000)
    ('42 s', '5 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _finish(result: "SweepResult", as_json: bool) -> int:
    if as_json:
        values: dict[str, Any] = asdict(result)
        print_json(values)
    else:
        note(
            f"{len(result.stored)} runs stored now, {len(result.skipped)} were stored before, "
            f"{len(result.elsewhere)} left to another process, {len(result.failed)} failed."
        )
        for run_id, reason in result.failed.items():
            note(f"{run_id} failed: {reason}")
    return 1 if result.failed else 0

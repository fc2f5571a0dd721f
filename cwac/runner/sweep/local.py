"""Workers of a sweep on this machine: in this process, or in several of their own."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import torch

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.runner.progress import Event, Listener
from cwac.runner.sweep.schedule import Schedule
from cwac.runner.worker import Outcome, Worker

ONE_THREAD: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
CHILD: Final = (sys.executable, "-m", "cwac.runner.sweep.child")
"""What a process of its own runs, before the roots."""
_GRACE: Final = 1.0
"""Seconds that a worker has to end before it is killed."""
Heard = Callable[[Outcome], None]


def plain(value: Any) -> Any:
    """Return what JSON can hold of a value in a sign of life."""
    return value.item() if hasattr(value, "item") else dict(value)


def sweep_worker(roots: Sequence[str], keep_model: bool, listener: Listener) -> Worker:
    """Return a worker that no failure of a run ends."""
    store = ArtifactStore(*(Path(root) for root in roots))
    return Worker(store, keep_model=keep_model, survives=(Exception,), listener=listener)


def one_thread_worker(roots: Sequence[str], keep_model: bool, listener: Listener) -> Worker:
    """Return a worker of a sweep for a process that has others beside it."""
    torch.set_num_threads(1)
    return sweep_worker(roots, keep_model, listener)


def run_here(
    schedule: Schedule, roots: Sequence[str], keep_model: bool, listener: Listener, heard: Heard
) -> None:
    """Run everything in this process, one run after another."""
    worker = sweep_worker(roots, keep_model, listener)
    while (config := schedule.next(0)) is not None:
        heard(worker.run(config))


def run_in_processes(
    schedule: Schedule,
    count: int,
    roots: Sequence[str],
    keep_model: bool,
    listener: Listener,
    heard: Heard,
) -> None:
    """Run everything in `count` processes of one torch thread each.

    A process that dies costs the run it was at; another takes its place.
    """
    lines: SimpleQueue[tuple[int, str]] = SimpleQueue()
    command = [*CHILD, *roots]
    command += ["--keep-model"] if keep_model else []
    at: dict[int, ExperimentConfig] = {}
    with _Children(command, lines) as children:

        def occupy(number: int) -> None:
            config = schedule.next(number)
            if config is None:
                at.pop(number, None)
                children.dismiss(number)
                return
            at[number] = config
            children.send(number, config.model_dump(mode="json"))

        for _ in range(min(count, len(schedule))):
            occupy(children.start())
        while at:
            number, line = lines.get()
            if not line:
                if number in at:
                    heard(_died(at.pop(number), children.status(number)))
                    schedule.leave(number)
                    if len(schedule):
                        occupy(children.start())
                continue
            message = json.loads(line)
            if message.pop("kind") == "event":
                listener(Event(**message))
            else:
                heard(Outcome(**message))
                occupy(number)


def _died(config: ExperimentConfig, status: int) -> Outcome:
    how = f"signal {-status}" if status < 0 else f"exit status {status}"
    return Outcome(config.run_id, "failed", f"its process ended with {how}.")


class _Children:
    """Processes that end with the block, whatever ends it.

    Parameters
    ----------
    command : sequence of str
        What each of them runs.
    lines : SimpleQueue
        Gets the number of a process with each line that it writes, and with "" at its end.
    """

    def __init__(self, command: Sequence[str], lines: "SimpleQueue[tuple[int, str]]") -> None:
        self._command = list(command)
        self._lines = lines
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "_Children":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self) -> int:
        """Start one more and return its number."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **dict.fromkeys(ONE_THREAD, "1")},
            # Ctrl-C reaches this process alone, which then ends the others.
            start_new_session=True,
        )
        self._processes.append(process)
        number = len(self._processes) - 1
        threading.Thread(target=self._read, args=(number,), daemon=True).start()
        return number

    def _read(self, number: int) -> None:
        output = self._processes[number].stdout
        assert output is not None
        for line in output:
            self._lines.put((number, line))
        self._lines.put((number, ""))

    def send(self, number: int, values: Any) -> None:
        """Give a process its next run; one that is dead says so by its end of output."""
        with suppress(BrokenPipeError):
            stdin = self._processes[number].stdin
            assert stdin is not None
            stdin.write(json.dumps(values) + "\n")
            stdin.flush()

    def dismiss(self, number: int) -> None:
        """Tell a process that nothing more comes."""
        stdin = self._processes[number].stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.close()

    def status(self, number: int) -> int:
        """Return how a process whose output has ended did end."""
        return self._processes[number].wait()

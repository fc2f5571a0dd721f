"""Progress of ``cwac run`` for a person: a moving bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from cwac.runner import Event

_MANY: Final = 12
"""Runs from which on a finished one's bar is taken off the screen."""


class Watcher(Protocol):
    """Who follows a grid of runs: a person at a terminal, or a job's files."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, also after a failure."""

    def plan(self, run_ids: Sequence[str]) -> None:
        """Hear which runs are asked for."""

    def listen(self, event: "Event") -> None:
        """Hear a sign of life."""

    def stopped(self) -> bool:
        """Whether the user wants the runs to end."""

    def close(self, failed: Mapping[str, str]) -> None:
        """Hear that all runs are over, and which failed why."""


class Live:
    """Draws progress on the error output, so that the results can be piped."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, Any] = {}
        self._stages: dict[str, str] = {}
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def plan(self, run_ids: Sequence[str]) -> None:
        """Remember how many runs are asked for."""
        self._total = len(run_ids)

    def listen(self, event: "Event") -> None:
        """Draw an event."""
        if event.run_id not in self._tasks:
            text = f"{event.variant} seed {event.seed}"
            self._tasks[event.run_id] = self._progress.add_task(text, total=1.0, doing="")
        task = self._tasks[event.run_id]
        description = f"{event.variant} seed {event.seed}"
        self._progress.update(
            task,
            completed=event.fraction,
            doing=event.message,
            description=description,
            # A long list of finished bars would push the moving ones off the screen.
            visible=event.phase != "done" or self._total <= _MANY,
        )
        if event.row is not None:
            self._print(f"  {description}: {describe(event.row)}")
        elif not self._console.is_terminal and _stage(event) != self._stages.get(event.run_id):
            # By run, because several may be under way at the same time.
            self._stages[event.run_id] = _stage(event)
            number = list(self._tasks).index(event.run_id) + 1
            clock = time.strftime("%H:%M:%S", time.localtime(event.time))
            self._print(f"{clock} {description} ({number}/{self._total}): {_stage(event)}")

    def _print(self, text: str) -> None:
        if self._console.is_terminal:
            self._console.print(text, markup=False)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def stopped(self) -> bool:
        """Never: a person presses Ctrl-C."""
        return False

    def close(self, failed: Mapping[str, str]) -> None:
        """Nothing to do: the failures are printed after the table."""


def _stage(event: "Event") -> str:
    # Set-up can take minutes when SAEs are fitted, so its parts are told apart.
    return event.message if event.phase == "setup" else event.phase


def describe(row: Mapping[str, Any]) -> str:
    """Return a probe in a few words."""
    parts = [f"step {row['step']:>4}"]
    for name, text, form in (
        ("task_loss", "task loss", ".3f"),
        ("safety_loss_normalised", "safety loss", ".3f"),
        ("refusal_rate", "refusal rate", ".2f"),
        ("drift_inside", "drift inside", ".3f"),
        ("drift_outside", "outside", ".3f"),
    ):
        if row.get(name) is not None:
            parts.append(f"{text} {row[name]:{form}}")
    return ", ".join(parts)

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
EVERY: Final = 2.5
"""Seconds between two lines of a run where there is no terminal. The worker says something at least
as often (`cwac.runner.progress.alive`), so that five seconds never pass without a line."""


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
        self._stages: dict[str, tuple[str, float]] = {}
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
            doing=f"{event.message}{_outlook(event)}",
            description=description,
            # A long list of finished bars would push the moving ones off the screen.
            visible=event.phase != "done" or self._total <= _MANY,
        )
        if event.row is not None:
            self._print(f"  {description}: {describe(event.row)}")
        elif not self._console.is_terminal and self._due(event):
            number = list(self._tasks).index(event.run_id) + 1
            self._print(
                f"{_clock(event.time)} {description} ({number}/{self._total}), "
                f"{event.fraction:.0%}: {_doing(event)}{_outlook(event)}"
            )

    def _due(self, event: "Event") -> bool:
        """Whether a line is due: at every new phase, else every few seconds."""
        # By run, because several may be under way at the same time.
        phase, told = self._stages.get(event.run_id, ("", 0.0))
        if phase == event.phase and event.time - told < EVERY:
            return False
        self._stages[event.run_id] = (event.phase, event.time)
        return True

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


def _doing(event: "Event") -> str:
    # Messages of set-up say what they are part of themselves.
    parts = (None if event.phase in ("setup", event.message) else event.phase, event.message)
    return ": ".join(part for part in parts if part)


def _outlook(event: "Event") -> str:
    """Return until when the phase lasts and what follows it, as far as that is known."""
    until = "" if event.until is None else f", until about {_clock(event.until)}"
    return until + (f"; then {', '.join(event.left)}" if event.left else "")


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


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

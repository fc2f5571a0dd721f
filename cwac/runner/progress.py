"""What a run tells while it works, in one form for the terminal, job files and tests."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from cwac.arms import Arm
from cwac.errors import CancelledError

Phase = Literal["setup", "training", "measuring", "done"]

# Share of a run's time at which a phase begins and ends; only a progress bar depends on it.
_SPANS: Final[Mapping[Phase, tuple[float, float]]] = {
    "setup": (0.0, 0.1),
    "training": (0.1, 0.7),
    "measuring": (0.7, 1.0),
    "done": (1.0, 1.0),
}
SILENT: Final = 2.0
"""Seconds without a word after which the last one is repeated."""
_TELLING: Final = 0.02
"""Share of a phase from which on its pace tells when it will be over."""


@dataclass(frozen=True)
class Event:
    """One sign of life.

    Attributes
    ----------
    fraction : float
        Share of the whole run that is done, 0 to 1.
    row : mapping or None
        The trajectory's new row, at a probe.
    steps : sequence of mapping
        Figures of the optimiser steps since the last event that had some.
    """

    run_id: str
    variant: str
    seed: int
    phase: Phase
    fraction: float
    message: str
    row: Mapping[str, Any] | None = None
    arm: Mapping[str, Any] | None = None
    """The arm as plain data, for views of a run that is not stored yet."""
    until: float | None = None
    """When the phase is over at the pace it has had so far, in seconds since 1970; None where
    that cannot be told yet."""
    left: tuple[str, ...] = ()
    """The phases that follow."""
    steps: Sequence[Mapping[str, float]] = ()
    time: float = field(default_factory=time.time)


Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listen to nothing."""


def never() -> bool:
    """Never ask a run to stop."""
    return False


@contextmanager
def alive(listener: Listener, every: float = SILENT) -> Iterator[Listener]:
    """Give a listener whose last event is repeated while nothing new is heard.

    Some stages are one call of a library that says nothing for long: an eigendecomposition, a map
    of thousands of latents, an import.

    Parameters
    ----------
    every : float
        Seconds of silence.
    """
    lock, over = threading.Lock(), threading.Event()
    last: list[Event] = []

    def listen(event: Event) -> None:
        with lock:
            last[:] = [event]
            listener(event)

    def repeat() -> None:
        while not over.wait(every / 4):
            with lock:
                now = time.time()
                if not last or last[0].phase == "done" or now - last[0].time < every:
                    continue
                until = last[0].until
                late = until is not None and until < now
                last[0] = replace(
                    last[0], row=None, steps=(), time=now, until=None if late else until
                )
                listener(last[0])

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield listen
    finally:
        over.set()
        thread.join()


class RunProgress:
    """Turns the shares of one run's phases into events, and ends the run when asked to.

    Parameters
    ----------
    listener : callable
        Gets every :class:`Event`.
    stop : callable
        Asked at every report whether the user wants the run to end.
    """

    def __init__(
        self,
        run_id: str,
        arm: Arm,
        seed: int,
        listener: Listener = ignore,
        stop: Callable[[], bool] = never,
    ) -> None:
        self._who = (run_id, arm.label, seed)
        self._arm = arm.model_dump(mode="json")
        self._listener = listener
        self._stop = stop
        self._began: tuple[Phase, float, float] | None = None

    def report(
        self,
        phase: Phase,
        share: float,
        message: str,
        row: Mapping[str, Any] | None = None,
        steps: Sequence[Mapping[str, float]] = (),
    ) -> None:
        """Tell that `share` (0 to 1) of a phase is done.

        Raises
        ------
        CancelledError
            The run was asked to stop.
        """
        if self._stop():
            raise CancelledError("the run was cancelled.")
        low, high = _SPANS[phase]
        share = min(max(share, 0.0), 1.0)
        fraction = low + (high - low) * share
        now = time.time()
        phases = list(_SPANS)
        self._listener(
            Event(
                *self._who,
                phase,
                fraction,
                message,
                row,
                self._arm,
                until=self._until(phase, share, now),
                left=tuple(phases[phases.index(phase) + 1 : -1]),
                steps=steps,
                time=now,
            )
        )

    def _until(self, phase: Phase, share: float, now: float) -> float | None:
        if self._began is None or self._began[0] != phase:
            self._began = (phase, share, now)
        _, first, began = self._began
        if share - first < _TELLING:
            return None
        return now + (now - began) * (1.0 - share) / (share - first)

    def within(self, phase: Phase, low: float, high: float, message: str) -> Callable[..., None]:
        """Return a callable that reports shares of one part of a phase.

        Fits call it as ``(share, message)``, metrics as ``(share,)``.
        """

        def inner(share: float, text: str = "") -> None:
            self.report(phase, low + (high - low) * share, text or message)

        return inner

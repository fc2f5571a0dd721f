"""What a run tells while it works, in one form for the terminal, job files and tests."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Event:
    """One sign of life.

    Attributes
    ----------
    fraction : float
        Share of the whole run that is done, 0 to 1.
    row : mapping or None
        The trajectory's new row, at a probe.
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
    time: float = field(default_factory=time.time)


Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listen to nothing."""


def never() -> bool:
    """Never ask a run to stop."""
    return False


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

    def report(
        self,
        phase: Phase,
        share: float,
        message: str,
        row: Mapping[str, Any] | None = None,
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
        fraction = low + (high - low) * min(max(share, 0.0), 1.0)
        self._listener(Event(*self._who, phase, fraction, message, row, self._arm))

    def within(self, phase: Phase, low: float, high: float, message: str) -> Callable[..., None]:
        """Return a callable that reports shares of one part of a phase.

        Fits call it as ``(share, message)``, metrics as ``(share,)``.
        """

        def inner(share: float, text: str = "") -> None:
            self.report(phase, low + (high - low) * share, text or message)

        return inner

"""How work says how far it is: always the share that is done, then what is being done.

Stands alone, because every module of this folder and the sessions of the runner speak it.
"""

from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and what is being done."""


def silent(_share: float, _message: str) -> None:
    """Report progress to nobody."""


def report_part(progress: Progress, low: float, high: float) -> Progress:
    """Return a progress callable for the part of the work between two shares."""

    def report(share: float, message: str) -> None:
        progress(low + share * (high - low), message)

    return report

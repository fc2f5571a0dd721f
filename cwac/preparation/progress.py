"""How work says how far it is: always the share that is done, then what is being done.

Stands alone, because every module of this folder and the sessions of the runner speak it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and what is being done."""
_Thing = TypeVar("_Thing")


def silent(_share: float, _message: str) -> None:
    """Report progress to nobody."""


def counted(progress: Progress, total: int, message: str) -> Callable[[float], None]:
    """Return a callable that reports shares of `total` things as how many of them are done."""

    def report(share: float) -> None:
        progress(share, f"{message}, {round(share * total)} of {total}")

    return report


def telling(things: Sequence[_Thing], report: Callable[[float], None]) -> Iterator[_Thing]:
    """Give things one after another and report, before each, the share that is done."""
    for number, thing in enumerate(things):
        report(number / len(things))
        yield thing


def report_part(progress: Progress, low: float, high: float) -> Progress:
    """Return a progress callable for the part of the work between two shares."""

    def report(share: float, message: str) -> None:
        progress(low + share * (high - low), message)

    return report

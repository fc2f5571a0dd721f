"""Work that came in with data, within bounds of time and memory: it may never end by itself."""

import contextlib
import gc
import os
import re
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, Final, Never

import psutil

from cwac.errors import first_line

# As PyTorch's loaders of data do: elsewhere the system's libraries do not bear it.
FORKS: Final = sys.platform == "linux"
"""Whether :func:`apart` makes a process of its own; elsewhere it works in this one, unbounded."""
_PATIENCE: Final = 6
"""How much longer than its own time work may take on a busy machine."""
_REPEATS: Final = re.compile(r"[*+?{]")
_PLACES: Final = 16
"""Of a text where a match is looked for before the clock is: one at a time takes four times as
long."""
_PIECE: Final = 65_536
_LONG: Final = 300
"""Letters of a text up to which a search ends by itself, for 4,096 steps at each of its places."""


class TooMuchError(Exception):
    """Work reached a bound; the message says which."""


class BrokenError(Exception):
    """Work ended in an error of its own; the message is the error's first line."""


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """End the block with an error once it has computed for so long.

    Python's regular expressions look for signals while they match, some only where :func:`matches`
    lets them. Where there are none to send (another thread than the main one, Windows), the block
    is not bounded.

    Parameters
    ----------
    seconds : float
        Of this process's own time, which a busy machine does not lengthen.

    Raises
    ------
    TooMuchError
        It took longer.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not hasattr(signal, "setitimer"):
        yield
        return

    def end(_number: int, _frame: Any) -> Never:
        raise TooMuchError(f"more than {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Return ``pattern.finditer(text)``, which `interrupted_after` ends in time.

    Python looks for signals at every 4,096th step of a match, and one step may run over all of the
    text. Some versions (3.11.2) count these steps anew at each place where a match may begin, so
    that a search which takes fewer at every place never looks. Where a pattern repeats something, a
    long text is therefore tried a few places at a time first, with Python in between; the search
    itself then takes no longer than that did.
    """
    place, end = 0, len(text)
    repeats = end > _LONG and _REPEATS.search(pattern.pattern)
    while repeats and place <= end:
        stop = min(place + _PLACES, end + 1)
        found = next(filter(None, map(pattern.match, repeat(text), range(place, stop))), None)
        place = stop if found is None else max(found.start() + 1, found.end())
    return pattern.finditer(text)


def apart(work: Callable[[], str], *, seconds: int, memory: int) -> str:
    """Return the text that work makes in a process of its own, which the system ends in time.

    A single step of it (a product of huge numbers, say) cannot be interrupted from inside.

    Parameters
    ----------
    work : callable
    seconds : int
        Of the process's own time.
    memory : int
        Bytes beyond what this process holds.

    Raises
    ------
    TooMuchError
        It reached a bound.
    BrokenError
        It raised another error.
    """
    if not FORKS:
        return _outcome(work, memory)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of the locks of other threads; the work takes none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer(work, writing, seconds, memory)
    os.close(writing)
    try:
        heard = _read(reading, time.monotonic() + _PATIENCE * seconds)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        number = os.WTERMSIG(os.waitpid(child, 0)[1])
    if heard is None or (not heard and number in {signal.SIGXCPU, signal.SIGKILL}):
        raise TooMuchError(f"more than {seconds} seconds")
    kind, text = heard[:1], heard[1:].decode("utf-8", "surrogatepass")
    if kind == b"=":
        return text
    if kind == b"!":
        raise TooMuchError(text)
    raise BrokenError(text or f"it ends the process that it runs in (signal {number})")


def _read(reading: int, end: float) -> bytes | None:
    """Return all that comes through a pipe until it is closed, None where that takes too long."""
    pieces: list[bytes] = []
    while select.select([reading], [], [], max(end - time.monotonic(), 0.0))[0]:
        if not (piece := os.read(reading, _PIECE)):
            return b"".join(pieces)
        pieces.append(piece)
    return None


def _answer(work: Callable[[], str], writing: int, seconds: int, memory: int) -> Never:
    """Work in the process that was made for it, write what came of it, and end."""
    import resource  # noqa: PLC0415 - not on every system

    try:
        # Nothing of the other process is cleaned up here.
        gc.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, hard))
        try:
            text = f"={_outcome(work, memory)}"
        except TooMuchError as problem:
            text = f"!{problem}"
        except BrokenError as problem:
            text = f"?{problem}"
        left = text.encode("utf-8", "surrogatepass")
        while left:
            left = left[os.write(writing, left) :]
    finally:
        os._exit(0)


def _outcome(work: Callable[[], str], memory: int) -> str:
    with _little_memory(memory):
        try:
            return work()
        except TooMuchError:
            raise
        except MemoryError:
            problem: Exception = TooMuchError(f"more than {memory / 2**30:.2g} GiB of memory")
        except Exception as other:
            problem = BrokenError(first_line(other))
    raise problem


@contextlib.contextmanager
def _little_memory(most: int) -> Iterator[None]:
    """Let the block take so many bytes at most, where the system can limit it.

    One step can ask for all there is: a text times ten thousand million.
    """
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    whole = psutil.Process().memory_info().vms + most
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (min([whole, *limits]), hard))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

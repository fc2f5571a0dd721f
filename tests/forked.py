"""Processes of their own that need not import everything again: forks of this one.

What is patched here is patched there. Where torch sees a GPU, which a fork cannot use, the process
is a fresh one.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def start(
    target: Callable[..., None], *arguments: Any, log: Path, **environment: str
) -> BaseProcess:
    """Call `target` in a process and a session of its own, which writes to `log`."""
    log.touch()
    torch = sys.modules.get("torch")
    way = "spawn" if torch is not None and torch.cuda.is_available() else "fork"
    given = (target, arguments, log, environment)
    process = multiprocessing.get_context(way).Process(target=_call, args=given, daemon=True)
    process.start()
    return process


def _call(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    log: Path,
    environment: dict[str, str],
) -> None:
    os.setsid()
    os.environ |= environment
    # A suite that runs in the background inherits that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # By name and by number: pytest has files of its own in the place of the first two.
    sys.stdout = sys.stderr = log.open("a", buffering=1, encoding="utf-8")
    for number in (1, 2):
        os.dup2(sys.stdout.fileno(), number)
    if "torch" in sys.modules:
        # Threads do not come along.
        sys.modules["torch"].set_num_threads(1)
    target(*arguments)


def ended(process: BaseProcess, seconds: float) -> int | None:
    """Return the exit status of a process, None where it is still there after so long."""
    process.join(seconds)
    return process.exitcode


def kill(process: BaseProcess) -> None:
    """End a process that may be over already."""
    process.kill()
    process.join()


def wait_for(condition: Callable[[], object], seconds: float = 500.0) -> None:
    """Return as soon as a condition holds."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")

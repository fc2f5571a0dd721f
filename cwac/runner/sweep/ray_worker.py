"""What runs on the machines of a cluster; started by :mod:`cwac.runner.sweep.cluster`."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

from cwac.config import ExperimentConfig
from cwac.runner.claims import CLAIMS
from cwac.runner.progress import Event
from cwac.runner.sweep.local import one_thread_worker, plain
from cwac.runner.worker import Worker

_NEWS: Final = 1.0
"""Seconds that a worker without news waits for some before it says that there is none."""


class RayWorker:
    """A worker whose signs of life can be asked for while it works."""

    def __init__(self, roots: Sequence[str], keep_model: bool, folder: str) -> None:
        # What libraries print joins the errors: the sweep's output may be read by a program.
        os.dup2(2, 1)
        # Relative names of models and files mean the same as where the sweep was started.
        with suppress(OSError):
            os.chdir(folder)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._roots = list(roots)
        self._keep_model = keep_model
        self._worker: Worker | None = None

    def sees(self, name: str) -> tuple[bool, str]:
        """Whether the root holds a file, and the name of this machine."""
        return (Path(self._roots[0]) / CLAIMS / name).is_file(), platform.node()

    def run(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """Run one configuration; return its outcome's values and the news not asked for yet."""
        if self._worker is None:
            # Made here, so that torch is set up in the thread that uses it.
            self._worker = one_thread_worker(self._roots, self._keep_model, self._events.put)
        outcome = asdict(self._worker.run(ExperimentConfig.build(dict(values))))
        return outcome, self.news(0.0)

    def news(self, patience: float = _NEWS) -> str:
        """Return what happened since the last time, as JSON; waits a little for the first."""
        events = []
        with suppress(Empty):
            events.append(asdict(self._events.get(timeout=patience)))
            while True:
                events.append(asdict(self._events.get_nowait()))
        return json.dumps(events, default=plain)

"""Which run a free worker takes next."""

from collections import deque
from collections.abc import Sequence

from cwac.config import ExperimentConfig


class Schedule:
    """Hands out runs so that an experiment is opened by as few workers as possible.

    A worker stays with the experiment that it has open; after that it takes one that nobody
    works on, and only when there is none does it help with the one that has most left.

    Parameters
    ----------
    configs : sequence of ExperimentConfig
        The runs, which are handed out in this order inside an experiment.
    """

    def __init__(self, configs: Sequence[ExperimentConfig]) -> None:
        self._waiting: dict[str, deque[ExperimentConfig]] = {}
        for config in configs:
            self._waiting.setdefault(config.experiment_id, deque()).append(config)
        self._open: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(len(runs) for runs in self._waiting.values())

    def next(self, worker: int) -> ExperimentConfig | None:
        """Return the run that a worker takes now, None where nothing is left."""
        experiment = self._choose(worker)
        if experiment is None:
            self.leave(worker)
            return None
        self._open[worker] = experiment
        return self._waiting[experiment].popleft()

    def leave(self, worker: int) -> None:
        """Hear that a worker is gone, and with it what it had open."""
        self._open.pop(worker, None)

    def _choose(self, worker: int) -> str | None:
        left = {name: len(runs) for name, runs in self._waiting.items() if runs}
        at_hand = self._open.get(worker)
        if at_hand in left:
            return at_hand
        taken = {name for other, name in self._open.items() if other != worker}
        for name in left:
            if name not in taken:
                return name
        return max(left, key=lambda name: left[name], default=None)

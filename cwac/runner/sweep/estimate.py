"""What a sweep will cost, from stored runs where there are any, else from a few steps now."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.methods import METHODS
from cwac.models.card import read_card
from cwac.models.folders import resolve_folder
from cwac.records import RunRecord
from cwac.runner.preview import preview
from cwac.runner.resolve import variant_of
from cwac.runner.worker import is_complete


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost.

    Attributes
    ----------
    runs, stored, experiments : int
        All runs, those of them that are stored already, and the experiments of the others.
    seconds : float
        Of all runs that are not stored, one after another.
    setup_seconds : float or None
        Of opening the experiments; None where no stored run says what that takes.
    measured : int
        Runs whose seconds come from steps taken now; the others' come from stored runs.
    """

    runs: int
    stored: int
    experiments: int
    seconds: float
    setup_seconds: float | None
    measured: int

    @property
    def to_run(self) -> int:
        """Runs that are not stored."""
        return self.runs - self.stored

    def wall_seconds(self, processes: int) -> float:
        """Return the seconds until the end if `processes` run as fast as one."""
        whole = self.seconds + (self.setup_seconds or 0.0)
        return whole / max(min(processes, self.to_run), 1)


def estimate(
    configs: Sequence[ExperimentConfig], store: ArtifactStore, *, keep_model: bool = False
) -> Estimate:
    """Return what the runs will cost.

    A stored run of the same model, task, training and evaluation counts, whatever its poison
    ratio and seed: first one of the same method, else another one by the methods' numbers of
    extra passes. For what is like no stored run, some training steps are really taken, on a copy
    of the model that is thrown away.
    """
    waiting = [config for config in configs if not is_complete(store, config, keep_model)]
    history = _History(store)
    seconds: list[float] = []
    unknown: dict[str, list[ExperimentConfig]] = defaultdict(list)
    for config in waiting:
        expected = history.seconds(config)
        if expected is None:
            unknown[_likeness(config)].append(config)
        else:
            seconds.append(expected)
    for alike in unknown.values():
        seconds += _measured(alike, store)
    return Estimate(
        runs=len(configs),
        stored=len(configs) - len(waiting),
        experiments=len({config.experiment_id for config in waiting}),
        seconds=sum(seconds),
        setup_seconds=history.setup(waiting),
        measured=sum(len(alike) for alike in unknown.values()),
    )


def _measured(configs: Sequence[ExperimentConfig], store: ArtifactStore) -> list[float]:
    card = read_card(resolve_folder(configs[0].model.place))
    arms = {variant_of(config, card): config for config in configs}
    per_arm = preview(list(arms.values()), store).seconds_per_arm
    return [float(per_arm[variant_of(config, card)]) for config in configs]


class _History:
    """Seconds of stored runs, by what decides them."""

    def __init__(self, store: ArtifactStore) -> None:
        self._alike: dict[str, list[RunRecord]] = defaultdict(list)
        for stored in store.list_runs():
            if stored.record is not None and stored.record.config.method in METHODS:
                self._alike[_likeness(stored.record.config)].append(stored.record)

    def seconds(self, config: ExperimentConfig) -> float | None:
        """Return the seconds of a run without opening its experiment; None if nothing is alike."""
        alike = self._alike.get(_likeness(config), [])
        same = [record for record in alike if record.config.method == config.method]
        scaled = [_scaled(record, config.method) for record in same or alike]
        return median(scaled) if scaled else None

    def setup(self, configs: Sequence[ExperimentConfig]) -> float | None:
        """Return the seconds of opening every experiment once, None where one is unknown."""
        total = 0.0
        for config in {config.experiment_id: config for config in configs}.values():
            alike = self._alike.get(_likeness(config), [])
            known = [r.provenance.durations["setup"] for r in alike if _knows_setup(r)]
            if not known:
                return None
            total += median(known)
        return total


def _knows_setup(record: RunRecord) -> bool:
    return "setup" in record.provenance.durations


def _scaled(record: RunRecord, method: str) -> float:
    durations = record.provenance.durations
    training = durations.get("training", 0.0)
    rest = sum(v for k, v in durations.items() if k not in {"training", "setup"})
    passes = 1 + METHODS[method].extra_passes
    return training * passes / (1 + METHODS[record.config.method].extra_passes) + rest


def _likeness(config: ExperimentConfig) -> str:
    """Return what two runs have in common that take equally long, apart from the method."""
    parts = (config.training, config.evaluation)
    text = "|".join(part.canonical_json() for part in parts)
    return f"{config.model.contents}|{config.task.contents}|{config.task.test_limit}|{text}"

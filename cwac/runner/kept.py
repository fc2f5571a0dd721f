"""An aligned model and runs of it that kept their weights, opened to be asked in turn.

Stands alone because a request, a set of requests and a latent's reading are all put to them so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.judges import Judge
from cwac.methods import METHODS
from cwac.models.judge_models import judge_named
from cwac.models.loading import LoadedModel, compute_in, load_configured, load_weights
from cwac.records import RunRecord

SaidT = TypeVar("SaidT")


@dataclass(frozen=True)
class Asked:
    """A model that is asked.

    Attributes
    ----------
    config : ExperimentConfig
        The run's; the first run's where it is the aligned model.
    record : RunRecord or None
        None for the aligned model.
    """

    model: nn.Module
    config: ExperimentConfig
    record: RunRecord | None = None

    @property
    def named(self) -> dict[str, Any]:
        """Whose answer it is: ``run_id``, ``variant`` and ``seed``."""
        if self.record is None:
            return {"run_id": None, "variant": ALIGNED.label, "seed": None}
        return {
            "run_id": self.record.run_id,
            "variant": self.record.variant,
            "seed": self.config.seed,
        }

    def prompt(self, request: str) -> str:
        """Return a request as it is put to the model: a run's method may write something to it."""
        if self.record is None:
            return request
        kind = METHODS[self.config.method]
        return kind(kind.settings_type.build(self.config.settings)).evaluation_prompt(request)


@dataclass(frozen=True)
class Kept:
    """Runs that kept their weights, and the aligned model that all of them started from."""

    store: ArtifactStore
    records: Sequence[RunRecord]
    loaded: LoadedModel

    @classmethod
    def open(cls, store: ArtifactStore, records: Sequence[RunRecord]) -> "Kept":
        """Load the aligned model of some runs, which `kept_records` returned."""
        return cls(store, records, load_configured(records[0].config.model))

    def judge(self) -> Judge:
        """Return the runs' own judge: an answer counts as it did when they were measured."""
        name = self.records[0].config.evaluation.judge
        return judge_named(name, self.loaded.judge, self.loaded.device)

    def each(self, ask: Callable[[Asked], SaidT]) -> list[SaidT]:
        """Return what each model says, the aligned one first; a run's weights go before the next's.

        Parameters
        ----------
        ask : callable
            Keeps no model that it is given.
        """
        said = [ask(Asked(self.loaded.model, self.records[0].config))]
        said += [ask(Asked(self._model_of(one), one.config, one)) for one in self.records]
        return said

    def _model_of(self, record: RunRecord) -> nn.Module:
        """Load a run's weights to compute as its aligned model does."""
        model = load_weights(self.store.model_folder(record.run_id), self.loaded.device)
        compute_in(model, self.loaded.precision, self.loaded.device)
        return model


def kept_records(store: ArtifactStore, run_ids: Sequence[str]) -> list[RunRecord]:
    """Return the records of runs that kept their weights, all of one aligned model.

    Nothing slow is done, so that a wrong id answers at once.

    Raises
    ------
    ArtifactError
        A run is not stored or kept no weights.
    ConfigError
        The runs start from different aligned models.
    """
    records = [store.load(run_id) for run_id in run_ids]
    for record in records:
        store.model_folder(record.run_id)
    if any(record.config.model != records[0].config.model for record in records):
        raise ConfigError("the runs start from different aligned models; ask one at a time.")
    return records

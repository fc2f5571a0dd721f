"""The yardstick: one safety subspace and one set of features per model and prompts, stored once.

A fit's name is a hash of all that decides its contents. Whoever asks for the same fit again,
another arm, another experiment or another session, reads it. A model's folder may ship fits of
its own in ``fits/``: they are taken over instead of made again.
"""

import json
from collections.abc import Callable
from typing import Any

from cwac.artifacts import ArtifactStore
from cwac.config import Directions, ExperimentConfig, MeasurementConfig
from cwac.interfaces import Yardstick
from cwac.models.loading import LoadedModel
from cwac.preparation.fitter import QUALITY, FitKind, Fitter
from cwac.preparation.safety_text import Progress, silent
from cwac.prompts import PromptSets
from cwac.subspace import SafetySubspace

__all__ = [
    "QUALITY",
    "FitKind",
    "fit_subspace",
    "other_subspaces",
    "prepare_yardstick",
    "yardstick_warnings",
]


def prepare_yardstick(
    loaded: LoadedModel,
    prompts: PromptSets,
    measurement: MeasurementConfig,
    store: ArtifactStore,
    progress: Progress | None = None,
) -> Yardstick:
    """Read the experiment's subspace and features, or fit and store them.

    They are looked for in the store, then in the model folder's own ``fits/``.

    Parameters
    ----------
    loaded : LoadedModel
        Its weights must be the aligned ones.
    prompts : PromptSets
        ``safety`` (and ``alignment`` text for the SAEs); the harmful ``test`` requests serve
        only to say how much of them lies outside the subspace.
    progress : callable, optional
        Called with the share that is done and what is being done.

    Returns
    -------
    Yardstick
        Its subspace has bases for all linear maps; ``subspace.select`` narrows it.

    Raises
    ------
    DataError
        There are no harmful safety requests.
    """
    fitter = Fitter(loaded, prompts, store, progress or silent)
    subspace_name, subspace = fitter.subspace(measurement, 0.0, 0.15)
    features_name, features = fitter.features(measurement, 0.15, 1.0)
    return Yardstick(subspace, features, subspace_name, features_name)


def fit_subspace(
    loaded: LoadedModel,
    prompts: PromptSets,
    measurement: MeasurementConfig,
    store: ArtifactStore,
    progress: Progress | None = None,
    *,
    kind: FitKind = "harmful",
    directions: Directions = "leading",
) -> SafetySubspace:
    """Read or fit one subspace, for a method that wants another one than the yardstick's.

    The model's weights must be the aligned ones. The subspace has bases for all linear maps.

    Parameters
    ----------
    kind : str
        Whose requests it is fitted on: the refused ``harmful`` safety requests, or the
        ``harmless`` safety requests with the model's own answers.
    directions : str
        ``trailing`` takes the directions of least energy, as many as the leading ones would be.

    Raises
    ------
    DataError
        There are no safety requests of the kind.
    """
    fitter = Fitter(loaded, prompts, store, progress or silent)
    return fitter.subspace(measurement, 0.0, 1.0, kind=kind, directions=directions)[1]


def other_subspaces(
    loaded: LoadedModel, prompts: PromptSets, config: ExperimentConfig, store: ArtifactStore
) -> Callable[..., SafetySubspace]:
    """Return how a method gets another subspace than the yardstick's (`MethodContext`).

    The model's weights must be the aligned ones whenever it is called. Its arguments are changes
    of the configuration's measurement settings, and `kind` and `directions` of
    :func:`fit_subspace`.
    """

    def fit(
        *, kind: FitKind = "harmful", directions: Directions = "leading", **changes: Any
    ) -> SafetySubspace:
        measurement = MeasurementConfig.build(
            {**config.measurement.model_dump(), **changes}, where=config.method
        )
        return fit_subspace(loaded, prompts, measurement, store, kind=kind, directions=directions)

    return fit


def yardstick_warnings(store: ArtifactStore, yardstick: Yardstick) -> tuple[str, ...]:
    """Return what a reader of the yardstick's numbers should know, a sentence each."""
    found: list[str] = []
    for name in (yardstick.subspace_fit, yardstick.features_fit):
        path = store.fit_folder(name) / QUALITY
        if path.is_file():
            found += json.loads(path.read_text(encoding="utf-8"))["warnings"]
    return tuple(dict.fromkeys(found))

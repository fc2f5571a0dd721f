"""The yardstick: one safety subspace and one set of features per model and prompts, stored once.

A fit's name is a hash of all that decides its contents. Whoever asks for the same fit again,
another arm, another experiment or another session, reads it. A model's folder may ship fits of
its own in ``fits/``: they are taken over instead of made again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from cwac.artifacts import ArtifactStore, reading, write_table, write_text
from cwac.config import Directions, ExperimentConfig, MeasurementConfig
from cwac.errors import DataError
from cwac.features import SafetyFeatures
from cwac.intake import read_json
from cwac.interfaces import Yardstick
from cwac.judges import fit_contents
from cwac.models.card import FITS
from cwac.models.loading import LoadedModel
from cwac.preparation.feature_fit import fit_features
from cwac.preparation.latent_examples import latent_examples
from cwac.preparation.latents import latent_cards
from cwac.preparation.progress import Progress, report_part, silent
from cwac.preparation.public_saes import identity_of
from cwac.preparation.sae_training import SaeShape
from cwac.preparation.safety_text import (
    TEXT_SPLITS,
    Conversation,
    Refusals,
    aligned_compliances,
    aligned_refusals,
    stored_text,
)
from cwac.preparation.subspace_fit import fit_directions
from cwac.prompts import KINDS, Kind, PromptSets, Split
from cwac.subspace import SafetySubspace

FORMAT: Final = 1
"""Raised when a fit of the same settings would come out differently."""
QUALITY: Final = "quality.json"
_SUBSPACE_SETTINGS: Final = ("tokens", "tail_energy", "rank", "outer_maps")
CARDS: Final = "latent_cards"
EXAMPLES: Final = "latent_examples"
_FEATURE_SETTINGS: Final = ("latents", "latent_score", "seed")
Parts = Iterable[tuple[Split, Kind]]
FitKind = Literal["harmful", "harmless"]


def prepare_yardstick(
    loaded: LoadedModel,
    prompts: PromptSets,
    measurement: MeasurementConfig,
    store: ArtifactStore,
    progress: Progress = silent,
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
    fitter = _Fitter(loaded, prompts, store, progress)
    subspace_name, subspace = fitter.subspace(measurement, 0.0, 0.15)
    features_name, features = fitter.features(measurement, 0.15, 1.0)
    return Yardstick(subspace, features, subspace_name, features_name)


def fit_subspace(
    loaded: LoadedModel,
    prompts: PromptSets,
    measurement: MeasurementConfig,
    store: ArtifactStore,
    progress: Progress = silent,
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
    fitter = _Fitter(loaded, prompts, store, progress)
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


def lacking_fits(
    loaded: LoadedModel, prompts: PromptSets, measurement: MeasurementConfig, store: ArtifactStore
) -> frozenset[str]:
    """Return which of ``subspace`` and ``features`` an experiment would have to fit."""
    fitter = _Fitter(loaded, prompts, store, silent)
    names = {
        "subspace": fitter.subspace_name(measurement),
        "features": fitter.features_name(measurement),
    }
    return frozenset(
        part
        for part, name in names.items()
        if store.verified_fit(name) is None and not (loaded.folder / FITS / name).is_dir()
    )


def yardstick_warnings(store: ArtifactStore, yardstick: Yardstick) -> tuple[str, ...]:
    """Return what a reader of the yardstick's numbers should know, a sentence each."""
    warnings: list[str] = []
    for name in (yardstick.subspace_fit, yardstick.features_fit):
        path = store.fit_folder(name) / QUALITY
        if path.is_file():
            with reading(f"fits/{name}"):
                warnings += map(str, read_json(path)["warnings"])
    return tuple(dict.fromkeys(warnings))


class _Fitter:
    """Fits for one model and one set of prompts; refusals are asked for at most once."""

    def __init__(
        self, loaded: LoadedModel, prompts: PromptSets, store: ArtifactStore, progress: Progress
    ) -> None:
        if not prompts.get("safety", "harmful"):
            raise DataError("the prompts have no harmful safety requests to fit a subspace on.")
        self.loaded = loaded
        self.prompts = prompts
        self.store = store
        self.progress = progress
        self._refusals: Refusals | None = None

    def subspace(
        self,
        measurement: MeasurementConfig,
        low: float,
        high: float,
        *,
        kind: FitKind = "harmful",
        directions: Directions = "leading",
    ) -> tuple[str, SafetySubspace]:
        """Return name and subspace; progress runs from `low` to `high`."""
        name = self.subspace_name(measurement, kind=kind, directions=directions)
        folder = self._stored(name)
        if folder is None:
            middle = low + 0.5 * (high - low)
            refusals, talks = self._text(kind, low, middle)
            report = report_part(self.progress, middle, high)
            fitted = fit_directions(
                self.loaded,
                talks,
                self.prompts.get("test", kind) if kind == "harmful" else (),
                measurement,
                report,
                directions=directions,
            )
            with self.store.writing_fit(name) as folder:
                fitted.save(folder)
                for table, rows in fitted.tables().items():
                    write_table(folder, table, rows)
                _write_quality(folder, refusals, [])
            folder = self.store.fit_folder(name)
        return name, SafetySubspace.load(folder).to(self.loaded.device)

    def subspace_name(
        self,
        measurement: MeasurementConfig,
        *,
        kind: FitKind = "harmful",
        directions: Directions = "leading",
    ) -> str:
        """Return the name that a subspace has, fitted or not."""
        settings = measurement.model_dump(mode="json", include=set(_SUBSPACE_SETTINGS))
        # Named only where they differ, so that the yardstick's fits keep their names.
        if directions != "leading":
            settings["directions"] = directions
        parts: list[tuple[Split, Kind]] = [("safety", kind)]
        if kind == "harmful":
            parts.append(("test", kind))
        else:
            settings["kind"] = kind
        return f"subspace-{self._digest('subspace', settings, parts)}"

    def _text(
        self, kind: FitKind, low: float, high: float
    ) -> tuple[Refusals | None, Sequence[Conversation]]:
        if kind == "harmful":
            refusals = self._harmful_refusals(low, high)
            return refusals, refusals.conversations
        prompts = self.prompts.get("safety", kind)
        if not prompts:
            raise DataError("the prompts have no harmless safety requests to fit a subspace on.")
        return None, aligned_compliances(
            self.loaded, prompts, report_part(self.progress, low, high)
        )

    def features(
        self, measurement: MeasurementConfig, low: float, high: float
    ) -> tuple[str, SafetyFeatures]:
        """Return name and features; progress runs from `low` to `high`."""
        name, shape = self.features_name(measurement), self._shape(measurement)
        folder = self._stored(name)
        if folder is None:
            folder = self._fit_features(name, shape, measurement, (low, high))
        features = SafetyFeatures.load(folder).to(self.loaded.device)
        lacking = [part for part in (CARDS, EXAMPLES) if not self.store.fit_has(name, part)]
        if lacking and self.store.owns_fit(name):
            # Fits of earlier versions get them where they may be written to.
            report = report_part(self.progress, low, high)
            tables = self._described(features, measurement, report, lacking)
            self.store.extend_fit(name, tables)
        return name, features

    def _shape(self, measurement: MeasurementConfig) -> SaeShape | None:
        """Return the size of the SAEs that are trained, None where public ones are read."""
        public = measurement.sae_release is not None
        return None if public else SaeShape.of(self.loaded, measurement)

    def features_name(self, measurement: MeasurementConfig) -> str:
        """Return the name that features have, fitted or not."""
        settings = measurement.model_dump(mode="json", include=set(_FEATURE_SETTINGS))
        shape = self._shape(measurement)
        if shape is not None:
            length = {"sae_steps", "sae_rounds"}
            settings |= measurement.model_dump(mode="json", include=length) | asdict(shape)
        else:
            public = measurement.model_dump(mode="json", include={"sae_release", "sae_ids"})
            settings |= public | identity_of(measurement)
        parts = [(split, kind) for split in TEXT_SPLITS for kind in KINDS]
        return f"features-{self._digest('features', settings, parts)}"

    def _described(
        self,
        features: SafetyFeatures,
        measurement: MeasurementConfig,
        progress: Progress,
        tables: Sequence[str] = (CARDS, EXAMPLES),
    ) -> dict[str, pd.DataFrame]:
        """Return what a fit says of its latents besides `latents`; the model is asked nothing."""
        made: dict[str, pd.DataFrame] = {}
        if CARDS in tables:
            made[CARDS] = latent_cards(self.loaded, features)
        if EXAMPLES in tables:
            talks = stored_text(self.loaded, self.prompts)
            made[EXAMPLES] = latent_examples(
                self.loaded, features, talks, measurement.seed, progress
            )
        return made

    def _fit_features(
        self,
        name: str,
        shape: SaeShape | None,
        measurement: MeasurementConfig,
        span: tuple[float, float],
    ) -> Path:
        low, high = span
        last = low + 0.97 * (high - low)
        refusals = self._harmful_refusals(low, low + 0.05 * (high - low))
        fitted = fit_features(
            self.loaded,
            self.prompts,
            refusals,
            shape,
            measurement,
            report_part(self.progress, low + 0.05 * (high - low), last),
        )
        describing = report_part(self.progress, last, high)
        protected = sum(len(latents) for latents in fitted.features.protected.values())
        with self.store.writing_fit(name) as folder:
            fitted.features.save(folder)
            write_table(folder, "latents", fitted.latents)
            features = fitted.features.to(self.loaded.device)
            for table, rows in self._described(features, measurement, describing).items():
                write_table(folder, table, rows)
            _write_quality(
                folder,
                refusals,
                fitted.shortfalls(self.loaded.anatomy.d_model),
                layers={str(layer): asdict(score) for layer, score in fitted.scores.items()},
                protected=protected,
            )
        return self.store.fit_folder(name)

    def _stored(self, name: str) -> Path | None:
        """Return a fit's folder: in the store, else taken over from the model's own folder."""
        return self.store.verified_fit(name) or self.store.adopt_fit(name, self.loaded.folder)

    def _harmful_refusals(self, low: float, high: float) -> Refusals:
        if self._refusals is None:
            self._refusals = aligned_refusals(
                self.loaded,
                self.prompts.get("safety", "harmful"),
                report_part(self.progress, low, high),
            )
        return self._refusals

    def _digest(self, kind: str, settings: dict[str, Any], parts: Parts) -> str:
        """Return 8 hex digits over all that decides a fit's contents."""
        content = {
            "kind": kind,
            "format": FORMAT,
            "model": self.loaded.contents,
            "judge": fit_contents(self.loaded.judge),
            "prompts": [
                [prompt.canonical_json() for prompt in self.prompts.get(split, part)]
                for split, part in parts
            ],
            "settings": settings,
        }
        if self.loaded.precision != "float32":
            content["precision"] = self.loaded.precision
        # The answers that a fit is made on depend on it too.
        if self.loaded.asked.precision != "float32":
            content["decoding"] = self.loaded.asked.precision
        content |= self.loaded.chat.switch
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _write_quality(
    folder: Path, refusals: Refusals | None, warnings: Sequence[str], **figures: Any
) -> None:
    # A fit on harmless requests asks for no refusals.
    few = [] if refusals is None or refusals.warning is None else [refusals.warning]
    content = {
        "refused": None if refusals is None else refusals.refused,
        "asked": None if refusals is None else refusals.asked,
        "warnings": [*few, *warnings],
        **figures,
    }
    write_text(folder / QUALITY, json.dumps(content, indent=1))

"""From an aligned model and safety requests to all that the constraints are built from."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cwac.artifacts import ArtifactStore, writing_store
from cwac.config import ExperimentConfig, MeasurementConfig, ModelConfig, PromptsConfig
from cwac.errors import DataError
from cwac.features import SafetyFeatures
from cwac.interfaces import MethodContext, Yardstick
from cwac.methods.cwac import CwacSettings
from cwac.models.card import card_path
from cwac.models.loading import LoadedModel, load_model
from cwac.preparation.fits import fit_subspace, other_subspaces, prepare_yardstick
from cwac.prompts import Kind, Prompt, PromptSets, read_requests
from cwac.runner.claims import Claims
from cwac.seeding import generator

Requests = str | Sequence[str] | None


def fit_context(
    aligned: str | Path,
    harmful: Requests,
    harmless: Requests,
    *,
    root: Path,
    measurement: Mapping[str, Any],
    seed: int,
    device: str | torch.device | None,
    settings: Mapping[str, Any],
) -> tuple[MethodContext, CwacSettings]:
    """Load an aligned model and fit (or read) its subspace and features.

    Returns
    -------
    (MethodContext, CwacSettings)
        What a method may see, and the settings with the model's documented defaults.

    Raises
    ------
    CwacError
        The model, the requests or a setting cannot be used.
    """
    loaded = load_model(aligned, device=device or _own_device())
    defaults = loaded.card.defaults
    chosen = CwacSettings.build({**defaults.methods.get("cwac", {}), **settings}, where="cwac")
    prompts = safety_prompts(loaded, harmful, harmless)
    config = ExperimentConfig(
        model=ModelConfig(source=str(aligned), contents=loaded.contents),
        prompts=PromptsConfig(contents=prompts.contents),
        measurement=MeasurementConfig.build(
            {**defaults.measurement, **measurement}, where="measurement"
        ),
        method="cwac",
        settings=chosen.model_dump(mode="json"),
        seed=seed,
    )
    store = writing_store(root)
    # Under torchrun the first process fits and the others read what it stored.
    with Claims(store.write_root).opening(lambda: None):
        yardstick = _yardstick(loaded, prompts, config, store, chosen)
    return _context(loaded, prompts, config, store, yardstick), chosen


def _yardstick(
    loaded: LoadedModel,
    prompts: PromptSets,
    config: ExperimentConfig,
    store: ArtifactStore,
    settings: CwacSettings,
) -> Yardstick:
    if settings.activation and settings.strength > 0:
        return prepare_yardstick(loaded, prompts, config.measurement, store)
    # Training SAEs takes minutes, and the weight constraint reads none.
    subspace = fit_subspace(loaded, prompts, config.measurement, store)
    return Yardstick(subspace, SafetyFeatures({}, {}, {}), "", "")


def safety_prompts(loaded: LoadedModel, harmful: Requests, harmless: Requests) -> PromptSets:
    """Return the requests that constraints may be fitted on: all of them are safety requests.

    Raises
    ------
    DataError
        One kind is missing, or a file cannot be used.
    """
    shipped = card_path(loaded.folder, loaded.card.prompts)
    known = None if shipped is None else PromptSets.read_folder(shipped)
    if harmful is None and harmless is None:
        if known is None:
            raise DataError(
                f"{loaded.folder} ships no prompts; give harmful=... and harmless=..., texts or "
                "FILE[:column]."
            )
        return known
    if harmful is None or harmless is None:
        missing = "harmful" if harmful is None else "harmless"
        raise DataError(f"requests of your own need both kinds; {missing}=... is missing.")
    parts = {} if known is None else {p: v for p, v in known.parts.items() if p[0] == "alignment"}
    parts["safety", "harmful"] = tuple(_requests(harmful, "harmful"))
    parts["safety", "harmless"] = tuple(_requests(harmless, "harmless"))
    return PromptSets(parts)


def _requests(given: str | Sequence[str], kind: Kind) -> list[Prompt]:
    if isinstance(given, str):
        return read_requests(given, kind)
    texts = list(dict.fromkeys(text.strip() for text in given if text.strip()))
    if not texts:
        raise DataError(f"there are no {kind} requests.")
    return [Prompt(id=f"{kind}-{i}", text=text, kind=kind) for i, text in enumerate(texts)]


def _own_device() -> torch.device | None:
    """Return this process's GPU under torchrun, None where the loader shall choose."""
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or not torch.cuda.is_available():
        return None
    return torch.device("cuda", int(rank))


def _context(
    loaded: LoadedModel,
    prompts: PromptSets,
    config: ExperimentConfig,
    store: ArtifactStore,
    yardstick: Yardstick,
) -> MethodContext:
    return MethodContext(
        config=config,
        model=loaded.model,
        anatomy=loaded.anatomy,
        chat=loaded.chat,
        aligned={n: p.detach().clone() for n, p in loaded.model.named_parameters()},
        prompts=prompts,
        yardstick=yardstick,
        fit_subspace=other_subspaces(loaded, prompts, config, store),
        generator=generator(config.seed, "method"),
        device=loaded.device,
    )

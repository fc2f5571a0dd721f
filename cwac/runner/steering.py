"""Latents of a stored run's features: answers while one is held, and a file that steers by it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import torch
from torch import nn

from cwac.anatomy import Anatomy, layer_module
from cwac.artifacts import ArtifactStore, temporary_name
from cwac.errors import ArtifactError, ConfigError
from cwac.features import SafetyFeatures, Steering, edited
from cwac.messages import SteeringFile
from cwac.models.loading import LoadedModel, load_configured
from cwac.records import RunRecord

Steerer = Callable[[nn.Module], AbstractContextManager[None]]
"""Takes a model and holds the latent in it while the block lasts."""


def features_of(store: ArtifactStore, record: RunRecord, layer: int, latent: int) -> SafetyFeatures:
    """Return a run's features, which must have the latent.

    Raises
    ------
    ArtifactError
        The fit is missing or broken.
    ConfigError
        It has no SAE after the layer, or no such latent.
    """
    name = record.fits.get("features")
    folder = None if name is None else store.verified_fit(name)
    if folder is None:
        raise ArtifactError(f"the features of run {record.run_id!r} are not stored.")
    features = SafetyFeatures.load(folder)
    if layer not in features.saes:
        allowed = ", ".join(map(str, features.layers))
        raise ConfigError(f"there is no SAE after layer {layer}; allowed: {allowed}.")
    width = features.saes[layer].width
    if not 0 <= latent < width:
        raise ConfigError(f"latent {latent} is not allowed: 0 to {width - 1}.")
    return features


def steerer(
    store: ArtifactStore, record: RunRecord, loaded: LoadedModel, steering: Steering
) -> Steerer:
    """Return what holds a latent in a model."""
    features = features_of(store, record, steering.layer, steering.latent)
    sae = features.saes[steering.layer].to(loaded.device)
    edit = partial(steering.edit, sae)
    return lambda model: edited(model, loaded.anatomy, steering.layer, edit)


def write_steering(
    store: ArtifactStore, run_id: str, layer: int, latent: int, coefficient: float, out: Path
) -> SteeringFile:
    """Write a file with which lm-evaluation-harness raises a latent in a run's model.

    Parameters
    ----------
    coefficient : float
        By how much the latent's activation is raised at every token; below 0 it is lowered.
    out : Path
        A ``.pt`` file, ``--model steered --model_args pretrained=...,steer_path=OUT``.

    Notes
    -----
    The harness (0.4.13, ``lm_eval/models/hf_steered.py``) reads a dictionary of
    hookpoints below ``model.base_model`` with ``torch.load(weights_only=True)`` and adds
    ``steering_coefficient * steering_vector`` to what the module there gives. The vector is what
    one unit of the latent writes into the stream. Nothing here reads such a file.
    """
    if out.suffix != ".pt":
        raise ConfigError(f"--out {str(out)!r} is not allowed: the harness reads files named .pt.")
    record = store.load(run_id)
    features = features_of(store, record, layer, latent)
    loaded = load_configured(record.config.model)
    hookpoint = _hookpoint(loaded.model, loaded.anatomy, layer)
    content = {
        hookpoint: {
            "steering_vector": features.saes[layer].direction(latent).clone(),
            "steering_coefficient": coefficient,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(out)
    try:
        torch.save(content, temporary)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return SteeringFile(
        path=str(out), hookpoint=hookpoint, layer=layer, latent=latent, coefficient=coefficient
    )


def _hookpoint(model: nn.Module, anatomy: Anatomy, layer: int) -> str:
    """Return the name of a decoder layer below the base model, where the harness looks for it."""
    wanted = layer_module(model, anatomy, layer)
    base: nn.Module = model.base_model  # type: ignore[assignment]
    names: dict[int, str] = {id(module): name for name, module in base.named_modules()}
    return names[id(wanted)]

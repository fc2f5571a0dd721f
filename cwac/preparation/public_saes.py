"""Public SAEs: read from a release of sae-lens' registry, or from a folder of the same format."""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cwac.artifacts import reading, tensor_shapes
from cwac.config import MeasurementConfig
from cwac.errors import ConfigError, ModelError, first_line
from cwac.features import Sae
from cwac.features.sae import SAE_CONFIG, SAE_WEIGHTS, check_kind
from cwac.intake import read_json
from cwac.models.card import file_digest
from cwac.models.hub import is_offline, is_reached
from cwac.models.loading import LoadedModel
from cwac.preparation.sae_training import converted

_LAYER: Final = re.compile(r"(?:blocks|layers|h)\.(\d+)(?:\.(hook_resid_post|hook_resid_pre))?$")
_SHOWN: Final = 6
MOST_FOLDERS: Final = 10_000
"""Folders that are looked through for SAEs; a release has some hundreds."""


def read_public_saes(loaded: LoadedModel, measurement: MeasurementConfig) -> dict[int, Sae]:
    """Read the SAEs that the measurement names, one per layer.

    Returns
    -------
    dict of int to Sae
        By the decoder layer whose output each one reads.

    Raises
    ------
    ConfigError
        The release or an id is unknown, or two SAEs read the same layer.
    ModelError
        An SAE reads something else than a layer's output, is of another width than the model,
        or cannot be downloaded.
    """
    release = measurement.sae_release
    assert release is not None
    folder = Path(release).expanduser()
    if folder.is_dir():
        read = {name: Sae.load(folder / name) for name in _local(folder, measurement.sae_ids)}
    else:
        read = _from_registry(release, measurement.sae_ids or ())
    by_layer: dict[int, Sae] = {}
    for name, sae in read.items():
        layer = _layer(sae, name, loaded)
        if layer in by_layer:
            raise ConfigError(f"{name!r} of {release!r} reads layer {layer} like another one.")
        by_layer[layer] = sae
    return dict(sorted(by_layer.items()))


def check_public_saes(measurement: MeasurementConfig) -> None:
    """Refuse names of SAEs that there are none of, before anything is loaded or fitted.

    A folder's files are opened too, but for their numbers. Of a release the list that sae-lens
    brings tells, and nothing is fetched.

    Raises
    ------
    CwacError
        The release or a name is unknown, or a file in the folder cannot be read.
    """
    release = measurement.sae_release
    if release is None:
        return
    folder = Path(release).expanduser()
    if not folder.is_dir():
        _registered(release, measurement.sae_ids or ())
        return
    for name in _local(folder, measurement.sae_ids):
        with reading(f"the SAE in {folder / name}"):
            check_kind(read_json(folder / name / SAE_CONFIG), folder / name)
            tensor_shapes(folder / name / SAE_WEIGHTS)


def identity_of(measurement: MeasurementConfig) -> dict[str, Any]:
    """Return what tells these SAEs from others: the release's names, a folder's contents."""
    folder = Path(measurement.sae_release or "").expanduser()
    if measurement.sae_release is None or not folder.is_dir():
        return {}
    digests = {}
    for name in _local(folder, measurement.sae_ids):
        for file in (SAE_CONFIG, SAE_WEIGHTS):
            path = folder / name / file
            if path.is_file():
                status = path.stat()
                key = f"{name}/{file}"
                digests[key] = file_digest(path, status.st_mtime_ns, status.st_size)
    # Wherever the folder lies, the same files are the same SAEs.
    return {"sae_release": "folder", "sae_files": digests}


def _local(folder: Path, ids: Sequence[str] | None) -> list[str]:
    present = _present(folder)
    chosen = present if ids is None else list(ids)
    missing = [name for name in chosen if name not in present]
    if missing or not chosen:
        lack = f"no SAE {missing[0]!r}" if missing else "no SAE"
        raise ConfigError(f"{folder} has {lack}; it has {', '.join(present[:_SHOWN]) or 'none'}.")
    return chosen


def _present(folder: Path) -> list[str]:
    """Return the folders below one that have an SAE's configuration."""
    names = []
    for number, (place, _, files) in enumerate(os.walk(folder)):
        if number >= MOST_FOLDERS:
            raise ConfigError(
                f"{folder} has more than {MOST_FOLDERS:,} folders below it; name that of the SAEs."
            )
        if SAE_CONFIG in files:
            names.append(Path(place).relative_to(folder).as_posix())
    return sorted(names)


def _registered(release: str, ids: Sequence[str]) -> Any:
    """Return what sae-lens lists of a release, which must have SAEs of these names."""
    with warnings.catch_warnings():
        # Importing sae-lens warns about a module of one of its own dependencies.
        warnings.simplefilter("ignore")
        from sae_lens.loading.pretrained_saes_directory import (  # noqa: PLC0415 - 5 s, 500 MB
            get_pretrained_saes_directory,
        )
    known = get_pretrained_saes_directory()
    if release not in known:
        raise ConfigError(
            f"measurement.sae_release = {release!r} is neither a folder nor a release of sae-lens."
        )
    _check_ids(release, ids, known[release].saes_map)
    return known[release]


def _from_registry(release: str, ids: Sequence[str]) -> dict[str, Sae]:
    listed = _registered(release, ids)
    from sae_lens import SAE  # noqa: PLC0415 - as above

    if not is_offline() and not is_reached(listed.repo_id):
        raise ModelError(
            f"the SAEs of {release!r} cannot be fetched, the hub is out of reach; --offline reads "
            "what was fetched before, measurement.sae_release=none trains some."
        )
    return {name: _fetched(SAE.from_pretrained, release, name) for name in ids}


def _check_ids(release: str, ids: Sequence[str], known: Mapping[str, str]) -> None:
    wrong = [name for name in ids if name not in known]
    if wrong or not ids:
        mistake = f"has no SAE {wrong[0]!r}" if wrong else "needs measurement.sae_ids"
        some = ", ".join(list(known)[:_SHOWN])
        raise ConfigError(f"the release {release!r} {mistake}; it has {some} and more.")


def _fetched(fetch: Callable[..., Any], release: str, name: str) -> Sae:
    try:
        return converted(fetch(release, name, device="cpu"))
    except Exception as problem:
        # Its loaders raise whatever their formats and the hub's library raise.
        reason = first_line(problem)
        raise ModelError(f"the SAE {name!r} of {release!r} cannot be read: {reason}.") from None


def _layer(sae: Sae, name: str, loaded: LoadedModel) -> int:
    """Return the decoder layer whose output an SAE reads."""
    about: Mapping[str, Any] = {**sae.config, **(sae.config.get("metadata") or {})}
    hook = str(about.get("hook_name"))
    match = _LAYER.search(hook)
    if match is None:
        raise ModelError(f"the SAE {name!r} reads {hook!r}, which is not the output of a layer.")
    if (about.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights"):
        raise ModelError(
            f"the SAE {name!r} was trained on a model with centred weights, which this is not."
        )
    # What enters a layer is what left the one before it.
    layer = int(match[1]) - (match[2] == "hook_resid_pre")
    d_model = loaded.anatomy.d_model
    if sae.w_dec.shape[1] != d_model:
        raise ModelError(
            f"the SAE {name!r} reads {sae.w_dec.shape[1]} numbers per token; the model has "
            f"{d_model}."
        )
    return loaded.anatomy.check_layers([layer])[0]

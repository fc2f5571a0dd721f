"""Pages about the latents of public SAEs, without torch.

Stands alone because views ask for it, and because the name it reads came with somebody's SAE.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cwac.artifacts.store import ArtifactStore
from cwac.errors import ArtifactError
from cwac.intake import read_json

PAGE: Final = "https://www.neuronpedia.org/{name}/{latent}"
_CONFIG: Final = "layer_{layer}/cfg.json"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,80}/[A-Za-z0-9._-]{1,80}")


def neuronpedia_name(config: Mapping[str, Any]) -> str | None:
    """Return the name that Neuronpedia has for an SAE, as sae-lens writes it into its settings.

    Parameters
    ----------
    config : mapping
        The SAE's ``cfg.json``; what stands there and is no such name is left out.

    Examples
    --------
    >>> neuronpedia_name({"metadata": {"neuronpedia_id": "gemma-2-2b/12-gemmascope-res-16k"}})
    'gemma-2-2b/12-gemmascope-res-16k'
    >>> neuronpedia_name({"metadata": {"neuronpedia_id": "javascript:alert(1)"}}) is None
    True
    """
    metadata = config.get("metadata")
    about = {**config, **(metadata if isinstance(metadata, Mapping) else {})}
    name = about.get("neuronpedia_id")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def latent_page(name: str, latent: int) -> str:
    """Return the address of a latent's page.

    Examples
    --------
    >>> latent_page("gemma-2-2b/12-gemmascope-res-16k", 7)
    'https://www.neuronpedia.org/gemma-2-2b/12-gemmascope-res-16k/7'
    """
    return PAGE.format(name=name, latent=int(latent))


def public_names(store: ArtifactStore, fit: str, layers: tuple[int, ...]) -> dict[int, str]:
    """Return the names that Neuronpedia has for a fit's SAEs, by layer.

    Layers whose SAE was trained on the spot, is not on Neuronpedia, or whose settings cannot be
    read are left out: a link is an addition, and the page shows the fit all the same.

    Parameters
    ----------
    fit : str
        Name of the features' fit (``record.fits["features"]``).
    """
    folder = store.find_fit(fit)
    names = {}
    for layer in layers if folder is not None else ():
        name = neuronpedia_name(_settings(Path(folder or "") / _CONFIG.format(layer=layer)))
        if name is not None:
            names[layer] = name
    return names


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = read_json(path)
    except (OSError, ValueError, ArtifactError):
        return {}
    return settings if isinstance(settings, dict) else {}

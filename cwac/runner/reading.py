"""One request, token by token: what a latent does in the aligned model and in kept runs."""

import math
from collections.abc import Sequence

import torch

from cwac.artifacts import ArtifactStore
from cwac.features import token_codes
from cwac.messages import Reading, Readings, TokenReading
from cwac.runner.kept import Asked, Kept, kept_records
from cwac.runner.steering import features_of


def read_request(
    store: ArtifactStore, run_ids: Sequence[str], request: str, layer: int, latent: int
) -> Readings:
    """Read a request with the aligned model and with kept runs, as each is asked.

    Parameters
    ----------
    run_ids : sequence of str
        Runs of one aligned model that kept their weights; the latent is of the first one's
        features.

    Raises
    ------
    ArtifactError
        A run is not stored or kept no weights, or its features are missing or broken.
    ConfigError
        The runs start from different aligned models, or there is no such latent.
    """
    records = kept_records(store, run_ids)
    features = features_of(store, records[0], layer, latent)
    kept = Kept.open(store, records)
    loaded = kept.loaded
    saes = {layer: features.saes[layer].to(loaded.device)}
    chosen = {layer: torch.tensor([latent])}

    def read(asked: Asked) -> Reading:
        prompt = asked.prompt(request)
        (mine,) = token_codes(asked.model, loaded.anatomy, loaded.chat, saes, [prompt], chosen)
        column = mine.codes[layer][:, 0].tolist()
        return Reading(
            **asked.named,
            tokens=tuple(
                TokenReading(text=text, activation=None if math.isnan(value) else value)
                for text, value in zip(mine.pieces, column, strict=True)
            ),
        )

    readings = tuple(kept.each(read))
    return Readings(prompt=request, layer=layer, latent=latent, readings=readings)

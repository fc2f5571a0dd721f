"""An attacker who knows U and the SAEs, and controls the data: which poison to hand in.

Of the attack pool those examples are kept whose gradient lies most outside the safety subspace,
so that the projection takes little of it, and at whose requests the safety features fire least,
so that the activation penalty says little of them. Everything is read off the aligned model.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import pandas as pd
import torch
from torch.nn import functional

from cwac.anatomy import weight_of
from cwac.artifacts import ArtifactStore, write_table
from cwac.chat import collate
from cwac.config import MeasurementConfig
from cwac.features import latent_statistics
from cwac.interfaces import Yardstick
from cwac.models.loading import LoadedModel
from cwac.prompts import Prompt
from cwac.scores import answer_tokens, output_layer, scores_at
from cwac.subspace import SafetySubspace

TABLE: Final = "attack_examples"
_FORMAT: Final = 1
_LONGEST: Final = 256


def ranked_poison(
    loaded: LoadedModel,
    yardstick: Yardstick,
    measurement: MeasurementConfig,
    pool: Sequence[Prompt],
    store: ArtifactStore,
) -> tuple[str, list[Prompt]]:
    """Return the name of the stored ranking and the pool in its order, the best first.

    The ranking is read where it is stored. The model's weights must be the aligned ones.

    Parameters
    ----------
    yardstick : Yardstick
        Its subspace, on the maps and layers of `measurement`, and its safety features are what
        the attacker knows.
    pool : sequence of Prompt
        Harmful requests with the answers to train on.
    """
    name = _name(loaded, yardstick, measurement, pool)
    if store.verified_fit(name) is None:
        subspace = yardstick.subspace.select(measurement.maps, measurement.layers)
        table = rank_table(
            [prompt.id for prompt in pool],
            outside_shares(loaded, subspace, pool),
            latent_activities(loaded, yardstick, pool),
        )
        with store.writing_fit(name) as folder:
            write_table(folder, TABLE, table)
    by_id = {prompt.id: prompt for prompt in pool}
    return name, [by_id[id_] for id_ in store.fit_table(name, TABLE)["prompt_id"]]


def rank_table(
    ids: Sequence[str], outside: Sequence[float], activity: Sequence[float]
) -> pd.DataFrame:
    """Order examples by the sum of two ranks: energy outside U, high; latent activity, low.

    Ranks, since shares and activities have no common unit; ties keep the pool's order.

    Examples
    --------
    >>> rank_table(["a", "b", "c"], [0.1, 0.9, 0.5], [2.0, 1.0, 0.0])["prompt_id"].tolist()
    ['b', 'c', 'a']
    """
    table = pd.DataFrame({"prompt_id": ids, "outside_energy": outside, "latent_activity": activity})
    ranks = table["outside_energy"].rank(ascending=False) + table["latent_activity"].rank()
    order = ranks.sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def outside_shares(
    loaded: LoadedModel, subspace: SafetySubspace, pool: Sequence[Prompt]
) -> list[float]:
    """Return each example's share of gradient energy outside U, pooled over the subspace's maps.

    ``1 - sum ||G U||^2 / sum ||G||^2`` with the gradient G of the mean loss over the answer.
    """
    model, device = loaded.model, loaded.device
    head = output_layer(model)
    weights = [model.get_parameter(entry.parameter) for entry in subspace.maps]
    shares = []
    for prompt in pool:
        item = loaded.chat.example_ids(prompt.text, prompt.answer or "")
        batch = collate([item], loaded.chat.pad_id, max_length=_LONGEST).to(device)
        rows, targets = answer_tokens(batch)
        with torch.enable_grad():
            scores = scores_at(model, head, batch.input_ids, rows)
            gradients = torch.autograd.grad(functional.cross_entropy(scores, targets), weights)
        named = dict(zip((e.parameter for e in subspace.maps), gradients, strict=True))
        inside = total = 0.0
        for entry in subspace.maps:
            gradient = weight_of(named, entry)
            total += float(gradient.square().sum())
            inside += float((gradient @ subspace.bases[entry.path].to(gradient)).square().sum())
        shares.append(1.0 - inside / total if total else 0.0)
    return shares


def latent_activities(
    loaded: LoadedModel, yardstick: Yardstick, pool: Sequence[Prompt]
) -> list[float]:
    """Return each request's squared activity of the safety features, as the penalty sums it."""
    features = yardstick.features
    measured = latent_statistics(
        loaded.model,
        loaded.anatomy,
        loaded.chat,
        features.saes,
        [prompt.text for prompt in pool],
        chosen=features.protected,
    )
    energy = sum(one.codes.double().square().sum(dim=2).mean(dim=1) for one in measured.values())
    assert isinstance(energy, torch.Tensor)
    return [float(value) for value in energy]


def _name(
    loaded: LoadedModel,
    yardstick: Yardstick,
    measurement: MeasurementConfig,
    pool: Sequence[Prompt],
) -> str:
    content = {
        "format": _FORMAT,
        "model": loaded.contents,
        "precision": loaded.precision,
        "fits": [yardstick.subspace_fit, yardstick.features_fit],
        "maps": measurement.model_dump(mode="json", include={"maps", "layers"}),
        "pool": [prompt.canonical_json() for prompt in pool],
    }
    text = json.dumps(content, sort_keys=True)
    return f"attack-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

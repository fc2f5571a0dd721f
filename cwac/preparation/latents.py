"""Which latents are safety-critical, and what each latent is about: the cards of the app."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from cwac.anatomy import SMALL
from cwac.config import MeasurementConfig
from cwac.features import (
    Sae,
    SafetyFeatures,
    highest_latents,
    latent_scores,
    latent_statistics,
    random_latents,
)
from cwac.models.loading import LoadedModel
from cwac.passes import ROWS, in_order
from cwac.preparation.progress import Progress, counted, report_part, silent
from cwac.preparation.safety_text import (
    MAX_LENGTH,
    Conversation,
    conversation_batches,
    conversation_streams,
)
from cwac.prompts import PromptSets
from cwac.seeding import generator

TOP_TOKENS: Final = 6
CONTEXT: Final = 6
"""Tokens shown before a token that fires a latent."""
PROMOTED: Final = 8
NEIGHBOURS: Final = 5
CARD_TEXTS: Final = 400
"""Conversations that are searched for what fires a latent."""
MIN_FOR_UMAP: Final = 10
_NUMBERS: Final = 2**27
"""Held at a time while wide SAEs or large vocabularies are read."""


@dataclass(frozen=True)
class LatentChoice:
    """Per layer: every latent's score and frequency, and the chosen latents.

    Attributes
    ----------
    scores, frequencies : dict of int to Tensor
        ``(width,)`` per layer; the frequency is over all safety requests' scored tokens.
    protected, controls : dict of int to LongTensor
        Ascending.
    """

    scores: dict[int, Tensor]
    frequencies: dict[int, Tensor]
    protected: dict[int, Tensor]
    controls: dict[int, Tensor]


def choose_latents(
    loaded: LoadedModel,
    saes: Mapping[int, Sae],
    refused: Sequence[Conversation],
    prompts: PromptSets,
    measurement: MeasurementConfig,
    progress: Progress = silent,
) -> LatentChoice:
    """Score all latents on the ``safety`` requests and take the highest, in total over layers.

    Scores are read at the last prompt tokens. Only latents with a positive score are taken, so
    that fewer than asked for may be protected; the controls are as many random ones per layer
    that fire on any safety request and are not protected.
    """
    texts = {kind: [p.text for p in prompts.get("safety", kind)] for kind in _OTHER_KINDS}
    texts["harmful"] = [talk.prompt.text for talk in refused]
    counts = {kind: len(part) for kind, part in texts.items() if part}
    total, done = sum(counts.values()), 0
    report = counted(progress, total, "choosing safety-critical latents, request")
    statistics = {}
    for kind, count in counts.items():

        def tell(share: float, done: int = done, count: int = count) -> None:
            report((done + share * count) / total)

        statistics[kind] = latent_statistics(
            loaded.model, loaded.anatomy, loaded.chat, saes, texts[kind], progress=tell
        )
        done += count
    layers = sorted(saes)
    scores = latent_scores(
        measurement.latent_score, statistics["harmful"], statistics.get("harmless")
    )
    frequencies = {
        x: torch.stack([statistics[kind][x].frequency * n for kind, n in counts.items()]).sum(dim=0)
        / total
        for x in layers
    }
    protected = highest_latents(scores, measurement.latents)
    controls = {
        x: random_latents(
            frequencies[x], protected[x], generator(measurement.seed, "controls", str(x))
        )
        for x in layers
    }
    return LatentChoice(scores, frequencies, protected, controls)


_OTHER_KINDS: Final = ("harmless", "lookalike")


def latents_table(
    loaded: LoadedModel,
    features: SafetyFeatures,
    choice: LatentChoice,
    conversations: Sequence[Conversation],
    seed: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the ``latents`` table: choice, what fires each latent, what it promotes, its place.

    ``promoted_tokens`` is the logit lens: the decoder direction goes through the final norm
    (where the model has one) and the unembedding. ``pca_*`` and ``umap_*`` place the decoder
    directions of the latents that fire on these conversations.
    """
    firing = _top_tokens(
        loaded, features, mixed(conversations, seed), report_part(progress, 0.0, 0.6)
    )
    parts = []
    for number, layer in enumerate(features.layers):
        progress(0.6 + 0.4 * number / len(features.layers), f"mapping the latents of layer {layer}")
        sae = features.saes[layer]
        tokens = firing[layer]
        part = pd.DataFrame({"layer": layer, "latent": np.arange(sae.width)})
        for column, chosen in (("protected", features.protected), ("control", features.controls)):
            part[column] = np.isin(part["latent"], chosen[layer].cpu().numpy())
        part["score"] = choice.scores[layer].numpy()
        part["frequency"] = choice.frequencies[layer].numpy()
        part["top_tokens"] = [json.dumps(examples) for examples in tokens]
        part["promoted_tokens"] = [
            json.dumps(promoted) for promoted in _promoted(loaded, sae.w_dec)
        ]
        live = np.array([bool(examples) for examples in tokens])
        directions = torch.nn.functional.normalize(sae.w_dec, dim=1).cpu().numpy()
        for name, places in _maps(directions[live], seed).items():
            for axis, suffix in enumerate("xy"):
                part[f"{name}_{suffix}"] = np.nan
                if places is not None:
                    part.loc[live, f"{name}_{suffix}"] = places[:, axis].round(3)
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    floats = table.select_dtypes("float64").columns
    return table.astype(dict.fromkeys(floats, "float32"))


def latent_cards(loaded: LoadedModel, features: SafetyFeatures) -> pd.DataFrame:
    """Return the ``latent_cards`` table of the protected and the control latents.

    It has the tokens that each makes least likely, read like ``promoted_tokens``, and the latents
    of its layer whose decoder directions are nearest by cosine.
    """
    parts = []
    for layer in features.layers:
        sae = features.saes[layer]
        chosen = torch.cat([features.protected[layer], features.controls[layer]])
        chosen = chosen.to(sae.w_dec.device)
        suppressed = _promoted(loaded, sae.w_dec[chosen], sign=-1)
        directions = torch.nn.functional.normalize(sae.w_dec, dim=1)
        cosines = directions[chosen] @ directions.T
        cosines[torch.arange(len(chosen)), chosen] = -2
        nearest = cosines.topk(min(NEIGHBOURS, sae.width - 1), dim=1)
        pairs = zip(nearest.indices.tolist(), nearest.values.tolist(), strict=True)
        near = [
            [[latent, round(cosine, 3)] for latent, cosine in zip(*pair, strict=True)]
            for pair in pairs
        ]
        part = pd.DataFrame({"layer": layer, "latent": chosen.tolist()})
        part["suppressed_tokens"] = [json.dumps(tokens) for tokens in suppressed]
        part["neighbours"] = [json.dumps(each) for each in near]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def mixed(
    conversations: Sequence[Conversation], seed: int, count: int = CARD_TEXTS
) -> list[Conversation]:
    """Return at most `count` conversations, as many of each kind as can be."""
    order = torch.randperm(len(conversations), generator=generator(seed, "cards")).tolist()
    by_kind: dict[str, list[Conversation]] = {}
    for index in order:
        talk = conversations[index]
        by_kind.setdefault(talk.prompt.kind, []).append(talk)
    share = count // max(len(by_kind), 1)
    return [talk for part in by_kind.values() for talk in part[:share]]


def rows_at_once(features: SafetyFeatures) -> int:
    """Return how many conversations are read together: all codes of wide SAEs fill gigabytes."""
    width = max(sae.width for sae in features.saes.values())
    return max(min(ROWS, 2 * _NUMBERS // (MAX_LENGTH * width)), 1)


@torch.no_grad()
def _top_tokens(
    loaded: LoadedModel,
    features: SafetyFeatures,
    conversations: Sequence[Conversation],
    progress: Progress,
) -> dict[int, list[list[dict[str, Any]]]]:
    """Return, per layer and latent, its strongest tokens, one per conversation at most."""
    best: dict[int, list[Tensor]] = {layer: [] for layer in features.layers}
    where: dict[int, list[Tensor]] = {layer: [] for layer in features.layers}
    rows: dict[int, list[str]] = {}
    batches = conversation_batches(loaded, conversations, rows=rows_at_once(features))
    report = counted(progress, len(conversations), "describing the latents, conversation")
    layers = features.layers
    for (places, batch, _), streams in conversation_streams(loaded, batches, layers, report):
        inside = (batch.attention_mask.bool() & (batch.position_ids > 0)).unsqueeze(-1)
        for layer in features.layers:
            codes = features.encode(layer, streams[layer]) * inside
            strongest = codes.max(dim=1)
            best[layer].append(strongest.values.cpu())
            where[layer].append(strongest.indices.cpu())
        for place, ids, mask in zip(places, batch.input_ids, batch.attention_mask, strict=True):
            tokens = ids[mask.bool()].tolist()
            rows[place] = [loaded.chat.tokenizer.decode([token]) for token in tokens]
    read = [talks.places for talks in batches]
    return {
        layer: _examples(in_order(read, best[layer]), in_order(read, where[layer]), rows)
        for layer in features.layers
    }


def _examples(
    values: Tensor, positions: Tensor, rows: Mapping[int, Sequence[str]]
) -> list[list[dict[str, Any]]]:
    top = values.topk(min(TOP_TOKENS, len(values)), dim=0)
    by_latent: list[list[dict[str, Any]]] = []
    for latent in range(values.shape[1]):
        examples = []
        for value, row in zip(
            top.values[:, latent].tolist(), top.indices[:, latent].tolist(), strict=True
        ):
            if value <= 0:
                break
            examples.append(example(rows[row], int(positions[row, latent]), value))
        by_latent.append(examples)
    return by_latent


def example(pieces: Sequence[str], at: int, activation: float) -> dict[str, Any]:
    """Return a token that fires a latent, in its context, as tables hold it."""
    return {
        "token": pieces[at],
        "context_before": "".join(pieces[max(at - CONTEXT, 0) : at]),
        "context_after": "".join(pieces[at + 1 : at + 1 + CONTEXT // 2]),
        "activation": round(activation, 2),
    }


@torch.no_grad()
def _promoted(
    loaded: LoadedModel, rows_of_decoder: Tensor, sign: int = 1
) -> list[list[tuple[str, float]]]:
    """Return the tokens whose logits each decoder direction raises most; with -1, lowers most."""
    unembedding = loaded.model.get_output_embeddings().weight  # type: ignore[operator]
    norm = final_norm(loaded)
    directions: Tensor = torch.nn.functional.normalize(rows_of_decoder, dim=1)
    directions = directions.to(unembedding.device)
    if norm is not None:
        directions = norm(directions)
    count = min(PROMOTED, len(unembedding))
    # In parts: all logits of a wide SAE and a large vocabulary would fill many gigabytes.
    rows = max(_NUMBERS // len(unembedding), 1)
    # The direction is turned, not its millions of logits.
    parts = [
        (sign * part @ unembedding.T.float()).topk(count, dim=1)
        for part in torch.split(directions, rows)
    ]
    top_indices: Tensor = torch.cat([part.indices for part in parts])
    top_values = torch.cat([part.values for part in parts])
    names: dict[int, str] = {}
    for token in torch.unique(top_indices).tolist():
        names[token] = loaded.chat.tokenizer.decode([token])
    return [
        [
            (names[token], round(sign * value, 2))
            for token, value in zip(tokens, values, strict=True)
        ]
        for tokens, values in zip(top_indices.tolist(), top_values.tolist(), strict=True)
    ]


def final_norm(loaded: LoadedModel) -> nn.Module | None:
    """Return the norm between the last decoder layer and the unembedding, None without one."""
    owner = loaded.model.get_submodule(loaded.anatomy.layers_path.rpartition(".")[0])
    # Every architecture keeps it beside the list of layers, after any norm of the embeddings.
    norms = [child for child in owner.children() if "norm" in type(child).__name__.lower()]
    return norms[-1] if norms else None


def _maps(directions: np.ndarray, seed: int) -> dict[str, np.ndarray | None]:
    """Return two-dimensional maps of unit directions; None where there are too few."""
    if len(directions) < 3:
        return {"pca": None, "umap": None}
    # Imported here only: it brings scipy.stats, a fifth of what every start of a run takes.
    from sklearn.decomposition import PCA  # noqa: PLC0415

    # PCA depends on BLAS's number of threads in its last bits, and UMAP, which starts from one,
    # turns such a bit into another map. The limit also undoes what numba does on the way: it
    # gives the process's OpenMP all cores, and sums that are taken afterwards would differ.
    with threadpool_limits(1):
        pca = PCA(n_components=2, random_state=seed).fit_transform(directions)
        umap = _umap(directions, seed) if len(directions) >= MIN_FOR_UMAP else None
    return {"pca": pca, "umap": umap}


def _umap(directions: np.ndarray, seed: int) -> np.ndarray:
    # Imported here only: 3 seconds, and more to compile at the first fit of a process.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap  # noqa: PLC0415

        count = min(15, len(directions) - 1)
        # UMAP's own search for them is compiled for half a minute, and only near right where
        # there are more than 4,096 directions. The organism's maps were made with it.
        wide = directions.shape[1] > SMALL
        known = nearest(directions, count) if wide else (None, None, None)
        # Two fits agree only with init="pca": the spectral start is not deterministic where
        # the neighbour graph falls apart (lmcinnes/umap#544).
        reducer = umap.UMAP(
            n_neighbors=count,
            precomputed_knn=known,
            metric="cosine",
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return np.asarray(reducer.fit_transform(directions))


def nearest(directions: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each unit direction's nearest by cosine, itself first, and their distances."""
    distances = 1 - directions @ directions.T
    # Whatever rounding makes of it, a direction is nearest to itself.
    np.fill_diagonal(distances, -1)
    found = np.argpartition(distances, count - 1, axis=1)[:, :count]
    far = np.take_along_axis(distances, found, axis=1)
    order = np.argsort(far, axis=1, kind="stable")
    far = np.take_along_axis(far, order, axis=1).clip(0)
    return np.take_along_axis(found, order, axis=1), far.astype(np.float32)

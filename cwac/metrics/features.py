"""What became of the aligned features: all latents' activity, the safety features' drift."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cwac.anatomy import LinearMap, weight_of
from cwac.features import (
    LatentStatistics,
    SafetyFeatures,
    last_tokens,
    latent_statistics,
    token_codes,
)
from cwac.interfaces import MeasureContext, Measurement, Metric, MetricInfo
from cwac.passes import Beginning, in_order, right_padded
from cwac.prompts import KINDS, Kind, Prompt
from cwac.scores import no_scores

HISTOGRAM: Final = "feature_histograms"
BINS: Final = 8
MAX_BINS: Final = 12
TOKENS: Final = "token_activations"
SENTENCES: Final[Mapping[Kind, int]] = {"harmful": 2, "lookalike": 1, "harmless": 1}
"""Test requests whose every token is kept."""


class FeatureDrift(Metric):
    """Latents' activity on the test requests, and the safety features' change.

    The aligned model (the reference) gets the tables ``features``, ``feature_histograms`` and
    ``token_activations``; its drift and its ``prompt_lenses`` would be 0 by definition and are
    left out.
    """

    name: ClassVar[str] = "features"
    infos: ClassVar[tuple[MetricInfo, ...]] = (
        MetricInfo(
            "safety_feature_drift",
            "Safety-feature drift",
            unit="share of the aligned norm",
            direction="lower",
            range=None,
        ),
    )

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure all latents, and compare the safety features with the aligned model's."""
        features = context.yardstick.features
        prompts = {kind: _test_prompts(context, kind) for kind in KINDS}
        asked = {
            kind: [context.evaluation_prompt(prompt.text) for prompt in part]
            for kind, part in prompts.items()
            if part
        }
        # The aligned model's two passes come behind those of all kinds.
        parts = len(asked) if context.is_aligned else len(asked) + 2
        current = {
            kind: _statistics(context, texts, number / parts, 1 / parts)
            for number, (kind, texts) in enumerate(asked.items())
        }
        tables = {
            "features": _features_table(features, current),
            HISTOGRAM: _histogram_table(features, current, context.aligned_tables),
            TOKENS: token_activations(context),
        }
        harmful = prompts["harmful"]
        if context.is_aligned or not harmful:
            return Measurement(tables=tables)
        texts = tuple(prompt.text for prompt in harmful)
        with aligned_weights(context.model, context.aligned):
            aligned = context.once(
                ("latents", texts),
                lambda: _statistics(context, texts, len(asked) / parts, 1 / parts),
            )
            context.progress(1 - 1 / parts)
            inputs = _last_inputs(context, texts)
        shifts, drift = _shifts(current["harmful"], aligned)
        tables["prompt_lenses"] = _lenses(context, harmful, shifts, inputs)
        value = self.infos[0].value(drift, count=len(harmful))
        return Measurement(values={self.infos[0].name: value}, tables=tables)


# The aligned model's side


@contextmanager
def aligned_weights(model: nn.Module, aligned: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a model the aligned weights for the length of a block, without copying any."""
    current = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        for name, parameter in model.named_parameters():
            parameter.data = aligned[name].to(parameter.device)
        yield
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = current[name]


def _test_prompts(context: MeasureContext, kind: Kind) -> Sequence[Prompt]:
    return context.prompts.get("test", kind)[: context.config.evaluation.prompt_limit]


def _statistics(
    context: MeasureContext, texts: Sequence[str], start: float, share: float
) -> dict[int, LatentStatistics]:
    """Measure all latents; progress begins at `start` and covers `share` of the whole."""
    features = context.yardstick.features
    return latent_statistics(
        context.model,
        context.anatomy,
        context.chat,
        features.saes,
        texts,
        chosen=features.protected,
        progress=lambda done: context.progress(start + share * done),
    )


# Tables about latents


def _features_table(
    features: SafetyFeatures, statistics: Mapping[Kind, Mapping[int, LatentStatistics]]
) -> pd.DataFrame:
    parts = []
    for layer in features.layers:
        width = features.saes[layer].width
        part: dict[str, Any] = {"layer": layer, "latent": np.arange(width)}
        for kind in KINDS:
            # Without requests of a kind nothing was measured, and the schema allows no gaps in
            # a latent's row: such a table would be read as zeros.
            mine = statistics[kind][layer] if kind in statistics else None
            nothing = np.full(width, np.nan)
            part[f"mean_{kind}"] = nothing if mine is None else mine.mean.numpy()
            part[f"frequency_{kind}"] = nothing if mine is None else mine.frequency.numpy()
        part["protected"] = np.isin(part["latent"], features.protected[layer].cpu().numpy())
        part["control"] = np.isin(part["latent"], features.controls[layer].cpu().numpy())
        parts.append(pd.DataFrame(part))
    return _compact(pd.concat(parts, ignore_index=True))


def _histogram_table(
    features: SafetyFeatures,
    statistics: Mapping[Kind, Mapping[int, LatentStatistics]],
    reference: Mapping[str, pd.DataFrame] | None,
) -> pd.DataFrame:
    """Count safety features' activations; every arm uses the aligned model's bins."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("layer", "latent", "kind", "low", "high", "count")
    }
    widths = _bin_widths(reference)
    for layer in features.layers:
        for number, latent in enumerate(features.protected[layer].tolist()):
            values = {
                kind: stats[layer].codes[..., number].numpy().ravel()
                for kind, stats in statistics.items()
            }
            highest = max((float(part.max()) for part in values.values()), default=0.0)
            step = widths.get((layer, latent)) or (highest or 1.0) / BINS
            count = min(int(np.ceil(highest / step)) or 1, MAX_BINS)
            edges = step * np.arange(count + 1)
            # The last bin takes what lies beyond it.
            edges[-1] = max(edges[-1], highest)
            for kind, part in values.items():
                counts = np.histogram(np.clip(part, 0, edges[-1]), bins=edges)[0]
                columns["layer"] += [layer] * count
                columns["latent"] += [latent] * count
                columns["kind"] += [kind] * count
                columns["low"] += edges[:-1].tolist()
                columns["high"] += edges[1:].tolist()
                columns["count"] += counts.tolist()
    return _compact(pd.DataFrame(columns))


def _bin_widths(reference: Mapping[str, pd.DataFrame] | None) -> dict[tuple[int, int], float]:
    if reference is None or HISTOGRAM not in reference:
        return {}
    first = reference[HISTOGRAM].drop_duplicates(["layer", "latent"])
    keys = zip(first["layer"].astype(int), first["latent"].astype(int), strict=True)
    return dict(zip(keys, (first["high"] - first["low"]).astype(float), strict=True))


def _compact(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in small types, floats to four significant digits: half the bytes."""
    for name in table.select_dtypes("float"):
        values = table[name].to_numpy(dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 10.0 ** (3 - np.floor(np.log10(np.abs(values))))
            # Zeros and gaps have no leading digit; they stay as they are.
            rounded = np.where(np.isfinite(scale), np.round(values * scale) / scale, values)
        table[name] = rounded.astype(np.float32)
    for name in table.select_dtypes("integer"):
        table[name] = pd.to_numeric(table[name], downcast="integer")
    return table


# Single requests, token by token


def token_activations(context: MeasureContext) -> pd.DataFrame:
    """Return the ``token_activations`` table: safety features at every token of a few requests.

    These are the first of a kind, and where there are two the one in the middle: in files that are
    ordered by category another one.
    """
    features = context.yardstick.features
    prompts = [
        part[place * len(part) // count]
        for kind, count in SENTENCES.items()
        if (part := _test_prompts(context, kind))
        for place in range(min(count, len(part)))
    ]
    columns = ("prompt_id", "kind", "prompt", "layer", "latent", "tokens", "activations")
    rows: list[tuple[Any, ...]] = []
    if prompts:
        texts = [context.evaluation_prompt(prompt.text) for prompt in prompts]
        chosen = {layer: features.protected[layer] for layer in features.layers}
        read = token_codes(
            context.model, context.anatomy, context.chat, features.saes, texts, chosen
        )
        for prompt, mine in zip(prompts, read, strict=True):
            of_prompt = (prompt.id, prompt.kind, prompt.text)
            pieces = json.dumps(mine.pieces)
            for layer, latent, column in _by_latent(chosen, mine.codes):
                rows.append((*of_prompt, layer, latent, pieces, json.dumps(column)))
    return pd.DataFrame(rows, columns=list(columns))


def _by_latent(
    chosen: Mapping[int, Tensor], codes: Mapping[int, Tensor]
) -> Iterator[tuple[int, int, list[float | None]]]:
    """Give layer, latent and its activations by token, to three digits; None is not read."""
    for layer, latents in chosen.items():
        for latent, column in zip(latents.tolist(), codes[layer].T.tolist(), strict=True):
            short = [None if np.isnan(value) else float(f"{value:.3g}") for value in column]
            # Most are zeros, which take a digit this way.
            yield layer, latent, [0 if value == 0 else value for value in short]


# Lenses on single requests


def _shifts(
    current: Mapping[int, LatentStatistics], aligned: Mapping[int, LatentStatistics]
) -> tuple[dict[int, np.ndarray], float | None]:
    """Return ``||z - z0|| / ||z0||`` per layer and request, and pooled over all of them."""
    shifts, moved, size = {}, 0.0, 0.0
    for layer, before in aligned.items():
        change = (current[layer].codes - before.codes).double().square().sum(dim=(1, 2))
        norm = before.codes.double().square().sum(dim=(1, 2))
        shifts[layer] = _root_ratio(change, norm)
        moved, size = moved + float(change.sum()), size + float(norm.sum())
    return shifts, (moved / size) ** 0.5 if size else None


def _root_ratio(top: Tensor, bottom: Tensor) -> np.ndarray:
    ratio = torch.where(bottom > 0, top / bottom, torch.full_like(top, torch.nan)).sqrt()
    return ratio.cpu().numpy()


@dataclass(frozen=True)
class _LastInput:
    """Inputs ``(N, d_in)`` of a map at the last prompt token, in the aligned model."""

    entry: LinearMap
    inputs: Tensor


def _last_inputs(context: MeasureContext, texts: tuple[str, ...]) -> list[_LastInput]:
    """Return what the yardstick's maps read; the model must have the aligned weights."""
    measurement = context.config.measurement
    maps = context.yardstick.subspace.select(measurement.maps, measurement.layers).maps
    key = ("last inputs", texts, tuple(entry.path for entry in maps))
    inputs = context.once(key, lambda: _read_inputs(context, texts, maps))
    return [_LastInput(entry, read) for entry, read in zip(maps, inputs, strict=True)]


@torch.no_grad()
def _read_inputs(
    context: MeasureContext, texts: Sequence[str], maps: Sequence[LinearMap]
) -> list[Tensor]:
    ids = list(map(context.chat.prompt_ids, texts))
    seen: dict[str, list[Tensor]] = {entry.path: [] for entry in maps}
    latest: dict[str, Tensor] = {}

    def remember(path: str) -> Any:
        def read(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            latest[path] = arguments[0]

        return read

    handles = [
        context.model.get_submodule(entry.path).register_forward_pre_hook(remember(entry.path))
        for entry in maps
    ]
    batches = []
    try:
        beginning = Beginning(context.model, ids)
        for places, batch in right_padded(beginning, context.anatomy, context.chat, ids):
            batches.append(places)
            with no_scores(context.model):
                context.model(**beginning.inputs(batch))
            shape = batch.input_ids.shape
            for path, inputs in latest.items():
                # Some architectures flatten (B, L, d) before the FFN.
                whole = inputs.reshape(*shape, inputs.shape[-1])
                seen[path].append(last_tokens(whole, batch.attention_mask, 1).squeeze(1))
    finally:
        for handle in handles:
            handle.remove()
    return [in_order(batches, seen[entry.path]) for entry in maps]


@torch.no_grad()
def _leaks(context: MeasureContext, inputs: Sequence[_LastInput]) -> dict[int, np.ndarray]:
    """Return ``||dW x|| / ||W0 x||`` per layer and request, pooled over the layer's maps."""
    tops: dict[int, Tensor] = {}
    bottoms: dict[int, Tensor] = {}
    for seen in inputs:
        layer, x = seen.entry.layer, seen.inputs.double()
        before = weight_of(context.aligned, seen.entry).to(x)
        delta = weight_of(context.model, seen.entry).to(x) - before
        top = (x @ delta.T).square().sum(dim=1)
        bottom = (x @ before.T).square().sum(dim=1)
        tops[layer] = tops.get(layer, torch.zeros_like(top)) + top
        bottoms[layer] = bottoms.get(layer, torch.zeros_like(bottom)) + bottom
    return {layer: _root_ratio(tops[layer], bottoms[layer]) for layer in tops}


def _lenses(
    context: MeasureContext,
    prompts: Sequence[Prompt],
    shifts: Mapping[int, np.ndarray],
    inputs: Sequence[_LastInput],
) -> pd.DataFrame:
    leaks = _leaks(context, inputs)
    nothing = np.full(len(prompts), np.nan)
    parts = [
        pd.DataFrame(
            {
                "prompt_id": [prompt.id for prompt in prompts],
                "layer": layer,
                "leak": leaks.get(layer, nothing),
                "feature_shift": shifts.get(layer, nothing),
            }
        )
        for layer in range(context.anatomy.n_layers)
    ]
    return _compact(pd.concat(parts, ignore_index=True))

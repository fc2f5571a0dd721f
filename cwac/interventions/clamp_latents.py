"""Clamp single latents: each protected one held at a value, and the refusal log-odds that move."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cwac.features import Edit, Steering, edited
from cwac.first_token import log_odds_of
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import batches, whole_prompts
from cwac.interventions.bench import Part
from cwac.passes import last_logits, pass_inputs
from cwac.statistics import mean_interval

MOVED: Final = "log_odds_moved"
"""Mean change of the refusal log-odds, paired over requests."""
RANDOM: Final = 10
"""Random active latents per layer that every protected one is held against."""
ON: Final = "at its aligned mean"
OFF: Final = "off, in the aligned model"


def latent_part(layer: int, latent: int) -> Part:
    """Return what is acted on: one latent of the SAE after a layer."""
    return Part(f"L{layer}/{latent}", layer)


class ClampLatents(Intervention):
    """Each protected latent alone is held at a value at the last prompt token.

    In the tuned model at the mean that the aligned model has there over the same requests: what
    the latent alone would bring back. In the aligned model at 0: what refusing needs of it. The
    control does the same with random active latents of the layer; held on, they are held at the
    mean level of its protected latents, because their own may be next to nothing there.

    Notes
    -----
    All but the last token is read once and kept: what is clamped at the last token changes nothing
    before it. The decision is taken there (`patch_residual`), and a latent that fires earlier in
    the prompt alone is not moved. What the SAE does not explain stays.
    """

    name = "clamp_latents"
    by_grain = False

    def cost(self, context: DissectContext) -> Cost:
        """Return full passes: four, and the last tokens' as far as they take one."""
        prompts = [batch.attention_mask for _, batch in batches(context)]
        mean = sum(int(mask.sum()) for mask in prompts) / max(sum(map(len, prompts)), 1)
        return Cost((4 + round(2 * len(_latents(context)) / max(mean, 1))) * whole_prompts(context))

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return two rows per latent."""
        latents = _latents(context)
        if not latents:
            return []
        tuned = _LastTokens(context, context.model)
        aligned = _LastTokens(context, context.aligned_model)
        features = context.yardstick.features
        means = {
            layer: codes.mean(dim=0).cpu()
            for layer, codes in aligned.codes(features.layers).items()
        }
        protected = {
            layer: float(means[layer][chosen.cpu()].mean()) if len(chosen) else 0.0
            for layer, chosen in features.protected.items()
        }
        now, before = tuned.odds(), aligned.odds()
        saes = features.to(context.device).saes
        steps = round(self.cost(context).passes)
        rows = []
        for place, (layer, latent, control) in enumerate(latents):
            level = protected[layer] if control else float(means[layer][latent])
            part = latent_part(layer, latent)
            for variant, model, base, value in (
                (ON, tuned, now, level), (OFF, aligned, before, 0.0),
            ):  # fmt: skip
                edit = partial(Steering(layer, latent, clamp=value).edit, saes[layer])
                moved = _moved(model.odds(layer, edit), base)
                row = part.row(variant, measure=MOVED, dose=value, control=control, **moved)
                rows.append(row)
            if (place + 1) * steps // len(latents) > place * steps // len(latents):
                context.progress()
        return rows


def _latents(context: DissectContext) -> list[tuple[int, int, bool]]:
    """Return layer and number of each latent that is clamped, and whether it is a control."""
    features = context.yardstick.features
    controls = [
        (layer, latent, True)
        for layer in features.layers
        for latent in features.controls[layer][:RANDOM].tolist()
    ]
    return [(*pair, False) for pair in features.index] + controls


def _moved(odds: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    change = odds - base
    interval = mean_interval(change)
    return {
        "value": float(change.mean()),
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "n": len(odds),
        "refusing": int((odds > 0).sum()),
    }


class _LastTokens:
    """A model that has read all but the last token of every harmful test request."""

    def __init__(self, context: DissectContext, model: nn.Module) -> None:
        self._context, self._model = context, model
        self._read = [(places, batch, self._prefix(batch)) for places, batch in batches(context)]

    @torch.inference_mode()
    def _prefix(self, batch: Any) -> DynamicCache:
        cache = DynamicCache(config=self._model.config)
        ids, attention = batch.input_ids[:, :-1], batch.attention_mask[:, :-1]
        positions = batch.position_ids[:, :-1]
        self._model(**pass_inputs(self._model, ids, attention, positions, cache))
        return cache

    @torch.inference_mode()
    def odds(self, layer: int | None = None, edit: Edit | None = None) -> np.ndarray:
        """Return the refusal log-odds, ``(N,)``, with the stream after a layer changed."""
        odds = np.full(len(self._context.harmful_test()), np.nan)
        for places, batch, cache in self._read:
            with self._changed(layer, edit):
                logits = last_logits(
                    self._model,
                    batch.input_ids[:, -1:],
                    batch.attention_mask,
                    batch.position_ids[:, -1:],
                    # A pass writes into what it is given.
                    copy.deepcopy(cache),
                )
            odds[places] = log_odds_of(logits, self._context.refusal_tokens)
        return odds

    def codes(self, layers: Sequence[int]) -> dict[int, Tensor]:
        """Return the codes of all latents at the last token, ``(N, width)`` per layer."""
        saes = self._context.yardstick.features.to(self._context.device).saes
        codes: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        for layer in layers:

            def keep(stream: Tensor, layer: int = layer) -> Tensor:
                codes[layer].append(saes[layer].encode(stream[:, -1]))
                return stream

            self.odds(layer, keep)
        return {layer: torch.cat(parts) for layer, parts in codes.items()}

    def _changed(self, layer: int | None, edit: Edit | None) -> AbstractContextManager[None]:
        if layer is None or edit is None:
            return nullcontext()
        return edited(self._model, self._context.anatomy, layer, edit)

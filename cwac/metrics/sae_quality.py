"""How well the aligned model's SAEs still fit a model: the trust in every feature number."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cwac.anatomy import SMALL, forward_inputs, layer_module, residual_streams
from cwac.chat import Batch, collate
from cwac.features import Sae
from cwac.interfaces import MeasureContext, Measurement, Metric
from cwac.prompts import KINDS

BATCH: Final = 64
BATCH_WIDE: Final = 8
"""Of a wide model, whose texts are batched by length."""
PROMPTS: Final = 60
"""Test requests per kind whose text is measured on."""
MAX_LENGTH: Final = 256


class SaeQuality(Metric):
    """How well the aligned model's SAEs fit this model, on test requests with stored answers.

    The cross-entropy gap (nats per token, with a layer's output rebuilt minus without) is small
    and positive on the aligned model. On a tuned one it can be negative: the text holds the
    aligned model's answers, and rebuilding from its features moves the residual back to them.
    """

    name: ClassVar[str] = "sae_quality"

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure explained variance, L0 and what reconstruction costs in cross-entropy."""
        features = context.yardstick.features
        batches = _quality_batches(context)
        if not batches:
            return Measurement()
        plain = _cross_entropy(context.model, batches)
        rows = [
            {"layer": layer}
            | _fit_figures(context, features.saes[layer], layer, batches)
            | {
                "cross_entropy_gap": _replaced_entropy(context, layer, batches) - plain,
                # A tenth of the safety text is measured when the SAEs are fitted; a few
                # thousand tokens cannot tell a dead latent from a rare one.
                "dead_fraction": np.nan,
            }
            for layer in features.layers
        ]
        return Measurement(tables={"sae_quality": pd.DataFrame(rows)})


def _quality_batches(context: MeasureContext) -> list[Batch]:
    """Return test conversations (requests alone where no answer is stored) as batches."""
    items = []
    for kind in KINDS:
        for prompt in context.prompts.get("test", kind)[:PROMPTS]:
            if prompt.answer:
                items.append(context.chat.example_ids(prompt.text, prompt.answer))
            else:
                ids = context.chat.prompt_ids(prompt.text)
                items.append((ids, [False] * len(ids)))
    size = BATCH
    if context.anatomy.d_model > SMALL:
        # Padding would be four fifths of the tokens; a small model's figures stay as stored.
        items, size = sorted(items, key=lambda item: len(item[0])), BATCH_WIDE
    return [
        collate(items[start : start + size], context.chat.pad_id, max_length=MAX_LENGTH).to(
            context.device
        )
        for start in range(0, len(items), size)
    ]


def _counted(batch: Batch) -> Tensor:
    # The first token is left out, as in the SAEs' training.
    return batch.attention_mask.bool() & (batch.position_ids > 0)


@torch.no_grad()
def _fit_figures(
    context: MeasureContext, sae: Sae, layer: int, batches: Sequence[Batch]
) -> dict[str, float]:
    parts = []
    for batch in batches:
        stream = residual_streams(context.model, context.anatomy, batch, layer)[layer]
        parts.append(stream[_counted(batch)])
    residuals = torch.cat(parts)
    codes = sae.encode(residuals)
    error = (residuals - sae.decode(codes)).square().sum()
    total = (residuals - residuals.mean(dim=0)).square().sum()
    return {
        "explained_variance": float(1 - error / total),
        "l0": float((codes > 0).sum(dim=1).float().mean()),
        "tokens": len(residuals),
    }


def _replaced_entropy(context: MeasureContext, layer: int, batches: Sequence[Batch]) -> float:
    """Return the cross-entropy with a layer's output replaced by its reconstruction."""
    sae = context.yardstick.features.saes[layer]

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        stream = output[0] if isinstance(output, tuple) else output
        rebuilt = sae.decode(sae.encode(stream)).to(stream.dtype)
        # The first token is none of the SAE's business, but all others attend to it.
        rebuilt[:, 0] = stream[:, 0]
        return (rebuilt, *output[1:]) if isinstance(output, tuple) else rebuilt

    handle = layer_module(context.model, context.anatomy, layer).register_forward_hook(replace)
    try:
        return _cross_entropy(context.model, batches)
    finally:
        handle.remove()


@torch.no_grad()
def _cross_entropy(model: nn.Module, batches: Sequence[Batch]) -> float:
    """Return the mean cross-entropy over all tokens but each text's first two, in nats."""
    total, count = 0.0, 0
    for batch in batches:
        logits = model(**forward_inputs(batch)).logits[:, 1:-1].float()
        wanted = batch.input_ids[:, 2:]
        keep = _counted(batch)[:, 2:]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
        total += float(losses[keep].sum())
        count += int(keep.sum())
    return total / count if count else float("nan")

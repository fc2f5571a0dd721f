"""How well the aligned model's SAEs still fit a model: the trust in every feature number."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from cwac.anatomy import SMALL, Anatomy, forward_inputs, layer_module
from cwac.chat import Batch, collate
from cwac.features import Sae
from cwac.interfaces import MeasureContext, Measurement, Metric
from cwac.passes import Beginning, read_together
from cwac.prompts import KINDS
from cwac.scores import output_layer, picking

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
        parts = 1 + len(features.layers)
        texts = _Texts(context, batches)
        with _recorded(context.model, context.anatomy, features.layers) as streams:
            plain = texts.cross_entropy((0.0, 1 / parts))
        rows = []
        for number, layer in enumerate(features.layers, start=1):
            sae, span = features.saes[layer], (number / parts, (number + 1) / parts)
            rebuilt = texts.rebuilt(sae, streams[layer])
            with resumed(context.model, context.anatomy, layer, rebuilt):
                gap = texts.cross_entropy(span, layer) - plain
            rows.append(
                {"layer": layer}
                | _fit_figures(sae, texts.whole(streams[layer]), batches)
                # A tenth of the safety text is measured when the SAEs are fitted; a few
                # thousand tokens cannot tell a dead latent from a rare one.
                | {"cross_entropy_gap": gap, "dead_fraction": np.nan}
            )
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
    return [
        collate([items[place] for place in places], context.chat.pad_id, max_length=MAX_LENGTH).to(
            context.device
        )
        for places in read_together(
            context.anatomy, [len(ids) for ids, _ in items], limit=MAX_LENGTH
        )
    ]


def _counted(batch: Batch) -> Tensor:
    # The first token is left out, as in the SAEs' training.
    return batch.attention_mask.bool() & (batch.position_ids > 0)


@contextmanager
def _recorded(
    model: nn.Module, anatomy: Anatomy, layers: Sequence[int]
) -> Iterator[dict[int, list[Tensor]]]:
    """Keep the residual stream after some layers, pass by pass."""
    streams: dict[int, list[Tensor]] = {layer: [] for layer in layers}

    def keep(layer: int) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Any) -> None:
            streams[layer].append(output[0] if isinstance(output, tuple) else output)

        return read

    handles = [
        layer_module(model, anatomy, layer).register_forward_hook(keep(layer)) for layer in layers
    ]
    try:
        yield streams
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _fit_figures(sae: Sae, streams: Sequence[Tensor], batches: Sequence[Batch]) -> dict[str, float]:
    pairs = zip(streams, batches, strict=True)
    residuals = torch.cat([stream[_counted(batch)] for stream, batch in pairs])
    codes = sae.encode(residuals)
    error = (residuals - sae.decode(codes)).square().sum()
    total = (residuals - residuals.mean(dim=0)).square().sum()
    return {
        "explained_variance": float(1 - error / total),
        "l0": float((codes > 0).sum(dim=1).float().mean()),
        "tokens": len(residuals),
    }


@contextmanager
def resumed(
    model: nn.Module, anatomy: Anatomy, layer: int, streams: Iterator[Tensor]
) -> Iterator[None]:
    """Let each pass begin behind decoder layer `layer`, with the next of `streams` there.

    The layers up to it give the stream whatever they read: nothing is computed twice. They are
    computed where later layers read keys and values of earlier ones (Gemma 3n and 4).
    """
    upto = [layer_module(model, anatomy, index) for index in range(layer + 1)]
    shares = any("shared_kv_states" in signature(module.forward).parameters for module in upto)
    skipped = [] if shares else upto
    own = [vars(module).get("forward") for module in skipped]

    def skip(hidden_states: Tensor, *_arguments: Any, **_named: Any) -> Tensor:
        return hidden_states

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        stream = next(streams)
        return (stream, *output[1:]) if isinstance(output, tuple) else stream

    handle = upto[-1].register_forward_hook(replace)
    for module in skipped:
        module.forward = skip
    try:
        yield
    finally:
        handle.remove()
        for module, forward in zip(skipped, own, strict=True):
            # Mostly the class's, which comes back when the module has none.
            del module.forward
            if forward is not None:
                module.forward = forward


class _Texts:
    """Texts whose cross-entropy is taken several times, with a layer's output as it is or rebuilt.

    What they begin with is one row of a pass of its own, the first each time, whose scores, keys
    and values hold for all batches that it leads.
    """

    def __init__(self, context: MeasureContext, batches: Sequence[Batch]) -> None:
        self._context, self._batches = context, batches
        self._beginning = Beginning.of_batches(context.model, batches, MAX_LENGTH)
        self._led = [self._beginning.leads(batch) for batch in batches]
        self._kept: DynamicCache | None = None

    def whole(self, streams: Sequence[Tensor]) -> list[Tensor]:
        """Return a layer's streams ``(B, L, d_model)`` of the batches, from those of the passes."""
        if not len(self._beginning):
            return list(streams)
        first, *rest = streams
        return [
            torch.cat([first.expand(len(one), -1, -1), one], dim=1) if led else one
            for one, led in zip(rest, self._led, strict=True)
        ]

    def rebuilt(self, sae: Sae, streams: Sequence[Tensor]) -> Iterator[Tensor]:
        """Give a layer's streams of the passes as an SAE rebuilds them."""
        led = [False, *self._led] if len(self._beginning) else self._led
        for stream, behind in zip(streams, led, strict=True):
            rebuilt = sae.decode(sae.encode(stream)).to(stream.dtype)
            if not behind:
                # The first token is none of the SAE's business, but all others attend to it.
                rebuilt[:, 0] = stream[:, 0]
            yield rebuilt

    @torch.no_grad()
    def cross_entropy(self, span: tuple[float, float], layer: int | None = None) -> float:
        """Return the mean over all tokens but each text's first two, in nats.

        Parameters
        ----------
        layer : int, optional
            Behind which the passes begin, those without it having been made before.
        """
        shared, model = len(self._beginning), self._context.model
        kept, first = self._first(layer) if shared else (None, None)
        wide = self._context.anatomy.d_model > SMALL
        total, count = 0.0, 0
        for number, batch in enumerate(self._batches):
            self._context.progress(span[0] + (span[1] - span[0]) * number / len(self._batches))
            keep = _counted(batch)
            # The first token predicts the second, which is left out too.
            keep[:, :2] = False
            count += int(keep.sum())
            if first is None or not self._led[number]:
                entropy = _entropy_by_rows if wide else _entropy
                total += entropy(model, batch, keep)
                continue
            total += _entropy_of(first, batch.input_ids[:, 1 : shared + 1], keep[:, 1 : shared + 1])
            rest = batch.after(shared)
            behind = keep[:, shared:].clone()
            # It is predicted by the beginning's last token.
            behind[:, 0] = False
            inputs = self._beginning.inputs(rest, kept=kept)
            total += _entropy_by_rows(model, rest, behind, inputs)
        return total / count if count else float("nan")

    def _first(self, layer: int | None) -> tuple[DynamicCache, Tensor]:
        """Return what is kept of the beginning, and the scores behind each of its tokens."""
        scores: list[Tensor] = []

        def forward(**given: Any) -> None:
            scores.append(self._context.model(**given).logits[0].float())

        kept = self._beginning.kept_by(forward)
        if layer is None:
            self._kept = kept
        elif self._kept is not None:
            # Of layers that are not computed the keys are never read, but how many there are is.
            kept.layers[: layer + 1] = self._kept.layers[: layer + 1]
        return kept, scores[0]


def _entropy_of(scores: Tensor, wanted: Tensor, keep: Tensor) -> float:
    """Return the summed cross-entropy of rows ``(B, L)`` whose scores ``(L, vocabulary)`` agree."""
    losses = -scores.log_softmax(dim=-1)[torch.arange(len(scores)), wanted]
    return float(losses[keep].sum())


def _entropy(model: nn.Module, batch: Batch, keep: Tensor) -> float:
    logits = model(**forward_inputs(batch)).logits[:, 1:-1].float()
    wanted = batch.input_ids[:, 2:]
    losses = functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none")
    return float(losses[keep[:, 2:]].sum())


def _entropy_by_rows(
    model: nn.Module, batch: Batch, keep: Tensor, inputs: dict[str, Any] | None = None
) -> float:
    """Return the same; of a large vocabulary four times as fast, and without padding's scores."""
    places = keep.flatten().nonzero()[:, 0]
    if not len(places):
        return 0.0
    with picking(output_layer(model), places - 1):
        scores = model(**(inputs or forward_inputs(batch))).logits[0].float()
    wanted = batch.input_ids.flatten()[places]
    return float(functional.cross_entropy(scores, wanted, reduction="none").sum())

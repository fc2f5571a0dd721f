"""How far embedding and output layer moved: the maps that constraints on the decoder leave out."""

from collections.abc import Iterator
from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor

from cwac.anatomy import LinearMap, weight_of
from cwac.chat import Batch
from cwac.drift import functional_drift, root_ratio, update_of
from cwac.features import request_batches
from cwac.interfaces import MeasureContext, Measurement, Metric, MetricInfo
from cwac.metrics.features import aligned_weights
from cwac.metrics.weights import prompt_columns
from cwac.records import TABLES
from cwac.subspace import collect_second_moments

EMBEDDING: Final = MetricInfo(
    "embedding_drift", "Relative drift of the embedding", "ratio", "neither", None
)
OUTPUT: Final = MetricInfo(
    "output_drift", "Relative drift of the output layer", "ratio", "neither", None
)


class OuterDrift(Metric):
    """Norms of the embedding's and the output layer's update, and what it does to inputs.

    Functional drift is ``||dW X|| / ||W0 X||`` on the harmful test requests: X are one-hot prompt
    tokens for the embedding, the aligned model's final normed states for the output layer. Where
    both are one parameter the norms agree and the functional drifts do not. Energy inside the
    subspace needs a yardstick with the output layer (``measurement.outer_maps``).
    """

    name = "outer_drift"
    infos = (EMBEDDING, OUTPUT)

    @torch.no_grad()
    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a tuned model against its aligned weights; nothing for the aligned model."""
        if context.is_aligned:
            return Measurement()
        anatomy = context.anatomy
        rows = [
            _row(context, anatomy.embedding, _embedding_drift(context)),
            _row(context, anatomy.output, _output_drift(context)),
        ]
        values = {
            info.name: info.value(row["relative_norm"], count=1)
            for info, row in zip(self.infos, rows, strict=True)
        }
        columns = list(TABLES[self.name])
        return Measurement(values=values, tables={self.name: pd.DataFrame(rows, columns=columns)})


def _row(context: MeasureContext, entry: LinearMap, drift: float | None) -> dict[str, Any]:
    delta = update_of(context.model, context.aligned, entry)
    weight = weight_of(context.aligned, entry).double()
    subspace = context.yardstick.subspace
    inside = None
    if entry.path in subspace and delta.any():
        basis = subspace.bases[entry.path].to(delta)
        inside = float((delta @ basis).square().sum() / delta.square().sum())
    rank = subspace.ranks.get(entry.path, 0)
    return {
        "part": entry.name,
        "tied": context.anatomy.tied,
        "d_in": entry.d_in,
        "d_out": entry.d_out,
        "rank": rank,
        "delta_norm": float(delta.norm()),
        "weight_norm": float(weight.norm()),
        "relative_norm": float(delta.norm() / weight.norm()),
        "inside_energy": inside,
        "random_energy": rank / entry.d_in,
        "functional_drift": drift,
    }


def _embedding_drift(context: MeasureContext) -> float | None:
    """Return ``||dE X|| / ||E X||``, X the one-hot tokens of held-out harmful requests."""
    entry = context.anatomy.embedding
    now, aligned = weight_of(context.model, entry), weight_of(context.aligned, entry)
    counts = torch.zeros(entry.d_in, dtype=torch.float64, device=now.device)
    for ids, _ in prompt_columns(context):
        counts += torch.bincount(torch.tensor(ids, device=now.device), minlength=entry.d_in)
    change = (now - aligned.to(now.device)).double().square().sum(dim=0)
    size = aligned.to(now.device).double().square().sum(dim=0)
    return root_ratio(float((change * counts).sum()), float((size * counts).sum()))


def _output_drift(context: MeasureContext) -> float | None:
    entry = context.anatomy.output
    delta = update_of(context.model, context.aligned, entry)
    texts = tuple(prompt.text for prompt in context.harmful_test())
    moment = context.once(("output inputs", texts), lambda: _output_moment(context))
    aligned = weight_of(context.aligned, entry).to(delta.device)
    return functional_drift(delta, aligned, moment)


def _output_moment(context: MeasureContext) -> Tensor:
    entry = context.anatomy.output
    with aligned_weights(context.model, context.aligned):
        return collect_second_moments(context.model, [entry], _told(context)).matrix(entry.path)


def _told(context: MeasureContext) -> Iterator[Batch]:
    """Give the harmful test requests and say how many of them are read."""
    texts = [prompt.text for prompt in context.harmful_test()]
    # Little is padded.
    texts.sort(key=lambda text: len(context.chat.prompt_ids(text)))
    rows = context.config.evaluation.batch_size
    batches = list(request_batches(context.anatomy, context.chat, texts, rows=rows))
    for number, (_, batch) in enumerate(batches):
        context.progress(number / len(batches))
        yield batch.to(context.device)

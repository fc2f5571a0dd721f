"""Read-out: whether the model still knows which requests are harmful, layer by layer."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.features import scored_residuals
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import texts_of, whole_prompts
from cwac.interventions.bench import Part
from cwac.prompts import Prompt
from cwac.seeding import generator
from cwac.statistics import auroc

FOLDS: Final = 5
SHRINKAGE: Final = 0.1
Direction = Callable[[Tensor, Tensor], Tensor]


class ReadOut(Intervention):
    """Harmful test requests told from look-alikes at the last prompt token of every layer.

    Directions are the difference of means and a linear probe (Fisher's discriminant, covariance
    shrunk towards a multiple of the identity), each model's own and the aligned model's on the
    tuned one's stream; AUROC is of held-out folds. The cosine compares the two differences of
    means. Changed answers with an unchanged area say that the read-out changed, not the
    knowledge.
    """

    name = "read_out"
    by_grain = False

    def cost(self, context: DissectContext) -> Cost:
        """Return a pass of each model over both kinds of requests."""
        return Cost(4 * whole_prompts(context))

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return areas and cosines of each layer; none without look-alikes."""
        lookalike = context.prompts.get("test", "lookalike")
        lookalike = lookalike[: context.config.evaluation.prompt_limit][: context.limit]
        kinds = [context.harmful_test(), lookalike]
        if min(map(len, kinds)) < FOLDS:
            return []
        aligned = [_streams(context, context.aligned_model, kind) for kind in kinds]
        tuned = [_streams(context, context.model, kind) for kind in kinds]
        rows = []
        for layer in range(context.anatomy.n_layers):
            both = [[kind[layer] for kind in part] for part in (aligned, tuned)]
            rows += _layer_rows(context, Part(f"layer {layer}", layer), *both)
        return rows


def _streams(
    context: DissectContext, model: nn.Module, prompts: Sequence[Prompt]
) -> dict[int, Tensor]:
    """Return the stream at each request's last prompt token, float64 ``(N, d_model)`` per layer."""
    layers = range(context.anatomy.n_layers)
    texts = texts_of(context, prompts)
    streams = scored_residuals(model, context.anatomy, context.chat, texts, layers)
    context.progress()
    return {layer: streams[layer][:, -1].double().cpu() for layer in layers}


def _layer_rows(
    context: DissectContext, part: Part, aligned: Sequence[Tensor], tuned: Sequence[Tensor]
) -> list[dict[str, Any]]:
    rows = []
    for name, find in (("difference of means", mean_difference), ("linear probe", probe)):
        for variant, seen, read in (
            ("aligned's own", aligned, aligned),
            ("tuned's own", tuned, tuned),
            ("aligned's on tuned", aligned, tuned),
        ):
            rows.append(_area(part, f"{name}, {variant}", find, seen, read))
    shuffled = _shuffled(tuned, generator(context.config.seed, "dissect", "read_out", part.name))
    rows.append(
        _area(part, "linear probe, shuffled labels", probe, shuffled, shuffled, control=True)
    )
    first, second = mean_difference(*aligned), mean_difference(*tuned)
    cosine = float(first @ second / (first.norm() * second.norm()))
    count = sum(map(len, tuned))
    return [*rows, part.row("aligned's against tuned's", measure="cosine", value=cosine, n=count)]


def mean_difference(positive: Tensor, negative: Tensor) -> Tensor:
    """Return the difference of two groups' means, ``(d,)``."""
    return positive.mean(dim=0) - negative.mean(dim=0)


def probe(positive: Tensor, negative: Tensor) -> Tensor:
    """Return Fisher's linear discriminant with a shrunk covariance, ``(d,)``."""
    centred = torch.cat([group - group.mean(dim=0) for group in (positive, negative)])
    covariance = centred.T @ centred / len(centred)
    size = len(covariance)
    ridge = SHRINKAGE * covariance.trace() / size + torch.finfo(covariance.dtype).tiny
    shrunk = (1 - SHRINKAGE) * covariance + ridge * torch.eye(size, dtype=covariance.dtype)
    found: Tensor = torch.linalg.solve(shrunk, mean_difference(positive, negative))
    return found


def _area(
    part: Part,
    variant: str,
    find: Direction,
    seen: Sequence[Tensor],
    read: Sequence[Tensor],
    *,
    control: bool = False,
) -> dict[str, Any]:
    """Return a row with the area under the curve of scores that a direction gives held-out rows."""
    scores = [np.empty(len(group)) for group in read]
    for fold in range(FOLDS):
        kept = [torch.arange(len(group)) % FOLDS != fold for group in seen]
        direction = find(*(group[keep] for group, keep in zip(seen, kept, strict=True)))
        middle = sum(group[keep].mean(dim=0) for group, keep in zip(read, kept, strict=True)) / 2
        for place, (group, keep) in enumerate(zip(read, kept, strict=True)):
            scores[place][~keep.numpy()] = ((group[~keep] - middle) @ direction).numpy()
    area, interval = auroc(*scores)
    count = sum(map(len, read))
    return part.row(
        variant, measure="auroc", control=control, n=count, value=area, **interval._asdict()
    )


def _shuffled(groups: Sequence[Tensor], stream: torch.Generator) -> list[Tensor]:
    joined = torch.cat(list(groups))
    order = torch.randperm(len(joined), generator=stream)
    return list(torch.split(joined[order], [len(group) for group in groups]))

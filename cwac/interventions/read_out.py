"""Read-out: whether the model still knows which requests are harmful, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.features import scored_residuals
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import texts_of, whole_prompts
from cwac.interventions.bench import Part, resampled
from cwac.prompts import Prompt
from cwac.seeding import generator
from cwac.statistics import auroc

FOLDS: Final = 5
SHRINKAGE: Final = 0.1
SHUFFLES: Final = 200
"""Shuffles of the labels that the chance cosine is a mean and a range of."""
MEANS: Final = "difference of means"
SHUFFLED: Final = "shuffled labels"
Direction = Callable[[Tensor, Tensor], Tensor]


class ReadOut(Intervention):
    """Harmful test requests told from look-alikes at the last prompt token of every layer.

    Directions are the difference of means and a linear probe (Fisher's discriminant, covariance
    shrunk towards a multiple of the identity), each model's own and the aligned model's on the
    tuned one's stream; AUROC is of held-out folds. The cosine compares the two differences of
    means, its interval the bootstrap's over requests. Changed answers with an unchanged area say
    that the read-out changed, not the knowledge. Controls shuffle the labels: of the areas, and of
    the cosine, alike in both models, which tells how far any difference between requests turned.
    """

    name = "read_out"
    by_grain = False
    version = 2

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
    for name, find in _DIRECTIONS.items():
        for variant, seen, read in (
            ("aligned's own", aligned, aligned),
            ("tuned's own", tuned, tuned),
            ("aligned's on tuned", aligned, tuned),
        ):
            rows.append(_area(part, f"{name}, {variant}", find, seen, read))
    stream = generator(context.config.seed, "dissect", "read_out", part.name)
    shuffled = _shuffled(tuned, stream)
    rows += [
        _area(part, f"{name}, {SHUFFLED}", find, shuffled, shuffled, control=True)
        for name, find in _DIRECTIONS.items()
    ]
    return [*rows, *_cosine_rows(part, aligned, tuned, stream)]


def _cosine_rows(
    part: Part, aligned: Sequence[Tensor], tuned: Sequence[Tensor], stream: torch.Generator
) -> list[dict[str, Any]]:
    """Return the cosine of both models' differences of means, and what shuffled labels give."""
    sizes = [len(group) for group in tuned]
    value = float(_cosines(mean_difference(*aligned), mean_difference(*tuned)))
    # Turned round, so that groups of one size are not drawn alike.
    drawn = [torch.from_numpy(resampled(sizes[0])), torch.from_numpy(resampled(sizes[1])).flip(0)]
    draws = _cosines(*(drawn[0] @ model[0] - drawn[1] @ model[1] for model in (aligned, tuned)))
    ones = [torch.ones(size, dtype=torch.float64) / size for size in sizes]
    labels = torch.cat([ones[0], -ones[1]])
    orders = [torch.randperm(len(labels), generator=stream) for _ in range(SHUFFLES)]
    shuffled = torch.stack([labels[order] for order in orders])
    chance = _cosines(*(shuffled @ torch.cat(list(model)) for model in (aligned, tuned)))
    return [
        part.row(variant, measure="cosine", value=middle, n=sum(sizes), control=control,
                 low=float(np.percentile(values, 2.5)), high=float(np.percentile(values, 97.5)))
        for variant, middle, values, control in (
            ("aligned's against tuned's", value, draws, False),
            (f"aligned's against tuned's, {SHUFFLED}", float(chance.mean()), chance, True),
        )
    ]  # fmt: skip


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of each row with the same row of the other, 0 where one is 0."""
    cosines: Tensor = torch.nn.functional.cosine_similarity(first, second, dim=-1)
    return cosines


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


_DIRECTIONS: Final[Mapping[str, Direction]] = {MEANS: mean_difference, "linear probe": probe}


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

"""Which latents of some SAEs are taken: the highest scores, or random active ones."""

from collections.abc import Mapping

import torch
from torch import Tensor

from cwac.config import LatentScore
from cwac.features.scored import LatentStatistics

Statistics = Mapping[int, LatentStatistics]


def latent_scores(
    how: LatentScore, of: Statistics, against: Statistics | None
) -> dict[int, Tensor]:
    """Return every latent's score, ``(width,)`` per layer.

    Parameters
    ----------
    how : str
        ``difference``: of the mean activations on two kinds of requests; ``mean_harmful``: the
        mean activation on the first kind alone; ``frequency``: the difference of the firing rates.
    of : mapping of int to LatentStatistics
        The requests that the latents should be about; the harmful ones, for safety.
    against : mapping of int to LatentStatistics, optional
        The other kind; without it nothing is subtracted.
    """
    scores = {}
    for layer in sorted(of):
        name = "frequency" if how == "frequency" else "mean"
        score: Tensor = getattr(of[layer], name)
        if how != "mean_harmful" and against is not None:
            score = score - getattr(against[layer], name)
        scores[layer] = score
    return scores


def highest_latents(scores: Mapping[int, Tensor], count: int) -> dict[int, Tensor]:
    """Return the `count` highest latents in total over the layers, ascending within each.

    Only positive scores count, so that fewer may be returned.
    """
    layers = sorted(scores)
    joined = torch.cat([scores[layer] for layer in layers])
    where = torch.cat([torch.full((len(scores[layer]),), layer) for layer in layers])
    latent = torch.cat([torch.arange(len(scores[layer])) for layer in layers])
    top = joined.topk(min(count, len(joined))).indices
    top = top[joined[top] > 0]
    return {layer: latent[top][where[top] == layer].sort().values for layer in layers}


def random_latents(frequency: Tensor, protected: Tensor, stream: torch.Generator) -> Tensor:
    """Return as many random latents as `protected` has: others that fire, ascending.

    Parameters
    ----------
    frequency : Tensor
        Firing rate of every latent, ``(width,)``.
    """
    active = frequency > 0
    active[protected] = False
    candidates = active.nonzero().squeeze(1)
    order = torch.randperm(len(candidates), generator=stream)
    return candidates[order[: len(protected)]].sort().values

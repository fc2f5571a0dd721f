"""How far fine-tuning went back along the step that aligned the model, where the base is known."""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from cwac.anatomy import LinearMap, weight_of
from cwac.interfaces import MetricInfo
from cwac.records import MetricValue

REVERSAL: Final = MetricInfo(
    "alignment_reversal", "Share of the alignment step taken back", "fraction", "lower", None
)
COSINE: Final = MetricInfo(
    "alignment_cosine", "Cosine of update and alignment step", "cosine", "neither", (-1.0, 1.0)
)
ALIGNMENT_INFOS: Final = (REVERSAL, COSINE)


@torch.no_grad()
def alignment_values(
    tuned: nn.Module, aligned: Mapping[str, Tensor], base: nn.Module, maps: Sequence[LinearMap]
) -> dict[str, MetricValue]:
    """Compare the update ``D = W - W_aligned`` with the step ``A = W_aligned - W_base``.

    Both are task vectors (Ilharco et al. 2023, arXiv 2212.04089); all maps count as one vector.
    The reversal is ``-<D, A> / ||A||^2``: 0 where fine-tuning left the alignment step alone, 1
    where it took all of it back.

    Parameters
    ----------
    aligned : mapping of str to Tensor
        The aligned weights by parameter name.
    """
    inner = update = step = 0.0
    for entry in maps:
        start = weight_of(aligned, entry).double()
        moved = weight_of(tuned, entry).double() - start
        gained = start - weight_of(base, entry).double()
        inner += float((moved * gained).sum())
        update += float(moved.square().sum())
        step += float(gained.square().sum())
    both = (update * step) ** 0.5
    return {
        REVERSAL.name: REVERSAL.value(-inner / step if step else None, count=len(maps)),
        COSINE.name: COSINE.value(inner / both if both else None, count=len(maps)),
    }

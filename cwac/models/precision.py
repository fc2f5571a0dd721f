"""Passes in bfloat16 over float32 weights."""

import functools
from typing import Any, Final, Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16"]
_TYPES: Final = {"bfloat16": torch.bfloat16}


def compute_in(model: nn.Module, precision: Precision, device: torch.device) -> None:
    """Let every pass of a model run under autocast, whoever asks for it; scores come as float32.

    The weights stay float32: one rounding to bfloat16 would put most of a small update back into
    a protected subspace. With ``float32`` nothing happens.
    """
    if precision == "float32":
        return
    kind: Any = type(model)

    @functools.wraps(kind.forward)
    def forward(self: Any, *arguments: Any, **named: Any) -> Any:
        with torch.autocast(device.type, dtype=_TYPES[precision]):
            output = kind.forward(self, *arguments, **named)
        if getattr(output, "logits", None) is not None:
            output.logits = output.logits.float()
        return output

    # A class of the same name rather than a wrapped method: copies of the model keep their own
    # weights, and what is saved names the architecture as it is.
    model.__class__ = type(
        kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__}
    )

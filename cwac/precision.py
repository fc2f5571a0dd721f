"""What a machine multiplies fast, what ``auto`` therefore stands for, and weights rounded to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import nn

from cwac.config import Precision

TYPES: Final = {"bfloat16": torch.bfloat16}
AUTO: Final = "auto"


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: emulated, it is slower than float32.

    On the CPU these are AVX512-BF16 and AMX.
    """
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return False


def suiting(device: torch.device, pinned: Precision | None = None) -> Precision:
    """Return what ``auto`` stands for.

    Parameters
    ----------
    pinned : str, optional
        What the model's card says: the same on every machine.
    """
    if pinned is not None:
        return pinned
    return "bfloat16" if multiplies_bfloat16(device) else "float32"


@contextmanager
def rounded(model: nn.Module, precision: Precision) -> Iterator[None]:
    """Round a model's weights while something is done, and put the very same ones back.

    Decoding reads every weight for every token, so that it takes half the time with half the
    bytes where a machine multiplies bfloat16 itself.
    """
    kept = [] if precision == "float32" else [(p, p.data) for p in model.parameters()]
    try:
        for parameter, weights in kept:
            parameter.data = weights.to(TYPES[precision])
        yield
    finally:
        for parameter, weights in kept:
            parameter.data = weights

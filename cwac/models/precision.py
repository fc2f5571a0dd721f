"""Which precision suits a machine: what ``auto`` stands for, settled before an id is made.

Stands alone, because cards and settings are resolved before any model is loaded.
"""

from typing import Final, Literal

import torch

Precision = Literal["float32", "bfloat16"]
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

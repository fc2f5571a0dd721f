"""What a machine multiplies fast, what ``auto`` therefore stands for, and weights rounded to it."""

import weakref
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cwac.config import Precision
from cwac.errors import ConfigError

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


def precision_named(name: str, device: torch.device, pinned: Precision | None = None) -> Precision:
    """Return what a name stands for: itself, or for ``auto`` what is `suiting`.

    Raises
    ------
    ConfigError
        There is no such precision.

    Examples
    --------
    >>> precision_named("auto", torch.device("cpu"), "float32")
    'float32'
    """
    if name == AUTO:
        return suiting(device, pinned)
    known: tuple[Precision, ...] = get_args(Precision)
    for precision in known:
        if name == precision:
            return precision
    raise ConfigError(f"--precision {name!r} is not allowed: {', '.join((*known, AUTO))}.")


class FrozenWeights:
    """Weights that are not trained, rounded once and not at every pass.

    The embedding that is held is the largest matrix of a small chat model, and its output layer
    too. Autocast keeps what it rounds for one pass, and that of trained weights alone.

    Parameters
    ----------
    kind : dtype
        What they are rounded to.
    """

    def __init__(self, kind: torch.dtype) -> None:
        self._kind = kind
        self._kept: dict[int, tuple[weakref.ref[Tensor], int, Tensor]] = {}

    def rounded(self, weight: Tensor) -> Tensor:
        """Return a frozen float32 weight rounded, any other as it is."""
        if weight.requires_grad or weight.dtype != torch.float32 or not torch.is_grad_enabled():
            return weight
        known = self._kept.get(id(weight))
        # The version counts changes in place; the reference, that the id is the same tensor's.
        if known is None or known[0]() is not weight or known[1] != weight._version:
            known = (weakref.ref(weight), weight._version, weight.to(self._kind))
            self._kept[id(weight)] = known
        return known[2]


def fast_on_cpu(device: torch.device, frozen: FrozenWeights) -> AbstractContextManager[Any]:
    """Return a context for passes under autocast that spares a CPU what it is slow at.

    Attention is computed in float32, autocast or not, and `frozen` weights are not rounded anew.
    Backward through attention in bfloat16 takes a CPU five times as long as in float32 (torch
    2.13; SmolLM2-135M, 8 rows of 75 tokens), an eighth of a training step. Passes without a
    gradient do the same, so that a loss against what the aligned model gave compares like with
    like; decoding, one token a pass, does not. A GPU has fast attention for bfloat16.
    """
    return _FastOnCpu(frozen) if device.type == "cpu" else nullcontext()


class _FastOnCpu(TorchFunctionMode):
    def __init__(self, frozen: FrozenWeights) -> None:
        super().__init__()
        self._frozen = frozen

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is functional.linear and len(args) > 1:
            return func(args[0], self._frozen.rounded(args[1]), *args[2:], **named)
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **named)
        query = args[0] if args else named["query"]
        if query.shape[-2] == 1:
            return func(*args, **named)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_whole, args), **{name: _whole(each) for name, each in named.items()})


def _whole(value: Any) -> Any:
    """Return a tensor of rounded numbers as float32, anything else as it is."""
    rounded_ = isinstance(value, Tensor) and value.dtype in TYPES.values()
    return value.float() if rounded_ else value


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

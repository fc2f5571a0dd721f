"""What a machine multiplies fast, what ``auto`` therefore stands for, and weights rounded to it."""

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


def whole_attention(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which a CPU computes attention in float32, autocast or not.

    Backward through attention in bfloat16 takes a CPU five times as long as in float32 (torch
    2.13; SmolLM2-135M, 8 rows of 75 tokens), an eighth of a training step. Passes without a
    gradient do the same, so that a loss against what the aligned model gave compares like with
    like; decoding, one token a pass, does not. A GPU has fast attention for bfloat16.
    """
    return _WholeAttention() if device.type == "cpu" else nullcontext()


class _WholeAttention(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
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


@contextmanager
def rounded_once(model: Any, precision: Precision) -> Iterator[None]:
    """Keep the linear maps' weights rounded over many passes, each of which would round them anew.

    What autocast multiplies with is the same, so that scores agree bit for bit. The weights
    themselves stay as they are; a map that is given others meanwhile has them rounded as ever. The
    output layer, whose scores are often cut to a few tokens, is left alone.
    """
    outer = model.get_output_embeddings()
    maps = [] if precision == "float32" else [
        module
        for module in model.modules()
        if type(module) is nn.Linear and module is not outer and "forward" not in vars(module)
    ]  # fmt: skip
    try:
        for module in maps:
            vars(module)["forward"] = _Rounded(module, TYPES[precision])
        yield
    finally:
        for module in maps:
            # The class's comes back.
            vars(module).pop("forward", None)


class _Rounded:
    """A linear map's forward pass with weights that were rounded before."""

    def __init__(self, module: nn.Linear, dtype: torch.dtype) -> None:
        self._module = module
        self._of = _identity(module.weight)
        self._weight = module.weight.detach().to(dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        module = self._module
        same = _identity(module.weight) == self._of and not torch.is_grad_enabled()
        if same and torch.is_autocast_enabled(inputs.device.type):
            return functional.linear(inputs, self._weight, module.bias)
        return nn.Linear.forward(module, inputs)


def _identity(weight: Tensor) -> tuple[int, int]:
    """Return what changes when a weight is exchanged, and when it is written into."""
    return weight.data_ptr(), weight._version

"""How much memory a model needs, told from its ``config.json`` alone, before anything is loaded."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import torch
from torch import nn

from cwac.anatomy import Anatomy, LinearMap, anatomy_of
from cwac.config import read_config_file
from cwac.errors import CwacError, ModelError, first_line
from cwac.intake import shown

FLOAT: Final = 4
"""Bytes of a float32 number."""
GIB: Final = 1024**3
MOST_LAYERS: Final = 1_000
"""The deepest models have some 130."""
MOST: Final = 10_000_000
"""Of a width, a vocabulary, a number of heads or experts, or a context."""
_LAYERS: Final = frozenset({"num_hidden_layers", "num_layers", "n_layer", "n_layers"})
_SIZES: Final = (
    "hidden_size", "intermediate_size", "vocab_size", "n_embd", "n_inner", "n_head", "head_dim",
    "num_attention_heads", "num_key_value_heads", "num_experts", "num_local_experts",
)  # fmt: skip
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class ModelSize:
    """A model's parts, without its weights.

    Attributes
    ----------
    parameters : int
        Tied ones count once.
    anatomy : Anatomy
        Its layers and linear maps.
    """

    parameters: int
    anatomy: Anatomy

    @property
    def weights(self) -> int:
        """Bytes of the float32 weights."""
        return FLOAT * self.parameters

    @property
    def subspace_fit(self) -> int:
        """Bytes while a subspace is fitted: the weights, and every input's second moment."""
        inputs = {_source(entry): entry.d_in for entry in self.anatomy.maps}
        # Float64, and three matrices of the largest map's size while it is diagonalised.
        moments = sum(2 * FLOAT * d_in**2 for d_in in inputs.values())
        return self.weights + moments + 3 * 2 * FLOAT * max(inputs.values()) ** 2

    def training(self, *, adapters: bool) -> int:
        """Bytes that fine-tuning takes at least, without what grows with the batch.

        All weights: they, their gradients, Adam's two moments and the aligned copy; with
        adapters the weights and the aligned copy.
        """
        return (2 if adapters else 5) * self.weights


def _source(entry: LinearMap) -> tuple[int, str, int]:
    """Return what maps that read the same tensor share: queries, keys and values; the gates."""
    block, _, name = entry.name.rpartition(".")
    shares = name.startswith(("q_", "k_", "v_", "gate_", "up_"))
    return entry.layer, f"{block}.inputs" if shares else entry.name, entry.d_in


def size_of(folder: Path) -> ModelSize:
    """Tell a model's size from its folder's ``config.json``; errors as of :func:`outline`."""
    model = outline(folder)
    # Not by name: tied parameters are one tensor, also without memory.
    return ModelSize(sum(p.numel() for p in model.parameters()), anatomy_of(model))


def outline(folder: Path) -> nn.Module:
    """Return a folder's model as its ``config.json`` has it, without memory for its weights.

    Raises
    ------
    ModelError
        The configuration cannot be used.
    """
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - 1 s

    try:
        check_sizes(folder)
        config = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model: nn.Module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except CwacError:
        raise
    except Exception as problem:
        # What an absurd value makes the library raise is no fixed list.
        raise ModelError(f"{folder} cannot be loaded: {first_line(problem)}.") from None
    return model


def check_sizes(folder: Path) -> None:
    """Refuse sizes that no model has, which would keep the library building for hours.

    Raises
    ------
    ModelError
        Names the key of ``config.json``.
    """
    parts = [("", read_config_file(folder / "config.json"))]
    while parts:
        place, values = parts.pop()
        for key, value in values.items():
            if isinstance(value, dict):
                parts.append((f"{place}{key}.", value))
                continue
            limit = MOST_LAYERS if key in _LAYERS else MOST if key.endswith(_SIZES) else None
            if limit is None or value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
                raise ModelError(
                    f"{folder}: {place}{key} = {shown(value)} is not allowed; it is a whole number "
                    f"up to {limit:,}."
                )


def free_bytes(device: torch.device) -> int:
    """Return the memory that can still be taken on a device, the process's limits considered."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    return min([int(psutil.virtual_memory().available), *_under_limits()])


def _under_limits(group: Path = _CGROUP) -> Iterable[int]:
    """Yield what a container's limit leaves, where there is one (Linux, cgroup 2)."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        limit, used = (int((group / f"memory.{n}").read_text("ascii")) for n in ("max", "current"))
        lines = (group / "memory.stat").read_text("ascii").splitlines()
        # Cached files count as used but make room when room is needed.
        cached = int(dict(line.split() for line in lines)["file"])
        yield limit - used + cached


def check_weights_fit(folder: Path, device: torch.device) -> None:
    """Refuse a model whose float32 weights alone are larger than the free memory.

    Raises
    ------
    ModelError
        One sentence with the estimate and what would fit.
    """
    size, free = size_of(folder), free_bytes(device)
    if size.weights > free:
        raise ModelError(
            f"{folder.name} has {spell_count(size.parameters)} parameters and needs "
            f"{spell_bytes(size.weights)} for its float32 weights alone; {spell_bytes(free)} are "
            f"free on {device.type}, enough for {spell_count(free // FLOAT)} parameters."
        )


def check_training_fits(
    name: str,
    folder: Path,
    device: torch.device,
    *,
    adapters: bool,
    subspace: bool = True,
    presets: Mapping[str, int] | None = None,
) -> None:
    """Refuse a model that cannot be fine-tuned in the free memory, before it is loaded.

    Parameters
    ----------
    name : str
        What the user calls the model.
    adapters : bool
        Whether LoRA is trained rather than all weights.
    subspace : bool
        Whether a subspace is fitted too.
    presets : mapping of str to int, optional
        Models that could be named instead, with their parameters.

    Raises
    ------
    ModelError
        One sentence with the estimate and what would fit.
    """
    size, free = size_of(folder), free_bytes(device)

    floor = size.subspace_fit if subspace else 0
    needed, lora = (max(size.training(adapters=kind), floor) for kind in (adapters, True))
    if needed <= free:
        return
    room = spell_count(free * size.parameters / needed)
    if adapters:
        way, other = "LoRA", ""
    else:
        way = "full fine-tuning"
        other = (
            f"; LoRA (--adapter lora) fits with {spell_bytes(lora)}"
            if lora <= free
            else f", or for {spell_count(free * size.parameters / lora)} with LoRA (--adapter lora)"
        )
    ready = [
        preset
        for preset, count in (presets or {}).items()
        if count * needed <= free * size.parameters
    ]
    named = f"; presets that fit: {', '.join(ready)}" if ready else ""
    raise ModelError(
        f"{name} has {spell_count(size.parameters)} parameters and needs at least "
        f"{spell_bytes(needed)} for {way}; {spell_bytes(free)} are free on {device.type}, enough "
        f"for about {room} parameters{other}{named}."
    )


def spell_bytes(number: float) -> str:
    """Return a size in GiB.

    Examples
    --------
    >>> spell_bytes(1536 * 1024**2)
    '1.5 GiB'
    """
    return f"{number / GIB:.1f} GiB"


def spell_count(number: float) -> str:
    """Return a number of parameters in words.

    Examples
    --------
    >>> spell_count(494_032_768), spell_count(6_738_415_616), spell_count(1_100)
    ('494 million', '6.7 billion', '1,100')
    """
    if number >= 1e9:
        return f"{number / 1e9:.1f} billion"
    return f"{number / 1e6:.0f} million" if number >= 1e6 else f"{number:,.0f}"

"""How much memory a model needs, told from its ``config.json`` alone, before anything is loaded."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

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
"""Of a width, a vocabulary, a number of heads or a context."""
MOST_LABELS: Final = 100_000
MOST_PARTS: Final = 300_000
"""Modules of a model; one of sixty layers with 384 experts each has 100,000."""
_LAYERS: Final = frozenset({"num_hidden_layers", "num_layers", "n_layer", "n_layers"})
_SIZES: Final = (
    "hidden_size", "intermediate_size", "vocab_size", "n_embd", "n_inner", "n_head", "head_dim",
    "num_attention_heads", "num_key_value_heads", "num_experts", "num_local_experts",
)  # fmt: skip
_ENDINGS: Final = {"layer": MOST_LAYERS, "layers": MOST_LAYERS, "labels": MOST_LABELS}
"""Whole numbers whose name ends so count something that is made one by one."""
_WAYS: Final = {
    "attn_implementation": frozenset({"eager", "sdpa", "flex_attention"}),
    "experts_implementation": frozenset({"eager", "batched_mm", "grouped_mm"}),
}
"""How a part is computed. The library would fetch code from the hub for others, if it could."""
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
    return ModelSize(_count(model), anatomy_of(model))


def _count(model: nn.Module) -> int:
    # Not by name: tied parameters are one tensor, also without memory.
    return sum(parameter.numel() for parameter in model.parameters())


def outline(folder: Path, kind: str = "AutoModelForCausalLM") -> nn.Module:
    """Return a folder's model as its ``config.json`` has it, without memory for its weights.

    Parameters
    ----------
    folder : Path
    kind : str
        The class of transformers that makes it.

    Raises
    ------
    ModelError
        The configuration cannot be used.
    """
    import transformers  # noqa: PLC0415 - 1 s

    try:
        check_settings(folder)
        config = transformers.AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"), _counting_parts(folder):
            maker = getattr(transformers, kind)
            model: nn.Module = maker.from_config(config, trust_remote_code=False)
    except CwacError:
        raise
    except Exception as problem:
        # What an absurd value makes the library raise is no fixed list.
        raise ModelError(f"{folder} cannot be loaded: {first_line(problem)}.") from None
    return model


def check_settings(folder: Path) -> None:
    """Refuse what no model's ``config.json`` has: sizes without end, code from elsewhere.

    Raises
    ------
    ModelError
        Names the key.
    """
    parts = [("", read_config_file(folder / "config.json"))]
    while parts:
        place, values = parts.pop()
        for key, value in values.items():
            name = f"{place}{key}"
            if key.lstrip("_").removesuffix("_internal") in _WAYS:
                _check_way(folder, name, key.lstrip("_").removesuffix("_internal"), value)
            elif isinstance(value, dict):
                parts.append((f"{name}.", value))
            elif value is not None:
                _check_size(folder, name, key, value)


def _check_way(folder: Path, name: str, kind: str, value: Any) -> None:
    for way in value.values() if isinstance(value, dict) else (value,):
        if way is not None and way not in sorted(_WAYS[kind]):
            raise ModelError(
                f"{folder}: {name} = {shown(way)} is not allowed; allowed: "
                f"{', '.join(sorted(_WAYS[kind]))}."
            )


def _check_size(folder: Path, name: str, key: str, value: Any) -> None:
    limit = MOST_LAYERS if key in _LAYERS else MOST if key.endswith(_SIZES) else None
    counted = _ENDINGS.get(key.rpartition("_")[2])
    whole = isinstance(value, int) and not isinstance(value, bool)
    if limit is None and whole and counted is not None and value > counted:
        limit = counted
    elif limit is None or (whole and 0 <= value <= limit):
        return
    raise ModelError(
        f"{folder}: {name} = {shown(value)} is not allowed; it is a whole number up to {limit:,}."
    )


@contextlib.contextmanager
def _counting_parts(folder: Path) -> Iterator[None]:
    """Stop the building of a model with parts without end, whichever setting asks for them."""
    count = 0

    def counted(_module: nn.Module, _name: str, _part: nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > MOST_PARTS:
            raise ModelError(f"{folder}: its config.json makes more than {MOST_PARTS:,} parts.")

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


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


def check_weights_fit(folder: Path, device: torch.device, kind: str | None = None) -> None:
    """Refuse a model whose float32 weights alone are larger than the free memory.

    Parameters
    ----------
    folder : Path
    device : device
    kind : str, optional
        The class of transformers that makes it, where it need not be a decoder whose layers are
        known here: a judge.

    Raises
    ------
    ModelError
        One sentence with the estimate and what would fit.
    """
    count = size_of(folder).parameters if kind is None else _count(outline(folder, kind))
    free = free_bytes(device)
    if FLOAT * count > free:
        raise ModelError(
            f"{folder.name} has {spell_count(count)} parameters and needs "
            f"{spell_bytes(FLOAT * count)} for its float32 weights alone; {spell_bytes(free)} are "
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

"""LoRA through peft: adapters on linear maps, the change they make, and merging them again.

Hu et al. 2022, arXiv 2106.09685. While adapters are attached, a map's weight as
:func:`cwac.anatomy.weight_of` gives it does not move; what moved is :func:`change_of`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cwac.anatomy import Anatomy, LinearMap, weight_of
from cwac.config import LoraConfig
from cwac.errors import ConfigError
from cwac.seeding import generator

_NAME: Final = "default"


@dataclass(frozen=True)
class Adapter:
    """The adapter of one linear map.

    Attributes
    ----------
    a, b : Parameter
        ``(rank, d_in)`` and ``(d_out, rank)``, whichever way the map itself is stored.
    scaling : float
        ``alpha / rank``.
    """

    a: nn.Parameter
    b: nn.Parameter
    scaling: float

    def change(self) -> Tensor:
        """Return ``(alpha / rank) B A``, ``(d_out, d_in)``, with gradient."""
        return self.scaling * (self.b @ self.a)


def adapters_on(model: nn.Module, maps: Sequence[LinearMap]) -> dict[str, Adapter]:
    """Return the adapters of those maps that have one, by the map's path."""
    layers: dict[str, Any] = {entry.path: model.get_submodule(entry.path) for entry in maps}
    return {
        path: Adapter(layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight, layer.scaling[_NAME])
        for path, layer in layers.items()
        if hasattr(layer, "lora_A")
    }


def trained_maps(model: nn.Module, maps: Sequence[LinearMap]) -> tuple[LinearMap, ...]:
    """Return the maps whose weight is trained: under LoRA those with an adapter, else all.

    Raises
    ------
    ConfigError
        Adapters are trained and none of these maps has one.
    """
    if not any(".lora_A." in name for name, _parameter in model.named_parameters()):
        return tuple(maps)
    on = adapters_on(model, maps)
    if not on:
        names = ", ".join(dict.fromkeys(entry.name for entry in maps))
        raise ConfigError(
            f"the method acts on {names}, and training.adapter.targets names none of these."
        )
    return tuple(entry for entry in maps if entry.path in on)


def change_of(model: nn.Module, aligned: Mapping[str, Tensor], entry: LinearMap) -> Tensor:
    """Return a map's whole change ``W - W0``, ``(d_out, d_in)``, with gradient.

    With an adapter this is ``B A`` at its scale plus what a method did to the weight under it.
    """
    change = weight_of(model, entry) - weight_of(aligned, entry)
    adapter = adapters_on(model, [entry]).get(entry.path)
    return change if adapter is None else change + adapter.change()


def target_maps(anatomy: Anatomy, lora: LoraConfig) -> tuple[LinearMap, ...]:
    """Return the maps that get an adapter.

    Raises
    ------
    ConfigError
        A target is no linear map of the model's layers.
    """
    known = dict.fromkeys(entry.name for entry in anatomy.maps)
    for name in lora.targets:
        if name not in {"all", "ffn", *known}:
            raise ConfigError(
                f"training.adapter.targets names {name!r}; the model has {', '.join(known)} "
                "('all' is all of these, 'ffn' the FFN output projections)."
            )
    return tuple(
        entry
        for entry in anatomy.maps
        if "all" in lora.targets
        or entry.name in lora.targets
        or ("ffn" in lora.targets and entry.ffn_output)
    )


@contextmanager
def adapted(
    model: nn.Module, anatomy: Anatomy, adapter: Literal["full"] | LoraConfig, seed: int
) -> Iterator[None]:
    """Train adapters inside; merge them on leaving, so that all else sees ordinary weights.

    Inside, the adapters' A and B are the only parameters that are trained. A begins as in a
    linear layer, under the seed and the same for a map whichever others have one; B begins at
    zero, so that the model is still the aligned one. After an error the adapters are taken off
    without being merged. With ``full`` nothing happens.

    Parameters
    ----------
    model : Module
        Changed in place.
    seed : int
        The run's seed.
    """
    if adapter == "full":
        yield
        return
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    tuner = _attached(model, target_maps(anatomy, adapter), adapter, seed)
    merged = False
    try:
        yield
        tuner.merge_and_unload()
        merged = True
    finally:
        if not merged:
            tuner.unload()
        for parameter, before in trainable:
            parameter.requires_grad_(before)


def save_adapter(
    model: nn.Module, maps: Sequence[LinearMap], lora: LoraConfig, base: str, folder: Path
) -> None:
    """Write attached adapters as a peft folder, and round them to what it holds.

    Both factors are stored as float16, half the size; rounded in place, the model in memory and
    the one that is loaded again are the same.

    Parameters
    ----------
    model : Module
        With its adapters attached.
    maps : sequence of LinearMap
        Those without an adapter are passed over.
    base : str
        What the adapter is for; peft does not read it here.
    folder : Path
        Made where it is missing.
    """
    tensors: dict[str, Tensor] = {}
    with torch.no_grad():
        for path, adapter in adapters_on(model, maps).items():
            for name, factor in (("lora_A", adapter.a), ("lora_B", adapter.b)):
                rounded = factor.detach().to(torch.float16)
                factor.copy_(rounded)
                tensors[f"base_model.model.{path}.{name}.weight"] = rounded.cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = _peft_config(lora, maps)
    config.base_model_name_or_path, config.inference_mode = base, True
    # By name inside a layer; every path would be a list of hundreds.
    config.target_modules = {entry.name for entry in maps}
    config.save_pretrained(str(folder))


def _peft_config(lora: LoraConfig, maps: Sequence[LinearMap]) -> Any:
    from peft import LoraConfig as PeftConfig  # noqa: PLC0415 - 2 s, for LoRA runs only

    return PeftConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=[entry.path for entry in maps],
        fan_in_fan_out=any(entry.transposed for entry in maps),
    )


def _attached(model: nn.Module, maps: Sequence[LinearMap], lora: LoraConfig, seed: int) -> Any:
    from peft import LoraModel  # noqa: PLC0415 - 2 s, for LoRA runs only

    config = _peft_config(lora, maps)
    # Peft draws from the global stream; the run's own draws must not depend on the adapters.
    with torch.random.fork_rng():
        tuner = LoraModel(model, config, _NAME)
    with torch.no_grad():
        for path, adapter in adapters_on(model, maps).items():
            drawn = torch.rand(adapter.a.shape, generator=generator(seed, "adapter", path))
            adapter.a.copy_((2.0 * drawn - 1.0) * adapter.a.shape[1] ** -0.5)
    return tuner

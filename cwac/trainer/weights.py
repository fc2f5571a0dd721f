"""The weight constraint on a model that someone else trains: whole, sharded, or with LoRA.

``dW U = 0`` is kept for every protected map, whatever form the map has there:

* a plain parameter: ``W <- W0 + (W - W0)(I - U U^T)``;
* a sharded one (FSDP2's `DTensor`): the same, each process on its own part;
* a LoRA layer, ``dW = s B A``: ``A <- A (I - U U^T)``, so that ``dW U = s B (A U) = 0``.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor

from cwac.anatomy import LinearMap
from cwac.errors import ModelError, TrainingError
from cwac.subspace import remove_protected_


@dataclass(frozen=True)
class _Guarded:
    """One tensor and the directions that its change must avoid.

    ``aligned`` is None for a LoRA factor, whose change starts from zero. ``transposed`` says
    that the tensor is stored as ``(d_in, ...)``; all three are laid out alike.
    """

    tensor: nn.Parameter
    aligned: Tensor | None
    basis: Tensor
    transposed: bool

    @torch.no_grad()
    def project_(self) -> None:
        """Take the protected part out of the tensor's change, in place."""
        delta = self.tensor.detach()
        self._remove_(delta, delta if self.aligned is None else delta - self.aligned)

    @torch.no_grad()
    def project_gradient_(self) -> None:
        """Take the protected part out of the gradient, in place."""
        if self.tensor.grad is not None:
            self._remove_(self.tensor.grad, self.tensor.grad)

    def _remove_(self, target: Tensor, delta: Tensor) -> None:
        if self.transposed:
            target, delta = target.T, delta.T
        remove_protected_(target, delta, self.basis)


class GuardedWeights:
    """Every constrained tensor of a model in training.

    Parameters
    ----------
    model : Module
        The Hugging Face model that is trained, without its wrappers.
    maps : sequence of LinearMap
        The constrained maps.
    bases : sequence of Tensor
        Their protected directions, ``(d_in, rank)`` each.
    aligned : sequence of Tensor
        Their aligned weights, ``(d_out, d_in)`` each.

    Raises
    ------
    ModelError
        A map is missing, has another shape, is not float32 or is adapted in an unknown way.
    """

    def __init__(
        self,
        model: nn.Module,
        maps: Sequence[LinearMap],
        bases: Sequence[Tensor],
        aligned: Sequence[Tensor],
    ) -> None:
        self._names: list[str] = []
        self._guarded: list[_Guarded] = []
        for entry, basis, weight in zip(maps, bases, aligned, strict=True):
            for guarded in _guard(module_of(model, entry), entry, basis, weight):
                self._names.append(entry.path)
                self._guarded.append(guarded)

    def check_aligned(self) -> None:
        """Refuse weights that are not the aligned ones: the change would be counted from there.

        Raises
        ------
        TrainingError
            A constrained weight differs.
        """
        for name, guarded in zip(self._names, self._guarded, strict=True):
            if guarded.aligned is not None and not _equal(guarded.tensor, guarded.aligned):
                raise TrainingError(
                    f"{name} is not the aligned model's; train the model that was aligned "
                    "(callback.model, or the same checkpoint in float32)."
                )

    def project(self) -> None:
        """Bring every change out of the safety subspace."""
        for guarded in self._guarded:
            guarded.project_()

    def project_gradients(self) -> None:
        """Project every gradient: the paper's literal form, which leaks under AdamW."""
        for guarded in self._guarded:
            guarded.project_gradient_()

    def restore(self) -> None:
        """Undo every change: the maps stay as the aligned model has them."""
        with torch.no_grad():
            for guarded in self._guarded:
                if guarded.aligned is None:
                    guarded.tensor.zero_()
                else:
                    guarded.tensor.copy_(guarded.aligned)


def module_of(model: nn.Module, entry: LinearMap) -> nn.Module:
    """Return a map's module of a model in training.

    Raises
    ------
    ModelError
        It has no such map.
    """
    try:
        return model.get_submodule(entry.path)
    except AttributeError:
        raise ModelError(
            f"the model in training has no {entry.path}; it must be the aligned model's kind."
        ) from None


def _guard(module: nn.Module, entry: LinearMap, basis: Tensor, aligned: Tensor) -> list[_Guarded]:
    if isinstance(getattr(module, "lora_A", None), nn.ModuleDict):
        return _guard_lora(module, entry, basis)
    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter):
        raise ModelError(
            f"{entry.path} is a {type(module).__name__}; the constraint knows plain weights and "
            "LoRA."
        )
    stored = aligned.T if entry.transposed else aligned
    if weight.shape != stored.shape:
        raise ModelError(
            f"{entry.path} has shape {tuple(weight.shape)}, the aligned model's "
            f"{tuple(stored.shape)}."
        )
    _check_float32(entry.path, weight)
    if not weight.requires_grad:
        return []
    return [_Guarded(weight, _like(stored, weight), _replicated(basis, weight), entry.transposed)]


def _guard_lora(layer: Any, entry: LinearMap, basis: Tensor) -> list[_Guarded]:
    if any(getattr(layer, "use_dora", {}).values()):
        raise ModelError(f"{entry.path} uses DoRA, whose change cannot be kept out of a subspace.")
    factors = []
    for factor in layer.lora_A.values():
        _check_float32(entry.path, factor.weight)
        # A is (r, d_in) also where the base weight is stored the other way round.
        factors.append(_Guarded(factor.weight, None, _replicated(basis, factor.weight), False))
    return factors


def _check_float32(name: str, weight: Tensor) -> None:
    # One rounding to bfloat16 puts most of a small update back into the safety subspace.
    if weight.dtype != torch.float32:
        raise ModelError(
            f"{name} is trained in {weight.dtype}; the weight constraint needs float32 weights "
            "(load the model with dtype=torch.float32; bf16=True for autocast is fine)."
        )


def _replicated(plain: Tensor, weight: Tensor) -> Tensor:
    """Return a tensor where `weight` is: on each process whole where `weight` is sharded."""
    if not isinstance(weight, DTensor):
        return plain.to(weight.device)
    mesh = weight.device_mesh
    return distribute_tensor(plain.to(weight.device), mesh, [Replicate()] * mesh.ndim)


def _like(plain: Tensor, weight: Tensor) -> Tensor:
    """Return a tensor laid out as `weight` is: on its device, sharded the same way."""
    if not isinstance(weight, DTensor):
        return plain.to(weight.device)
    whole = plain.contiguous().to(weight.device)
    return distribute_tensor(whole, weight.device_mesh, weight.placements)


def _equal(one: Tensor, other: Tensor) -> bool:
    if isinstance(one, DTensor) and isinstance(other, DTensor):
        return torch.equal(one.to_local(), other.to_local())
    return torch.equal(one, other)


def inner_model(model: Any) -> nn.Module:
    """Return the Hugging Face model inside what a trainer calls its model.

    Wrappers of DDP and of `torch.compile` and peft's `PeftModel` are taken off; LoRA layers stay
    in place inside.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif hasattr(model, "_orig_mod"):
            model = model._orig_mod
        elif hasattr(model, "get_base_model"):
            model = model.get_base_model()
        else:
            innermost: nn.Module = model
            return innermost


def whole_model(model: Any) -> nn.Module:
    """Return the Hugging Face model inside, LoRA merged into a copy of it."""
    while isinstance(model, nn.parallel.DistributedDataParallel) or hasattr(model, "_orig_mod"):
        wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
        model = model.module if wrapped else model._orig_mod
    if hasattr(model, "merge_and_unload"):
        model = copy.deepcopy(model).merge_and_unload()
    return inner_model(model)


def moved(tensors: Mapping[int, Tensor], device: torch.device) -> dict[int, Tensor]:
    """Return tensors by layer on a device."""
    return {layer: tensor.to(device) for layer, tensor in tensors.items()}

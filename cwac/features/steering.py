"""Holding one latent at a value, or scaling it, while a model computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cwac.anatomy import Anatomy, layer_module
from cwac.errors import ConfigError
from cwac.features.sae import Sae

Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Steering:
    """What is done to one latent of the SAE after a layer: it is clamped, or scaled.

    Attributes
    ----------
    clamp : float or None
        The activation it is held at, whatever the token.
    scale : float or None
        What its own activation is multiplied by; 0 turns it off.
    """

    layer: int
    latent: int
    clamp: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        if (self.clamp is None) == (self.scale is None):
            raise ConfigError("a latent is either clamped to a value or scaled by a factor.")

    def edit(self, sae: Sae, stream: Tensor) -> Tensor:
        """Return the stream ``(..., d_model)`` with the latent's code changed, all else kept."""
        code = sae.encode(stream)[..., self.latent]
        wanted = float(self.scale or 0) * code if self.clamp is None else self.clamp
        change = wanted - code
        return stream + (change.unsqueeze(-1) * sae.direction(self.latent)).to(stream)


def editing(edit: Edit) -> Callable[..., Any]:
    """Return a forward hook of a decoder layer that changes the stream it gives."""

    def change(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output)

    return change


@contextmanager
def edited(model: nn.Module, anatomy: Anatomy, layer: int, edit: Edit) -> Iterator[None]:
    """Change the stream after a layer, at all tokens of the passes inside."""
    handle = layer_module(model, anatomy, layer).register_forward_hook(editing(edit))
    try:
        yield
    finally:
        handle.remove()

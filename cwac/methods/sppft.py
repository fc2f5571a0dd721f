"""SPPFT: the layers that carry safety are frozen."""

from typing import Annotated

from pydantic import AfterValidator, Field

from cwac.config import Settings
from cwac.errors import ConfigError
from cwac.interfaces import Method, MethodContext
from cwac.methods._safety_layers import Range, layer_parameters, locate


def _not_one(value: float) -> float:
    if value == 1:
        raise ValueError("a factor of 1 changes nothing, so that nothing can be located with it")
    return value


class SppftSettings(Settings):
    """Settings of SPPFT."""

    layers: int | None = Field(default=None, ge=0)
    """Number of frozen layers, around the middle of the located ones; 0 freezes none. None is as
    many as are located (published: 5 to 9 of 18 to 32)."""
    first: int | None = Field(default=None, ge=0)
    """First frozen layer, from 0; None is where they are located."""
    scale: Annotated[float, AfterValidator(_not_one)] = Field(default=1.2, gt=0)
    """Factor on the weights of a range that is tried as the safety layers (alpha; published: 1.1
    to 1.2, 0.8 for Phi-3, chosen there by how much the counts vary)."""
    prompts: int = Field(default=100, ge=2)
    """Safety requests of each kind that layers are located with, at most (published: 100 harmful
    and harmless, 721 that look harmful)."""


class Sppft(Method):
    """Fine-tune with attention and MLP of the safety layers frozen.

    Notes
    -----
    The layers are located on the aligned model first (:mod:`cwac.methods._safety_layers`).
    Norms inside them, embeddings and all other layers stay trainable, as in the released code;
    it freezes layers 5 to 14 of Llama-2 where the paper says 6 to 14, which is why the first
    layer and the number can be given. A frozen weight needs no gradient: a step costs less.
    """

    name = "sppft"
    title = "SPPFT"
    summary = "Attention and MLP of the layers that tell harmful requests apart are frozen."
    source = "Li et al. 2025 (Safety Layers), arXiv 2408.17003, sections 3 and 4."
    needs = frozenset({"safety_prompts", "safety_answers", "harmless_prompts"})
    adapters = ("full", "lora")
    settings_type = SppftSettings
    strength_knob = "layers"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.frozen: Range | None = None

    def setup(self, context: MethodContext) -> None:
        """Locate the safety layers and freeze them."""
        self.frozen = self._range(context)
        if self.frozen is not None:
            first, last = self.frozen
            for _name, parameter in layer_parameters(context, range(first, last + 1)):
                parameter.requires_grad_(False)

    def diagnostics(self) -> dict[str, float]:
        """Return the first and the last frozen layer."""
        if self.frozen is None:
            return {}
        return {"first_frozen_layer": float(self.frozen[0]), "last_frozen_layer": self.frozen[1]}

    def _range(self, context: MethodContext) -> Range | None:
        settings, n_layers = self.settings, context.anatomy.n_layers
        assert isinstance(settings, SppftSettings)
        if settings.layers == 0:
            return None
        if settings.layers is not None and settings.layers >= n_layers:
            raise ConfigError(
                f"layers = {settings.layers} is not allowed: the model has {n_layers} layers and "
                "at least one has to learn."
            )
        found: Range | None = None
        if settings.layers is None or settings.first is None:
            found = locate(context, self.name, scale=settings.scale, prompts=settings.prompts)
        count = settings.layers or (1 if found is None else found[1] - found[0] + 1)
        first = settings.first
        if first is None:
            assert found is not None
            first = (found[0] + found[1] + 1 - count) // 2
            first = min(max(first, 0), n_layers - count)
        if first + count > n_layers:
            raise ConfigError(
                f"first = {first} is not allowed: {count} layers from there on would end after "
                f"the last layer, {n_layers - 1}."
            )
        return first, first + count - 1

"""What a preset of a model says; stands alone, as the only plug-in that is data and no code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelSpec:
    """A preset: a name, where the weights are, and what to know before loading them."""

    name: str
    title: str
    source: str
    """A path inside the shipped artifacts, or a hub id."""
    summary: str = ""
    shipped: bool = False
    own_saes: bool = False
    """Whether SAEs of it ship with it."""
    parameters: int | None = None
    """Of a hub model: what is told of it before anything is downloaded."""
    sae_base: str | None = None
    """The base model that its public SAEs were trained on, where they are not its own."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Sections of a model card's defaults, for a hub model without a card."""

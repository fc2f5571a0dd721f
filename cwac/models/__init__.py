"""The models that have a name."""

from typing import Final

from cwac.models.presets import PRESETS
from cwac.registry import Registry

MODELS: Final = Registry("model", PRESETS)

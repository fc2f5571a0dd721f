"""The models that have a name: the bundled organism first."""

from typing import Final

from cwac.interfaces import ModelSpec
from cwac.registry import Registry

MODELS: Final = Registry(
    "model",
    [
        ModelSpec(
            name="organism",
            title="Model organism",
            source="organism",
            summary="A 1.1 M parameter chat model that refuses harm and drifts like a large one.",
            shipped=True,
        ),
    ],
)

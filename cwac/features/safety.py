"""Which SAEs are read, and which of their latents are safety-critical."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from cwac.artifacts import reading
from cwac.features.sae import Sae
from cwac.intake import read_json
from cwac.prompts import Prompt

FEATURES: Final = "features.json"


@dataclass
class SafetyFeatures:
    """SAEs at some layers and the latents that are protected.

    Attributes
    ----------
    saes : dict of int to Sae
        By decoder layer: the SAE reads that layer's output.
    protected, controls : dict of int to LongTensor
        Latents per layer, ascending: the safety-critical ones, and as many random active ones.
    prompt_ids : tuple of str
        The harmful safety requests that the aligned model refuses: those they were chosen on.
    """

    saes: dict[int, Sae]
    protected: dict[int, Tensor]
    controls: dict[int, Tensor]
    prompt_ids: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers with an SAE, ascending."""
        return tuple(sorted(self.saes))

    @property
    def index(self) -> list[tuple[int, int]]:
        """(layer, latent) of every protected latent, in the order of all per-latent results."""
        return [
            (layer, latent) for layer in self.layers for latent in self.protected[layer].tolist()
        ]

    def encode(self, layer: int, residual: Tensor) -> Tensor:
        """Return all codes of a layer's residual stream, ``(..., width)``."""
        return self.saes[layer].encode(residual)

    def refused(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Return the prompts that the aligned model refuses, in their order."""
        known = set(self.prompt_ids)
        return [prompt for prompt in prompts if prompt.id in known]

    def to(self, device: torch.device) -> "SafetyFeatures":
        """Return the features on a device."""
        return SafetyFeatures(
            {layer: sae.to(device) for layer, sae in self.saes.items()},
            {layer: chosen.to(device) for layer, chosen in self.protected.items()},
            {layer: chosen.to(device) for layer, chosen in self.controls.items()},
            self.prompt_ids,
        )

    def save(self, folder: Path) -> None:
        """Write one sae-lens folder per layer, and the choice of latents as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        for layer, sae in self.saes.items():
            sae.save(folder / f"layer_{layer}")
        content = {
            "layers": list(self.layers),
            "protected": {str(layer): self.protected[layer].tolist() for layer in self.layers},
            "controls": {str(layer): self.controls[layer].tolist() for layer in self.layers},
            "prompt_ids": list(self.prompt_ids),
        }
        (folder / FEATURES).write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises
        ------
        ArtifactError
            A file is missing or broken.
        """
        with reading(f"the features in {folder}"):
            content = read_json(folder / FEATURES)
            layers = [int(layer) for layer in content["layers"]]
            protected, controls = (
                {x: torch.tensor(content[part][str(x)], dtype=torch.long) for x in layers}
                for part in ("protected", "controls")
            )
            prompt_ids = tuple(content["prompt_ids"])
        saes = {layer: Sae.load(folder / f"layer_{layer}") for layer in layers}
        return cls(saes, protected, controls, prompt_ids)

"""A reader of sae-lens' own format that needs torch and safetensors alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors.torch import save_file
from torch import Tensor

from cwac.artifacts import read_tensors, reading
from cwac.errors import ArtifactError
from cwac.intake import read_json, shown

SAE_CONFIG: Final = "cfg.json"
SAE_WEIGHTS: Final = "sae_weights.safetensors"
NAMES: Final = ("W_enc", "b_enc", "W_dec", "b_dec")
KINDS: Final = ("topk", "jumprelu", "standard")


def check_kind(config: Mapping[str, Any], folder: Path) -> None:
    """Refuse an SAE of a kind that is not read here.

    Raises
    ------
    ArtifactError
        Names its kind and those that are read.
    """
    kind, norm = config["architecture"], config.get("normalize_activations") or "none"
    if kind not in KINDS or norm != "none":
        raise ArtifactError(
            f"the SAE in {folder} is {shown(kind)} with input normalisation {shown(norm)}; "
            f"allowed: {', '.join(map(repr, KINDS))} with 'none'."
        )


@dataclass(frozen=True)
class Sae:
    """A sparse autoencoder, read from sae-lens' own format without importing sae-lens.

    Importing sae-lens takes seconds and half a gigabyte, and measuring needs five lines of it.
    ``z = act(W_enc^T (x - b_dec) + b_enc)``, ``x_hat = z W_dec + b_dec``, where ``act`` keeps the
    k largest (TopK, Gao et al. 2024; CWAC equation 9), those above a threshold of each latent's
    own (JumpReLU, Rajamanoharan et al. 2024, arXiv 2407.14435; also what BatchTopK is saved as)
    or the positive ones (standard). Equal to ``sae_lens.SAE.encode`` bit for bit.

    Attributes
    ----------
    w_enc, w_dec : Tensor
        ``(d_model, width)`` and ``(width, d_model)``.
    b_enc, b_dec : Tensor
        ``(width,)`` and ``(d_model,)``.
    config : dict
        sae-lens' ``cfg.json``.
    threshold : Tensor or None
        ``(width,)``, of a JumpReLU SAE.
    """

    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    config: dict[str, Any] = field(repr=False)
    threshold: Tensor | None = None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``cfg.json`` and ``sae_weights.safetensors``.

        Raises
        ------
        ArtifactError
            A file is missing or broken, or the SAE is of a kind this reader does not know.
        """
        with reading(f"the SAE in {folder}"):
            config = read_json(folder / SAE_CONFIG)
            weights = read_tensors(folder / SAE_WEIGHTS)
            w_enc, b_enc, w_dec, b_dec = (weights[name] for name in NAMES)
            threshold = weights["threshold"] if config["architecture"] == "jumprelu" else None
            check_kind(config, folder)
            sae = cls(w_enc, b_enc, w_dec, b_dec, config, threshold)
            sae._check()
        return sae

    def _check(self) -> None:
        """Refuse weights that do not fit each other or are no numbers, and a k of another kind.

        Raises
        ------
        ValueError
            Says which.
        """
        d_model, width = self.w_enc.shape
        parts = [
            ("b_enc", self.b_enc, (width,)),
            ("W_dec", self.w_dec, (width, d_model)),
            ("b_dec", self.b_dec, (d_model,)),
        ]
        if self.threshold is not None:
            parts.append(("threshold", self.threshold, (width,)))
        for name, tensor, shape in parts:
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {shape}")
        for name, tensor, _ in [("W_enc", self.w_enc, ()), *parts]:
            if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} holds values that are no finite numbers")
        if self.config["architecture"] == "topk":
            k = self.config["k"]
            if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= width:
                raise ValueError(f"k = {shown(k)}; allowed: 1 to {width}")

    def save(self, folder: Path) -> None:
        """Write the SAE in sae-lens' format; ``SAE.load_from_disk`` opens the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        parts = (self.w_enc, self.b_enc, self.w_dec, self.b_dec)
        weights = {n: w.detach().cpu().contiguous() for n, w in zip(NAMES, parts, strict=True)}
        if self.threshold is not None:
            weights["threshold"] = self.threshold.detach().cpu().contiguous()
        save_file(weights, folder / SAE_WEIGHTS)
        text = json.dumps(self.config, sort_keys=True, indent=1)
        (folder / SAE_CONFIG).write_text(text, encoding="utf-8")

    @property
    def k(self) -> int | None:
        """Active latents per token; None where that depends on the token."""
        return int(self.config["k"]) if self.config["architecture"] == "topk" else None

    @property
    def width(self) -> int:
        """Number of latents."""
        return self.w_dec.shape[0]

    def to(self, device: torch.device) -> "Sae":
        """Return the SAE on a device."""
        return Sae(
            self.w_enc.to(device),
            self.b_enc.to(device),
            self.w_dec.to(device),
            self.b_dec.to(device),
            self.config,
            None if self.threshold is None else self.threshold.to(device),
        )

    def preactivations(self, residual: Tensor) -> Tensor:
        """Return what active latents are chosen from: ``(..., d_model)`` to ``(..., width)``."""
        bias = self.b_dec * float(self.config.get("apply_b_dec_to_input", True))
        scores: Tensor = (residual.to(self.w_enc.dtype) - bias) @ self.w_enc + self.b_enc
        return scores * self.w_dec.norm(dim=-1) if self._rescaled else scores

    def activate(self, scores: Tensor) -> Tensor:
        """Return codes from pre-activations: what is not active is zero, none is negative."""
        if self.k is not None:
            values, where = torch.topk(scores, k=self.k, dim=-1, sorted=False)
            return torch.zeros_like(scores).scatter_(-1, where, values.relu())
        codes = scores.relu()
        return codes if self.threshold is None else codes * (scores > self.threshold)

    def encode(self, residual: Tensor) -> Tensor:
        """Return the codes of ``(..., d_model)`` residuals, ``(..., width)``."""
        return self.activate(self.preactivations(residual))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the reconstructed residuals, ``(..., d_model)``."""
        if self._rescaled:
            codes = codes * (1 / self.w_dec.norm(dim=-1))
        return codes @ self.w_dec + self.b_dec

    def direction(self, latent: int) -> Tensor:
        """Return what one unit of a latent's code writes into the residual, ``(d_model,)``."""
        row = self.w_dec[latent]
        return row / row.norm() if self._rescaled else row

    @property
    def _rescaled(self) -> bool:
        return bool(self.config.get("rescale_acts_by_decoder_norm", False))

"""SAE codes at named layers, the safety-critical latents, and the activation loss on them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cwac.anatomy import Anatomy, residual_streams
from cwac.chat import Batch, Chat, collate
from cwac.errors import ArtifactError, DataError
from cwac.prompts import Prompt

SAE_CONFIG: Final = "cfg.json"
SAE_WEIGHTS: Final = "sae_weights.safetensors"
FEATURES: Final = "features.json"


@dataclass(frozen=True)
class Sae:
    """A TopK sparse autoencoder, read from sae-lens' own format without importing sae-lens.

    Importing sae-lens takes seconds and half a gigabyte, and measuring needs five lines of it.
    ``z = relu(topk(W_enc^T (x - b_dec) + b_enc))``, ``x_hat = z W_dec + b_dec`` (Gao et al.
    2024; CWAC equation 9); equal to ``sae_lens.SAE.encode`` bit for bit.

    Attributes
    ----------
    w_enc, w_dec : Tensor
        ``(d_model, width)`` and ``(width, d_model)``.
    b_enc, b_dec : Tensor
        ``(width,)`` and ``(d_model,)``.
    config : dict
        sae-lens' ``cfg.json``.
    """

    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    config: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``cfg.json`` and ``sae_weights.safetensors``.

        Raises
        ------
        ArtifactError
            A file is missing or broken, or the SAE is of a kind this reader does not know.
        """
        try:
            config = json.loads((folder / SAE_CONFIG).read_text(encoding="utf-8"))
            weights = load_file(folder / SAE_WEIGHTS)
            parts = [weights[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")]
        except (OSError, ValueError, KeyError, SafetensorError) as problem:
            raise ArtifactError(f"the SAE in {folder} cannot be read: {problem}.") from None
        kind, norm = config.get("architecture"), config.get("normalize_activations", "none")
        if kind != "topk" or norm != "none":
            raise ArtifactError(
                f"the SAE in {folder} is {kind!r} with input normalisation {norm!r}; "
                "allowed: 'topk' with 'none'."
            )
        return cls(*parts, config)

    def save(self, folder: Path) -> None:
        """Write the SAE in sae-lens' format; ``SAE.load_from_disk`` opens the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {"W_enc": self.w_enc, "b_enc": self.b_enc, "W_dec": self.w_dec, "b_dec": self.b_dec}
        save_file({k: v.detach().contiguous() for k, v in names.items()}, folder / SAE_WEIGHTS)
        text = json.dumps(self.config, sort_keys=True, indent=1)
        (folder / SAE_CONFIG).write_text(text, encoding="utf-8")

    @property
    def k(self) -> int:
        """Active latents per token."""
        return int(self.config["k"])

    @property
    def width(self) -> int:
        """Number of latents."""
        return self.w_dec.shape[0]

    def to(self, device: torch.device) -> "Sae":
        """Return the SAE on a device."""
        parts = (self.w_enc, self.b_enc, self.w_dec, self.b_dec)
        return Sae(*(part.to(device) for part in parts), self.config)

    def preactivations(self, residual: Tensor) -> Tensor:
        """Return what the top k are chosen from: ``(..., d_model)`` to ``(..., width)``."""
        bias = self.b_dec * self.config.get("apply_b_dec_to_input", True)
        scores = (residual.to(self.w_enc.dtype) - bias) @ self.w_enc + self.b_enc
        return scores * self.w_dec.norm(dim=-1) if self._rescaled else scores

    def keep_top(self, scores: Tensor) -> Tensor:
        """Return codes from pre-activations: all but the k largest are zero, none is negative."""
        values, where = torch.topk(scores, k=self.k, dim=-1, sorted=False)
        return torch.zeros_like(scores).scatter_(-1, where, values.relu())

    def encode(self, residual: Tensor) -> Tensor:
        """Return the codes of ``(..., d_model)`` residuals, ``(..., width)``."""
        return self.keep_top(self.preactivations(residual))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the reconstructed residuals, ``(..., d_model)``."""
        if self._rescaled:
            codes = codes * (1 / self.w_dec.norm(dim=-1))
        return codes @ self.w_dec + self.b_dec

    @property
    def _rescaled(self) -> bool:
        return bool(self.config.get("rescale_acts_by_decoder_norm", False))


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
        The harmful safety prompts that the aligned model refuses: those they were chosen on.
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
    def top_layer(self) -> int:
        """The highest layer with an SAE: no later layer needs to be computed."""
        return max(self.saes)

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
        try:
            content = json.loads((folder / FEATURES).read_text(encoding="utf-8"))
            layers = [int(layer) for layer in content["layers"]]
            chosen = [
                {x: torch.tensor(content[part][str(x)], dtype=torch.long) for x in layers}
                for part in ("protected", "controls")
            ]
            prompt_ids = tuple(content["prompt_ids"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise ArtifactError(f"the features in {folder} cannot be read: {problem}.") from None
        saes = {layer: Sae.load(folder / f"layer_{layer}") for layer in layers}
        return cls(saes, chosen[0], chosen[1], prompt_ids)


def scored_tokens(chat: Chat) -> int:
    """Return how many last prompt tokens are scored: the template's closing ones, at least one."""
    return max(1, chat.closing_tokens)


def prompt_batch(chat: Chat, texts: Sequence[str]) -> Batch:
    """Return requests as they are put to the model, right-padded, none cut."""
    items = [(ids, [False] * len(ids)) for ids in map(chat.prompt_ids, texts)]
    longest = max(len(ids) for ids, _ in items)
    return collate(items, chat.pad_id, side="right", max_length=longest)


def last_tokens(stream: Tensor, attention_mask: Tensor, count: int) -> Tensor:
    """Return the last `count` unpadded positions: ``(B, L, d)`` to ``(B, count, d)``.

    The batch is right-padded.
    """
    ends = attention_mask.sum(dim=1, keepdim=True)
    places = ends - count + torch.arange(count, device=ends.device)
    return stream.gather(1, places.clamp(min=0).unsqueeze(-1).expand(-1, -1, stream.shape[-1]))


def scored_residuals(
    model: nn.Module,
    anatomy: Anatomy,
    chat: Chat,
    texts: Sequence[str],
    layers: Sequence[int],
    *,
    batch_size: int = 64,
) -> Iterator[dict[int, Tensor]]:
    """Yield, per batch of requests, the residual stream at the scored tokens.

    Yields
    ------
    dict of int to Tensor
        ``(B, scored tokens, d_model)`` per layer, without gradient.
    """
    device = next(model.parameters()).device
    for start in range(0, len(texts), batch_size):
        batch = prompt_batch(chat, texts[start : start + batch_size]).to(device)
        with torch.no_grad():
            streams = residual_streams(model, anatomy, batch, layers)
        count = scored_tokens(chat)
        yield {
            layer: last_tokens(streams[layer], batch.attention_mask, count) for layer in layers
        }


@dataclass
class AlignedCodes:
    """The aligned model's protected codes on the safety prompts, cached once per run.

    Attributes
    ----------
    batch : Batch
        All prompts, right-padded.
    scored : int
        Last prompt tokens that are compared, T.
    codes : dict of int to Tensor
        ``(prompts, T, protected latents of the layer)``; zero outside the aligned model's top k,
        so that the baseline support is where they are positive.
    """

    anatomy: Anatomy
    batch: Batch
    scored: int
    codes: dict[int, Tensor]

    @classmethod
    def collect(
        cls,
        model: nn.Module,
        anatomy: Anatomy,
        chat: Chat,
        features: SafetyFeatures,
        prompts: Sequence[Prompt],
    ) -> Self:
        """Run the aligned model once over `prompts`.

        Raises
        ------
        DataError
            There are no prompts.
        """
        if not prompts:
            raise DataError("the activation loss needs refused harmful prompts; there are none.")
        device = next(model.parameters()).device
        texts = [prompt.text for prompt in prompts]
        found: dict[int, list[Tensor]] = {layer: [] for layer in features.layers}
        for residuals in scored_residuals(model, anatomy, chat, texts, features.layers):
            for layer, residual in residuals.items():
                codes = features.encode(layer, residual)
                found[layer].append(codes[..., features.protected[layer]])
        joined = {layer: torch.cat(parts) for layer, parts in found.items()}
        return cls(anatomy, prompt_batch(chat, texts).to(device), scored_tokens(chat), joined)

    def __len__(self) -> int:
        return len(self.batch.input_ids)

    def rows(self, index: Tensor) -> Batch:
        """Return some prompts as a batch, no longer than its longest prompt."""
        mask = self.batch.attention_mask[index]
        length = int(mask.sum(dim=1).max())
        return Batch(
            input_ids=self.batch.input_ids[index, :length],
            attention_mask=mask[:, :length],
            position_ids=self.batch.position_ids[index, :length],
            labels=self.batch.labels[index, :length],
        )


def activation_loss(
    model: nn.Module, features: SafetyFeatures, codes: AlignedCodes, index: Tensor
) -> tuple[Tensor, float, Tensor]:
    """Return CWAC's safety loss (arXiv 2604.12384, equation 11) on some of the cached prompts.

    ``(1/B) sum_b (1/T) sum_t ||z_bt - z_bt^aligned||^2`` over the protected latents of all
    layers: each of the T scored tokens is compared with the same token of the aligned model, and
    the tokens are averaged.

    The current value of a latent is its *pre-activation* wherever the aligned or the current
    model has it among the top k, and zero elsewhere. For a latent in the current top k that is
    its code; one that fell out of the top k, exactly the case to be repaired, would get no
    gradient through the code but gets one through its pre-activation.

    Parameters
    ----------
    index : LongTensor
        Positions of the batch's prompts in `codes`, ``(B,)``.

    Returns
    -------
    loss : Tensor
        Scalar, with gradient; 0 for the aligned model.
    normalised : float
        ``||z - z_aligned||^2 / ||z_aligned||^2`` over the batch; NaN where no protected latent
        fires in the aligned model.
    per_latent : Tensor
        Each latent's part of the loss, in the order of ``features.index``, without gradient.
    """
    batch = codes.rows(index)
    streams = residual_streams(model, codes.anatomy, batch, features.layers)
    parts, baseline_energy = [], 0.0
    for layer in features.layers:
        sae, chosen, aligned = features.saes[layer], features.protected[layer], codes.codes[layer]
        residual = last_tokens(streams[layer], batch.attention_mask, codes.scored)
        scores = sae.preactivations(residual)
        target = aligned[index]
        support = (target > 0) | (sae.keep_top(scores.detach())[..., chosen] > 0)
        now = torch.where(support, scores[..., chosen], torch.zeros_like(target))
        parts.append((now - target).square().mean(dim=(0, 1)))
        baseline_energy += float(target.square().mean(dim=(0, 1)).sum())
    per_latent = torch.cat(parts)
    loss = per_latent.sum()
    normalised = float(loss.detach()) / baseline_energy if baseline_energy else float("nan")
    return loss, normalised, per_latent.detach()

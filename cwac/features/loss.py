"""The activation loss: how far protected latents are from the aligned model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, forward_inputs, stop_after
from cwac.chat import Batch, Chat
from cwac.errors import DataError
from cwac.features.safety import SafetyFeatures
from cwac.features.scored import last_tokens, prompt_batch, scored_batches, scored_tokens
from cwac.passes import Beginning, in_order
from cwac.prompts import Prompt


@dataclass
class AlignedCodes:
    """The aligned model's protected codes on the safety requests, cached once per run.

    Attributes
    ----------
    batch : Batch
        All prompts, right-padded.
    beginning : Beginning
        What they all begin with: a wide model reads it once a step, not once a prompt.
    scored : int
        Last prompt tokens that are compared, T.
    codes : dict of int to Tensor
        ``(prompts, T, protected latents of the layer)``; zero outside the aligned model's top k,
        so that the baseline support is where they are positive.
    """

    anatomy: Anatomy
    batch: Batch
    beginning: Beginning
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
            raise DataError("the activation loss needs refused harmful requests; there are none.")
        device = next(model.parameters()).device
        texts = [prompt.text for prompt in prompts]
        count, ids = scored_tokens(chat), [chat.prompt_ids(text) for text in texts]
        beginning = Beginning(model, ids, leave=count)
        by_layer: dict[int, list[Tensor]] = {layer: [] for layer in features.layers}
        batches: list[list[int]] = []
        for places, residuals in scored_batches(model, anatomy, chat, texts, features.layers):
            batches.append(places)
            for layer, residual in residuals.items():
                codes = features.encode(layer, residual)
                by_layer[layer].append(codes[..., features.protected[layer]])
        joined = {layer: in_order(batches, parts) for layer, parts in by_layer.items()}
        return cls(anatomy, prompt_batch(chat, texts).to(device), beginning, count, joined)

    def __len__(self) -> int:
        return len(self.batch.input_ids)

    def residuals(
        self, model: nn.Module, layers: Sequence[int], index: Tensor
    ) -> dict[int, Tensor]:
        """Return the stream of some prompts at the scored tokens, by layer, with gradient."""
        # No longer than its longest prompt.
        batch = self.batch.rows(index)
        with stop_after(model, self.anatomy, layers) as reader:
            # FSDP2 frees what the first of two passes needs for its gradient.
            if len(self.beginning) and not reader.sharded:
                batch = batch.after(len(self.beginning))
                inputs = self.beginning.inputs(batch, anew=reader.forward)
            else:
                inputs = forward_inputs(batch)
            streams = reader.forward(**inputs)
        return {
            layer: last_tokens(stream, batch.attention_mask, self.scored)
            for layer, stream in streams.items()
        }


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
    residuals = codes.residuals(model, features.layers, index)
    return loss_of(residuals, features, {x: codes.codes[x][index] for x in features.layers})


def loss_of(
    residuals: Mapping[int, Tensor], features: SafetyFeatures, targets: Mapping[int, Tensor]
) -> tuple[Tensor, float, Tensor]:
    """Return the same from residuals at the scored tokens that were read already.

    Parameters
    ----------
    residuals, targets : mapping of int to Tensor
        ``(B, T, d_model)`` per layer, and the aligned model's protected codes there,
        ``(B, T, latents)``.
    """
    parts, baseline_energy = [], 0.0
    for layer in features.layers:
        sae, chosen, target = features.saes[layer], features.protected[layer], targets[layer]
        scores = sae.preactivations(residuals[layer])
        support = (target > 0) | (sae.activate(scores.detach())[..., chosen] > 0)
        now = torch.where(support, scores[..., chosen], torch.zeros_like(target))
        parts.append((now - target).square().mean(dim=(0, 1)))
        baseline_energy += float(target.square().mean(dim=(0, 1)).sum())
    per_latent = torch.cat(parts)
    loss = per_latent.sum()
    normalised = float(loss.detach()) / baseline_energy if baseline_energy else float("nan")
    return loss, normalised, per_latent.detach()

"""A training pass of a wide TopK SAE that computes what its active latents need, and no more.

Stands alone, because it is linear algebra on tensors: sae-lens' trainer, its losses and its
schedule are around it (`cwac.preparation.sae_training`).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


class Pass(NamedTuple):
    """What one pass gives.

    Attributes
    ----------
    rebuilt : Tensor
        ``(B, d)``, with gradient.
    again : Tensor or None
        What the silent latents make of the error, ``(B, d)``, with gradient; None without any.
    where : LongTensor
        Active latents, ``(B, k)``.
    codes : Tensor
        Their activations, scaled by the norms of their decoder rows, ``(B, k)``.
    """

    rebuilt: Tensor
    again: Tensor | None
    where: Tensor
    codes: Tensor


def sparse_pass(sae: Any, inputs: Tensor, silent: Tensor, most: int) -> Pass:
    """Return the reconstruction by the k active latents, and by the silent ones' strongest.

    Its gradients are those of sae-lens' own pass, where most of what is multiplied is zero: only
    active latents have a gradient, the norms of the decoder's rows, by which scores are scaled and
    reconstructions scaled back, have none, and the decoder's bias needs the gradients' sum alone.

    Parameters
    ----------
    sae : TopKTrainingSAE
        Of sae-lens, which scales by the norms.
    inputs : Tensor
        ``(B, d)``.
    silent : LongTensor
        Latents that have not fired for long.
    most : int
        So many silent latents of a row have a share in `Pass.again`.
    """
    with torch.no_grad():
        hidden = torch.addmm(sae.b_enc, inputs - sae.b_dec, sae.W_enc)
        norms = sae.W_dec.norm(dim=1)
        where = (hidden * norms).topk(sae.cfg.k, dim=1, sorted=False).indices
        raw = hidden.gather(1, where).relu()
    values = _Active.apply(  # type: ignore[no-untyped-call]
        inputs, sae.W_enc, sae.b_enc, sae.b_dec, where, raw
    )
    rows = embedding_bag(where, sae.W_dec, per_sample_weights=values, mode="sum")
    again = None
    if len(silent):
        scores = hidden[:, silent]
        if most < len(silent):
            strongest = (scores * norms[silent]).topk(most, dim=1, sorted=False).indices
            kept = torch.zeros_like(scores).scatter_(1, strongest, 1.0)
        else:
            kept = torch.ones_like(scores)
        acts = _Silent.apply(  # type: ignore[no-untyped-call]
            inputs, sae.W_enc, sae.b_enc, sae.b_dec, silent, scores * kept, kept
        )
        again = acts @ sae.W_dec[silent]
    return Pass(rows + sae.b_dec, again, where, raw * norms[where])


class _Active(torch.autograd.Function):
    """Codes of chosen latents, which are known; the gradient reaches their columns alone."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, w_enc: Tensor, b_enc: Tensor, b_dec: Tensor, where: Tensor,
        values: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(inputs, w_enc, b_enc, b_dec, where, values)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, w_enc, b_enc, b_dec, where, values = ctx.saved_tensors
        pulled = gradients[0] * (values > 0)
        with torch.enable_grad():
            # The gradient of a weighted sum of rows is what is wanted: each row's weight times
            # the input, added up by latent.
            columns = torch.zeros_like(w_enc.T, memory_format=torch.contiguous_format)
            columns.requires_grad_()
            bags = embedding_bag(where, columns, per_sample_weights=pulled, mode="sum")
            (of_columns,) = torch.autograd.grad(bags, [columns], inputs - b_dec)
        of_bias = torch.zeros_like(b_enc).index_add_(0, where.flatten(), pulled.flatten())
        return None, of_columns.T, of_bias, -(w_enc @ of_bias), None, None


class _Silent(torch.autograd.Function):
    """The same of latents that all rows share, with which of them count in which row."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, w_enc: Tensor, b_enc: Tensor, b_dec: Tensor, silent: Tensor,
        values: Tensor, kept: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(inputs, w_enc, b_enc, b_dec, silent, kept)
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, w_enc, b_enc, b_dec, silent, kept = ctx.saved_tensors
        pulled = gradients[0] * kept
        of_columns = torch.zeros_like(w_enc.T, memory_format=torch.contiguous_format)
        of_columns[silent] = pulled.T @ (inputs - b_dec)
        of_bias = torch.zeros_like(b_enc)
        of_bias[silent] = pulled.sum(dim=0)
        return None, of_columns.T, of_bias, -(w_enc @ of_bias), None, None, None

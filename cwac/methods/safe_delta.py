"""Safe Delta: keep the weight changes that cost little safety, and compensate for these."""

from types import MappingProxyType
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.anatomy import LinearMap, weight_of
from cwac.chat import Batch, collate
from cwac.config import Maps
from cwac.generation import answer
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import refused_prompts
from cwac.passes import read_together
from cwac.subspace import SecondMoments, collect_second_moments

ANSWER_TOKENS: Final = 48
BATCH: Final = 64
RELEASED_ROWS: Final = 8192
"""``s / 2 * rows / 4096`` in the released code, whose blocks are half as wide as Llama 2."""


class SafeDeltaSettings(MethodSettings):
    """Settings of the selection and of the compensation."""

    budget: float = Field(default=0.1, ge=0)
    """Safety loss that accepted changes may cost, in units that `budget_rule` names."""
    budget_rule: Literal["share", "released"] = "share"
    """``share``: of the loss that accepting every change would cost. ``released``: the code's
    absolute scale, ``budget`` being its s (0.11 for Llama 2 7B), which depends on how large the
    changes are."""
    never: float = Field(default=0.15, ge=0, lt=1)
    """Share of the most sensitive changes that is never accepted: in the released code alone."""
    compensation: Literal["columns", "released", "off"] = "columns"
    """``columns``: after every input column, the equation; ``released``: after every fourth, as
    the code does; ``off``: none."""
    maps: Maps = "all"
    """Linear maps whose changes are selected: the paper's are all of the decoder."""
    rest: Literal["tuned", "aligned"] = "tuned"
    """What becomes of all other parameters; the released code returns them to the aligned model."""
    samples: int = Field(default=128, ge=1)
    """Refused harmful requests that the safety loss is measured on."""
    damping: float = Field(default=0.01, gt=0)
    """Added to the diagonal of the second moment, as a share of the mean diagonal."""
    block: int = Field(default=2048, ge=1)
    """Input columns that share one budget."""


class SafeDelta(Method[SafeDeltaSettings]):
    r"""Fine-tune plainly, then take changes back until safety costs no more than a budget.

    With H the damped second moment of a map's inputs on refused harmful requests, the cost of a
    change ``dW_ij`` is ``dW_ij^2 / (2 [H^-1]_jj)`` and its gain for the task ``dW_ij^2``, so that
    changes are accepted in the order of ``1 / [H^-1]_jj`` until the budget is used. Every accepted
    change is followed by the optimal brain surgeon's correction of the later columns,
    ``- dW_ij [H^-1]_j / [H^-1]_jj``. As in the code, ``[H^-1]_jj`` is that of the columns from j
    on, read off the Cholesky factor, and accepted entries take their fine-tuned value.

    The aligned model's own refusals follow the prompts, and all tokens count. The paper varies the
    system prompt over four texts; here it is the template's own. The paper fine-tunes all weights
    and merges LoRA adapters first.
    """

    name = "safe_delta"
    title = "Safe Delta"
    summary = "Weight changes that cost much safety are undone after training, the rest corrected."
    source = "Lu et al. 2025, arXiv 2505.12038, section 4; code ColinLu50/SafeDelta."
    published = MappingProxyType({"budget": "0.11 (Llama 2 7B)", "budget_rule": "released"})
    deviation = (
        "One system prompt instead of four, and a budget as a share of what accepting all would "
        'cost: budget_rule = "released" is the code\'s.'
    )
    stage = "after training"
    needs = frozenset({"safety_prompts", "features"})
    adapters = ("full", "lora")
    strength_knob = "budget"

    def __init__(self, settings: SafeDeltaSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.moments = SecondMoments()
        self.accepted: dict[str, float] = {}

    def setup(self, context: MethodContext) -> None:
        """Measure the second moments of the aligned model's inputs."""
        settings = self.settings
        self.context = context
        maps = context.anatomy.select(settings.maps)
        batches = safety_batches(context, settings.samples)
        self.moments = collect_second_moments(context.model, maps, batches)

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """Select and compensate, one map after the other."""
        settings, context = self.settings, self.context
        assert context is not None
        maps = context.anatomy.select(settings.maps)
        for entry in maps:
            self._realign(model, entry, settings, context)
        if settings.rest == "aligned":
            done = {entry.parameter for entry in maps}
            for name, parameter in model.named_parameters():
                if name not in done:
                    parameter.copy_(context.aligned[name])

    def _realign(
        self,
        model: nn.Module,
        entry: LinearMap,
        settings: SafeDeltaSettings,
        context: MethodContext,
    ) -> None:
        weight, aligned = weight_of(model, entry), weight_of(context.aligned, entry)
        factor = inverse_factor(self.moments.matrix(entry.path), settings.damping).to(weight)
        corrected, accepted = realigned(aligned, weight, factor, settings)
        self.accepted[entry.path] = float(accepted.float().mean())
        weight.copy_(corrected)

    def diagnostics(self) -> dict[str, float]:
        """Return the mean share of accepted changes."""
        shares = list(self.accepted.values())
        return {"accepted_share": sum(shares) / len(shares)} if shares else {}


def safety_batches(context: MethodContext, samples: int) -> list[Batch]:
    """Return refused harmful requests with the aligned model's own answers, right-padded.

    Raises
    ------
    DataError
        The aligned model refuses no harmful safety request.
    """
    texts = [prompt.text for prompt in refused_prompts(context, "safe_delta")][:samples]
    answers = answer(
        context.model, context.chat, texts, max_new_tokens=ANSWER_TOKENS, batch_size=BATCH
    )
    items = [
        context.chat.example_ids(text, given.text)
        for text, given in zip(texts, answers, strict=True)
    ]
    limit = context.config.training.max_length
    lengths = [len(ids) for ids, _ in items]
    return [
        collate([items[place] for place in places], context.chat.pad_id, max_length=limit).to(
            context.device
        )
        for places in read_together(context.anatomy, lengths, rows=BATCH, limit=limit)
    ]


def inverse_factor(moment: Tensor, damping: float) -> Tensor:
    """Return the upper Cholesky factor R of the damped inverse, ``H^-1 = R^T R``, float64.

    ``R_jj^2`` is the j-th diagonal element of the inverse of H restricted to the columns from j
    on, and ``R_j / R_jj`` that inverse's row over its diagonal element: all that elimination in
    column order needs.

    Parameters
    ----------
    moment : Tensor
        Mean second moment, ``(d_in, d_in)``.
    damping : float
        Share of the mean diagonal that is added to the diagonal.
    """
    damped = moment.double().clone()
    # Inputs that are never active have no second moment: the damping alone keeps H invertible.
    damped.diagonal().add_(damping * damped.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def realigned(
    aligned: Tensor, tuned: Tensor, factor: Tensor, settings: SafeDeltaSettings
) -> tuple[Tensor, Tensor]:
    """Return a map's new weight and which changes were accepted, both ``(d_out, d_in)``."""
    weight, accepted = aligned.clone(), torch.zeros_like(aligned, dtype=torch.bool)
    step = {"columns": 1, "released": 4, "off": settings.block}[settings.compensation]
    d_in = weight.shape[1]
    for start in range(0, d_in, settings.block):
        stop = min(start + settings.block, d_in)
        diagonal = factor.diagonal()[start:stop]
        # Changes are weighed against what compensation has made of the aligned weights so far.
        change = tuned[:, start:stop] - weight[:, start:stop]
        accepted[:, start:stop] = _accepted(change, diagonal, settings)
        for first in range(start, stop, step):
            last = min(first + step, stop)
            columns = weight[:, first:last]
            new = torch.where(accepted[:, first:last], tuned[:, first:last], columns)
            error = (columns - new) / factor.diagonal()[first:last]
            weight[:, first:last] = new
            if settings.compensation != "off":
                weight[:, last:] -= error @ factor[first:last, last:]
    return weight, accepted


def _accepted(change: Tensor, diagonal: Tensor, settings: SafeDeltaSettings) -> Tensor:
    """Return which changes of a block are accepted, the least sensitive inputs first."""
    sensitivity = (1 / diagonal.square()).expand_as(change).flatten()
    order = torch.argsort(sensitivity, stable=True)
    cost = (change.flatten().square() * sensitivity)[order].double()
    spent = cost.cumsum(0)
    if settings.budget_rule == "share":
        budget = settings.budget * spent[-1]
    else:
        budget = sensitivity.mean() * settings.budget * len(change) / RELEASED_ROWS
    within = spent <= budget
    # A change of zero costs nothing, and a budget of zero should still accept none.
    within &= settings.budget > 0
    within[len(order) - int(settings.never * len(order)) :] = False
    accepted = torch.empty_like(within)
    accepted[order] = within
    return accepted.view_as(change)

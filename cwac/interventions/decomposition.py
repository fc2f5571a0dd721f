"""Decomposition: each map's change of output as carried, written and bilinear terms."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, LinearMap, forward_inputs, layer_module, weight_of
from cwac.features import request_batches
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import texts_of, whole_prompts
from cwac.interventions.bench import Part, resampled
from cwac.passes import in_order
from cwac.prompts import Prompt
from cwac.scores import no_scores

REQUESTS: Final = 64
"""Requests of each kind whose prompt tokens are read."""
BATCH: Final = 16
PIECE: Final = 2048
"""Outputs of a map that are computed at a time: those of a vocabulary are many."""
_BEFORE_NONLINEARITY: Final = ("mlp.gate_proj", "mlp.c_fc", "mlp.dense_h_to_4h", "fc1")
_NONLINEARITIES: Final = ("mlp.act_fn", "mlp.act", "activation_fn")
TERMS: Final = ("carried", "written", "bilinear")
Sums = dict[str, list[Tensor]]
Function = Callable[[Tensor], Tensor]


class Decomposition(Intervention):
    r"""CWAC's first-order premise (arXiv 2604.12384, eq. 2 to 4) against the whole change.

    For a linear map, ``W h - W0 h0 = W0 dh + dW h0 + dW dh`` exactly: what arrives changed
    (*carried*), what the map itself writes anew (with its bias's change), and the *bilinear* term
    that the paper drops. Shares are of the change, ``<term, change> / ||change||^2``, and add up
    to 1; ``relative_change`` is ``||change||`` over the norm of the aligned output. After the
    nonlinearity f that follows a feed-forward input map, the first-order form
    ``f'(z0) (W0 dh + dW h0 + db)`` is compared with ``f(z) - f(z0)``.

    The embedding looks up one column a token, and both models read the same tokens: dh = 0, so that
    all of its change is written, by theorem and not by measurement. The output layer reads the
    final normed states; its outputs are the logits before an architecture scales or caps them,
    each token's less their mean over the vocabulary, because no probability depends on that mean.
    What did not change at all has no rows.
    """

    name = "decomposition"
    version = 2
    by_grain = False

    def cost(self, context: DissectContext) -> Cost:
        """Return a pass of both models over some requests of both kinds."""
        return Cost(2 * whole_prompts(context))

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return shares and errors of each map, on harmful and on harmless requests."""
        harmless = context.prompts.get("test", "harmless")
        rows = []
        for kind, prompts in (("harmful", context.harmful_test()), ("harmless", harmless)):
            sums = _sums(context, prompts[:REQUESTS]) if prompts else {}
            context.progress()
            for entry in _every_map(context.anatomy):
                if entry.path in sums:
                    rows += _map_rows(part_of(context.anatomy, entry), kind, sums[entry.path])
        return rows


def _every_map(anatomy: Anatomy) -> tuple[LinearMap, ...]:
    return (anatomy.embedding, *anatomy.maps, anatomy.output)


def part_of(anatomy: Anatomy, entry: LinearMap) -> Part:
    """Return a map as it is named; an output layer that is the embedding's weight says so."""
    name = f"layer {entry.layer} {entry.name}"
    if entry is anatomy.embedding:
        name = entry.name
    if entry is anatomy.output:
        name = "output layer (tied to the embedding)" if anatomy.tied else "output layer"
    return Part(name, entry.layer, entry.name)


def _map_rows(part: Part, kind: str, sums: Sums) -> list[dict[str, Any]]:
    energy = {name: torch.cat(parts).numpy() for name, parts in sums.items()}
    whole = energy["change"]
    if not whole.any():
        return []
    measures = {f"share_{term}": ratio(energy[term], whole) for term in TERMS}
    measures["relative_change"] = ratio(whole, energy["before"], root=True)
    measures["bilinear_of_kept"] = ratio(energy["dropped"], energy["kept"], root=True)
    if "missed" in energy:
        measures["first_order_error"] = ratio(energy["missed"], energy["after"], root=True)
    control = kind == "harmless"
    return [
        part.row(f"{kind} requests", measure=name, control=control, n=len(whole), **columns)
        for name, columns in measures.items()
        if columns
    ]


def ratio(above: np.ndarray, below: np.ndarray, *, root: bool = False) -> dict[str, float]:
    """Return a ratio of sums over requests and its bootstrap interval; empty where undefined."""
    if below.sum() <= 0:
        return {}
    draws = resampled(len(below))
    drawn = (draws @ above) / (draws @ below)
    power = 0.5 if root else 1.0
    low, high = np.percentile(drawn**power, [2.5, 97.5])
    value = float((above.sum() / below.sum()) ** power)
    return {"value": value, "low": float(low), "high": float(high)}


@torch.no_grad()
def _sums(context: DissectContext, prompts: Sequence[Prompt]) -> dict[str, Sums]:
    """Return per map and request the squared norms and products of the terms."""
    anatomy = context.anatomy
    entries = _every_map(anatomy)
    read = entries[1:]
    ends = {entry.path: _ends(context, entry) for entry in entries}
    sums: dict[str, Sums] = {entry.path: {} for entry in entries}
    batches: list[list[int]] = []
    texts = texts_of(context, prompts)
    for places, right_padded in request_batches(anatomy, context.chat, texts, rows=BATCH):
        batches.append(places)
        batch = right_padded.to(context.device)
        # The output layer's inputs are read before it is spared all positions but one.
        with _inputs(context.aligned_model, read) as before, no_scores(context.aligned_model):
            context.aligned_model(**forward_inputs(batch))
        with _inputs(context.model, read) as now, no_scores(context.model):
            context.model(**forward_inputs(batch))
        mask = batch.attention_mask.bool()
        for entry in entries:
            if entry is anatomy.embedding:
                products = _products(_looked_up(ends[entry.path], batch.input_ids), mask)
            else:
                inputs = (before[entry.path], now[entry.path])
                function = _function_behind(context, entry)
                products = _over_pieces(ends[entry.path], inputs, mask, function)
            for name, values in products.items():
                sums[entry.path].setdefault(name, []).append(values)
    return {
        path: {name: [in_order(batches, parts)] for name, parts in part.items()}
        for path, part in sums.items()
    }


@contextmanager
def _inputs(model: nn.Module, maps: Sequence[LinearMap]) -> Iterator[dict[str, Tensor]]:
    """Collect what the maps read in a pass, ``(B, L, d_in)`` by path."""
    inputs: dict[str, Tensor] = {}

    def reader(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs[path] = arguments[0].detach()

        return read

    handles = [
        model.get_submodule(entry.path).register_forward_pre_hook(reader(entry.path))
        for entry in maps
    ]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class _Affine:
    """A map as it stands in one of both models.

    Attributes
    ----------
    weight : Tensor
        ``(d_out, d_in)``, as stored: a vocabulary's is made float64 a piece at a time.
    bias : Tensor or None
        ``(d_out,)``.
    centre : tuple of Tensor and Tensor, optional
        The means over the outputs of weight and bias, which are taken from both.
    """

    weight: Tensor
    bias: Tensor | None
    centre: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, weights: Mapping[str, Tensor], entry: LinearMap, *, centred: bool) -> "_Affine":
        """Return a map of a model; centred, what it adds to all outputs alike is left out."""
        plain = cls(weight_of(weights, entry), weights.get(f"{entry.path}.bias"))
        if not centred:
            return plain
        weight_mean = torch.zeros_like(plain.weight[0], dtype=torch.float64)
        bias_mean = weight_mean.new_zeros(())
        for rows in _pieces(entry.d_out):
            weight, bias = plain.piece(rows)
            weight_mean += weight.sum(dim=0) / entry.d_out
            bias_mean += bias.sum() / entry.d_out
        return cls(plain.weight, plain.bias, (weight_mean, bias_mean))

    def piece(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Return weight ``(rows, d_in)`` and bias ``(rows,)`` of some outputs, float64."""
        weight = self.weight[rows].double()
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias[rows].double()
        if self.centre is not None:
            weight, bias = weight - self.centre[0], bias - self.centre[1]
        return weight, bias


Ends = tuple[_Affine, _Affine]
"""A map in the aligned and in the tuned model."""


def _ends(context: DissectContext, entry: LinearMap) -> Ends:
    centred = entry is context.anatomy.output
    aligned = _Affine.of(context.aligned, entry, centred=centred)
    return aligned, _Affine.of(context.tuned, entry, centred=centred)


def _pieces(outputs: int) -> Iterator[slice]:
    for first in range(0, outputs, PIECE):
        yield slice(first, first + PIECE)


def _over_pieces(
    ends: Ends, inputs: tuple[Tensor, Tensor], mask: Tensor, function: Function | None
) -> dict[str, Tensor]:
    """Return a map's products, summed over pieces of its outputs."""
    h = inputs[1].double()
    h0 = inputs[0].double().reshape(*h.shape)
    aligned, tuned = ends
    total: dict[str, Tensor] = {}
    for rows in _pieces(len(aligned.weight)):
        terms = _terms(aligned.piece(rows), tuned.piece(rows), h0, h)
        if function is not None:
            terms |= _after_nonlinearity(function, terms)
        for name, values in _products(terms, mask).items():
            total[name] = total[name] + values if name in total else values
    return total


def _terms(
    aligned: tuple[Tensor, Tensor], tuned: tuple[Tensor, Tensor], h0: Tensor, h: Tensor
) -> dict[str, Tensor]:
    """Return the terms of one map's change, and its aligned output, float64 ``(B, L, d_out)``."""
    (old, old_bias), (new, new_bias) = aligned, tuned
    moved, delta = h - h0, new - old
    terms = {
        "carried": moved @ old.T,
        "written": h0 @ delta.T + (new_bias - old_bias),
        "bilinear": moved @ delta.T,
    }
    # Their sum, and not W h - W0 h0, which is equal but for rounding: of a map that stands still
    # all is carried, to the last bit.
    change = terms["carried"] + terms["written"] + terms["bilinear"]
    return terms | {"change": change, "before": h0 @ old.T + old_bias}


def _looked_up(ends: Ends, ids: Tensor) -> dict[str, Tensor]:
    """Return the terms of the embedding: its inputs, the tokens, are the same in both models."""
    old, new = (end.weight.T[ids].double() for end in ends)
    written = new - old
    none = torch.zeros_like(written)
    return {
        "carried": none, "written": written, "bilinear": none, "change": written, "before": old,
    }  # fmt: skip


def _function_behind(context: DissectContext, entry: LinearMap) -> Function | None:
    """Return the nonlinearity that a map's output goes through next, None where there is none."""
    if entry.name not in _BEFORE_NONLINEARITY:
        return None
    return nonlinearity(layer_module(context.model, context.anatomy, entry.layer))


def _after_nonlinearity(function: Function, terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the change behind the nonlinearity and what the first-order form misses of it."""
    before = terms["before"]
    after = function(before + terms["change"]) - function(before)
    step = terms["carried"] + terms["written"]
    first = torch.func.jvp(function, (before,), (step,))[1]
    return {"after": after, "missed": after - first}


def nonlinearity(layer: nn.Module) -> nn.Module | None:
    """Return the nonlinearity of a decoder layer's feed-forward part, None where it is unknown."""
    for path in _NONLINEARITIES:
        try:
            return layer.get_submodule(path)
        except AttributeError:
            continue
    return None


def _products(terms: dict[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """Return per request the sums over its tokens, float64 ``(B,)``."""

    def over_tokens(values: Tensor) -> Tensor:
        summed: Tensor = (values.sum(dim=-1) * mask).sum(dim=-1).cpu()
        return summed

    kept = terms["carried"] + terms["written"]
    products = {term: over_tokens(terms[term] * terms["change"]) for term in TERMS}
    squares = {"dropped": terms["bilinear"], "kept": kept}
    squares |= {name: terms[name] for name in ("change", "before")}
    squares |= {name: terms[name] for name in ("after", "missed") if name in terms}
    return products | {name: over_tokens(value.square()) for name, value in squares.items()}

"""Decomposition: each map's change of output as carried, written and bilinear terms."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import LinearMap, forward_inputs, layer_module, weight_of
from cwac.features import request_batches
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import texts_of, whole_prompts
from cwac.interventions.bench import Part, resampled
from cwac.passes import in_order
from cwac.prompts import Prompt

REQUESTS: Final = 64
"""Requests of each kind whose prompt tokens are read."""
BATCH: Final = 16
_BEFORE_NONLINEARITY: Final = ("mlp.gate_proj", "mlp.c_fc", "mlp.dense_h_to_4h", "fc1")
_NONLINEARITIES: Final = ("mlp.act_fn", "mlp.act", "activation_fn")
TERMS: Final = ("carried", "written", "bilinear")
Sums = dict[str, list[Tensor]]


class Decomposition(Intervention):
    r"""CWAC's first-order premise (arXiv 2604.12384, eq. 2 to 4) against the whole change.

    For a linear map, ``W h - W0 h0 = W0 dh + dW h0 + dW dh`` exactly: what arrives changed
    (*carried*), what the map itself writes anew, and the *bilinear* term that the paper drops.
    Shares are of the change, ``<term, change> / ||change||^2``, and add up to 1. After the
    nonlinearity f that follows a feed-forward input map, the first-order form
    ``f'(z0) (W0 dh + dW h0 + db)`` is compared with ``f(z) - f(z0)``.
    """

    name = "decomposition"
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
            for entry in context.anatomy.maps:
                if entry.path in sums:
                    rows += _map_rows(entry, kind, sums[entry.path])
        return rows


def _map_rows(entry: LinearMap, kind: str, sums: Sums) -> list[dict[str, Any]]:
    energy = {name: torch.cat(parts).numpy() for name, parts in sums.items()}
    part = Part(f"layer {entry.layer} {entry.name}", entry.layer, entry.name)
    whole = energy["change"]
    if not whole.any():
        return []
    measures = {f"share_{term}": ratio(energy[term], whole) for term in TERMS}
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
    sums: dict[str, Sums] = {entry.path: {} for entry in context.anatomy.maps}
    texts = texts_of(context, prompts)
    batches: list[list[int]] = []
    for places, right_padded in request_batches(context.anatomy, context.chat, texts, rows=BATCH):
        batches.append(places)
        batch = right_padded.to(context.device)
        with _inputs(context.aligned_model, context.anatomy.maps) as before:
            context.aligned_model(**forward_inputs(batch))
        with _inputs(context.model, context.anatomy.maps) as now:
            context.model(**forward_inputs(batch))
        mask = batch.attention_mask.bool()
        for entry in context.anatomy.maps:
            terms = _terms(context, entry, before[entry.path], now[entry.path])
            for name, values in _products(terms, mask).items():
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


def _terms(
    context: DissectContext, entry: LinearMap, before: Tensor, now: Tensor
) -> dict[str, Tensor]:
    """Return the terms of one map's change, float64 ``(B, L, d_out)``."""
    old, new = (weight_of(w, entry).double() for w in (context.aligned, context.tuned))
    h0, h = before.double().reshape(*now.shape), now.double()
    moved, delta = h - h0, new - old
    terms = {"carried": moved @ old.T, "written": h0 @ delta.T, "bilinear": moved @ delta.T}
    terms["change"] = h @ new.T - h0 @ old.T
    after = _after_nonlinearity(context, entry, terms, h0 @ old.T)
    return terms | after


def _after_nonlinearity(
    context: DissectContext, entry: LinearMap, terms: dict[str, Tensor], before: Tensor
) -> dict[str, Tensor]:
    """Return the change behind the nonlinearity and what the first-order form misses of it."""
    function = nonlinearity(layer_module(context.model, context.anatomy, entry.layer))
    if entry.name not in _BEFORE_NONLINEARITY or function is None:
        return {}
    bias = f"{entry.path}.bias"
    shift: Tensor | float = 0.0
    if bias in context.aligned:
        before = before + context.aligned[bias].double()
        shift = context.tuned[bias].double() - context.aligned[bias].double()
    after = function(before + terms["change"] + shift) - function(before)
    step = terms["carried"] + terms["written"] + shift
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
    squares = {"change": terms["change"], "dropped": terms["bilinear"], "kept": kept}
    squares |= {name: terms[name] for name in ("after", "missed") if name in terms}
    return products | {name: over_tokens(value.square()) for name, value in squares.items()}

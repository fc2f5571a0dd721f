"""How far the weights moved, inside and outside the safety subspace, map by map."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pandas as pd
import torch
from torch import Tensor, nn

from cwac.abreast import abreast
from cwac.anatomy import SMALL, LinearMap, weight_of
from cwac.drift import (
    effective_rank,
    functional_square,
    root_ratio,
    singular_values,
    update_of,
)
from cwac.interfaces import MeasureContext, Measurement, Metric, MetricInfo
from cwac.metrics.features import aligned_weights
from cwac.passes import Beginning, right_padded
from cwac.rates import RATES
from cwac.records import TABLES
from cwac.scores import no_scores
from cwac.subspace import token_mask

KEPT_VALUES: Final = 64
"""Leading singular values that are stored per map."""

_SUMS: Final = ("", "_norms", "_aligned")
Columns = Sequence[tuple[list[int], list[bool]]]
"""Texts as tokens, and which of these are columns of X."""

DRIFT: Final = MetricInfo(
    "relative_weight_drift", "Relative weight drift", "ratio", "neither", None
)
ENERGY: Final = MetricInfo(
    "protected_energy", "Update energy inside the safety subspace", "fraction", "lower"
)
LEAKAGE: Final = MetricInfo("leakage", "Leakage onto held-out harmful requests", "ratio", "lower")
LEAKAGE_FITTED: Final = MetricInfo(
    "leakage_fitted_tokens", "Leakage onto held-out refusals, tokens as fitted", "ratio", "lower"
)


class WeightDrift(Metric):
    """Norms, spectra, protected energy, functional drift and leakage of every linear map.

    The four numbers pool the maps of the yardstick's selection as one block-diagonal map:
    squared Frobenius norms are summed before a ratio is taken. Leakage pools
    ``||dW X||^2`` over ``||dW||^2 ||X||^2``, X being the aligned model's inputs on the prompt
    tokens of the harmful test requests. The subspace may be fitted on other tokens
    (``measurement.tokens``; by default those of a refusal): ``leakage_fitted_tokens`` has the same
    kind of tokens on requests held out, from the aligned model's own refusals of the harmful test
    requests. A quantity that an update of zero does not define is left out.
    """

    name = "weight_drift"
    infos = (DRIFT, ENERGY, LEAKAGE, LEAKAGE_FITTED)

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a tuned model against its aligned weights; nothing for the aligned model."""
        if context.is_aligned:
            return Measurement()
        measurement = context.config.measurement
        chosen = context.yardstick.subspace.select(measurement.maps, measurement.layers)
        heldout = heldout_sums(context, prompt_columns(context), "heldout", (0.0, 0.3))
        fitted = heldout_sums(context, _fitted_columns(context), "fitted", (0.3, 0.6))
        rows: list[dict[str, Any]] = []
        spectra: list[dict[str, Any]] = []
        pooled: dict[str, float] = {}
        maps = context.anatomy.maps

        def of(entry: LinearMap) -> tuple[dict[str, float], Tensor]:
            delta = update_of(context.model, context.aligned, entry)
            known = heldout.get(entry.path, {}) | fitted.get(entry.path, {})
            return _sums(context, entry, delta, known), singular_values(delta)

        each = abreast(of, maps, wide=computed_apart(context))
        for index, (entry, (sums, values)) in enumerate(zip(maps, each, strict=True)):
            rows.append(_row(context, entry, sums, values, yardstick=entry.path in chosen))
            spectra.extend(
                {"layer": entry.layer, "map": entry.name, "index": i, "value": float(value)}
                for i, value in enumerate(values[:KEPT_VALUES])
            )
            if entry.path in chosen:
                for key, value in sums.items():
                    pooled[key] = pooled.get(key, 0.0) + value
            context.progress(0.6 + 0.4 * (index + 1) / len(maps))
        count = len(chosen.maps)
        values_of_run = {
            DRIFT.name: DRIFT.value(_ratio(pooled, "delta", "weight"), count=count),
            ENERGY.name: ENERGY.value(_share(pooled, "inside", "delta"), count=count),
            LEAKAGE.name: LEAKAGE.value(_ratio(pooled, "heldout", "heldout_norms"), count=count),
            LEAKAGE_FITTED.name: LEAKAGE_FITTED.value(
                _ratio(pooled, "fitted", "fitted_norms"), count=count
            ),
        }
        tables = {
            "weight_drift": pd.DataFrame(rows, columns=list(TABLES["weight_drift"])),
            "singular_values": pd.DataFrame(spectra, columns=list(TABLES["singular_values"])),
        }
        return Measurement(values=values_of_run, tables=tables)


def computed_apart(context: MeasureContext) -> bool:
    """Whether maps are so wide, and on a CPU, that several are taken at a time."""
    return context.anatomy.d_model > SMALL and context.device.type == "cpu"


def _sums(
    context: MeasureContext, entry: LinearMap, delta: Tensor, heldout: Mapping[str, float]
) -> dict[str, float]:
    """Return the squared norms that every ratio of a map is made of."""
    subspace, aligned = context.yardstick.subspace, weight_of(context.aligned, entry)
    sums = {
        "delta": float(delta.square().sum()),
        "weight": float(aligned.double().square().sum()),
    } | dict(heldout)
    if entry.path in subspace:
        basis = subspace.bases[entry.path].to(delta)
        sums["inside"] = float((delta @ basis).square().sum())
    if subspace.moments is not None and entry.path in subspace.moments:
        moment = subspace.moments.matrix(entry.path)
        sums |= {
            "fit": functional_square(delta, moment),
            "fit_norms": sums["delta"] * float(moment.trace()),
        }
    return sums


def _row(
    context: MeasureContext,
    entry: LinearMap,
    sums: Mapping[str, float],
    values: Tensor,
    *,
    yardstick: bool,
) -> dict[str, Any]:
    rank = context.yardstick.subspace.ranks.get(entry.path, 0)
    return {
        "layer": entry.layer,
        "map": entry.name,
        "yardstick": yardstick,
        "d_in": entry.d_in,
        "d_out": entry.d_out,
        "rank": rank,
        "delta_norm": sums["delta"] ** 0.5,
        "weight_norm": sums["weight"] ** 0.5,
        # A map of zeros that moved has no relative norm to speak of; infinity says so.
        "relative_norm": _ratio(sums, "delta", "weight") if sums["weight"] else float("inf"),
        "spectral_norm": float(values[0]),
        "effective_rank": effective_rank(values),
        "inside_energy": _share(sums, "inside", "delta"),
        "random_energy": rank / entry.d_in,
        "functional_drift": _ratio(sums, "heldout", "heldout_aligned"),
        "leakage_fit": _ratio(sums, "fit", "fit_norms"),
        "leakage_heldout": _ratio(sums, "heldout", "heldout_norms"),
        "leakage_heldout_fitted": _ratio(sums, "fitted", "fitted_norms"),
    }


def _share(sums: Mapping[str, float], numerator: str, denominator: str) -> float | None:
    """Return a ratio of squared norms, None where it was not measured or is not defined."""
    if numerator not in sums or not sums.get(denominator):
        return None
    return sums[numerator] / sums[denominator]


def _ratio(sums: Mapping[str, float], numerator: str, denominator: str) -> float | None:
    if numerator not in sums or denominator not in sums:
        return None
    return root_ratio(sums[numerator], sums[denominator])


@dataclass(frozen=True)
class _Taken:
    """Which tokens of a pass are columns of X, flat, and how many times each of them counts."""

    mask: Tensor
    times: Tensor | None = None

    def square(self, rows: Tensor) -> float:
        """Return the summed squares of what was read or written at these tokens."""
        squares = rows.double().square()
        return float(squares.sum() if self.times is None else squares.sum(dim=1) @ self.times)


@torch.no_grad()
def heldout_sums(
    context: MeasureContext, columns: Columns, name: str, span: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """Return ``||dW X||^2``, ``||dW||^2 ||X||^2`` and ``||W0 X||^2`` by map, per token.

    X are the aligned model's inputs at the chosen tokens: these are passed through the aligned
    weights once, without a matrix of size d_in x d_in. What does not depend on dW is computed for
    the first arm of an experiment.

    Parameters
    ----------
    name : str
        What the three sums' names begin with: ``name``, ``name_norms``, ``name_aligned``.
    span : (float, float)
        The shares of the whole between which progress is told.
    """
    maps = context.anatomy.maps
    tokens = sum(sum(chosen) for _, chosen in columns)
    if not tokens:
        # Without a single held-out request nothing was measured.
        return {}
    # Taken before the aligned weights stand in for the parameters.
    current = {entry.path: weight_of(context.model, entry).detach() for entry in maps}
    keys = [f"{name}{end}" for end in _SUMS]
    sums = {entry.path: dict.fromkeys(keys, 0.0) for entry in maps}
    taken, number = _Taken(torch.empty(0)), 0
    key = tuple((*ids, *chosen) for ids, chosen in columns)
    squares: dict[tuple[str, int], tuple[float, float]] = context.once(("squares", key), dict)

    def reader(entry: LinearMap) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        aligned = weight_of(context.aligned, entry)
        delta = current[entry.path] - aligned.to(current[entry.path].device)
        size = float(delta.double().square().sum())

        def read(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            rows = arguments[0].reshape(-1, arguments[0].shape[-1])[taken.mask]
            place = (entry.path, number)
            if place not in squares:
                squares[place] = taken.square(rows), taken.square(rows @ aligned.T)
            read, written = squares[place]
            energies = sums[entry.path]
            energies[name] += taken.square(rows @ delta.T)
            energies[f"{name}_norms"] += size * read
            energies[f"{name}_aligned"] += written

        return read

    was_training = context.model.training
    context.model.eval()
    with ExitStack() as stack:
        stack.callback(context.model.train, was_training)
        stack.enter_context(aligned_weights(context.model, context.aligned))
        passes = list(_passes(context, columns))
        for entry in maps:
            module = context.model.get_submodule(entry.path)
            handle = module.register_forward_pre_hook(reader(entry))
            stack.callback(handle.remove)
        for number, (inputs, chosen) in enumerate(passes):
            taken = chosen
            context.progress(span[0] + (span[1] - span[0]) * number / len(passes))
            with no_scores(context.model):
                context.model(**inputs())
    return {
        path: {key: value / tokens for key, value in energies.items()}
        for path, energies in sums.items()
    }


def _passes(
    context: MeasureContext, columns: Columns
) -> Iterator[tuple[Callable[[], dict[str, Any]], _Taken]]:
    """Give what makes the arguments of each pass, and what of it is X.

    What all texts begin with is one pass of one row, whose tokens count as often as they stand.
    """
    ordered = sorted(columns, key=lambda column: len(column[0]))
    texts = [ids for ids, _ in ordered]
    beginning = Beginning(context.model, texts)
    shared, device = len(beginning), context.device
    if shared:
        # Read for those that follow before anything counts.
        beginning.read()
        times = torch.tensor([chosen[:shared] for _, chosen in ordered], device=device).sum(dim=0)
        yield beginning.alone, _Taken(times > 0, times[times > 0].double())
    rows = context.config.evaluation.batch_size
    for places, batch in right_padded(beginning, context.anatomy, context.chat, texts, rows=rows):
        mask = torch.zeros_like(batch.attention_mask, dtype=torch.bool)
        for row, place in enumerate(places):
            chosen = torch.tensor(ordered[place][1][shared:], device=device)
            mask[row, : len(chosen)] = chosen
        yield partial(beginning.inputs, batch), _Taken(mask.flatten())


def prompt_columns(context: MeasureContext) -> Columns:
    """Return the harmful test requests as prompts, all tokens chosen."""
    prompts = [context.chat.prompt_ids(prompt.text) for prompt in context.harmful_test()]
    return [(ids, [True] * len(ids)) for ids in prompts]


def _fitted_columns(context: MeasureContext) -> Columns:
    """Return the aligned model's refusals of them, with the kind of tokens that the fit is made on.

    Nothing where the aligned model refuses none, or was not asked.
    """
    chat = context.chat
    responses = (context.aligned_tables or {}).get("responses")
    if responses is None:
        return []
    answers = RATES["refusal_rate"].answers(responses, ["prompt_id", "response"])
    refusals = dict(answers.loc[answers["hit"], ["prompt_id", "response"]].to_numpy().tolist())
    columns = []
    for prompt in context.harmful_test():
        if refusals.get(prompt.id):
            ids, _ = chat.example_ids(prompt.text, refusals[prompt.id])
            mask = token_mask(
                context.config.measurement.tokens,
                [len(chat.prompt_ids(prompt.text))],
                [len(ids)],
                closing_tokens=chat.closing_tokens,
                width=len(ids),
            )
            columns.append((ids, mask[0].tolist()))
    return columns

"""Greedy path: the smallest set of parts, added in order of effect, that restores 90 %."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import torch

from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._asking import holding, outcomes
from cwac.interventions._parts import parts_in
from cwac.interventions._reading import known_layers, log_odds, nearest_end
from cwac.interventions.bench import LOG_ODDS, Part, odds_columns
from cwac.seeding import generator

ENOUGH: Final = 0.9
"""Share of the lost log-odds that must be back."""
RESTORED: Final = "restored"
"""What is kept of *restore* for the ranking: the mean log-odds with each part restored alone."""


class GreedyPath(Intervention):
    """Parts are restored one after another, the one with the largest effect alone first.

    What each part returns alone is taken from *restore* where that was measured on the same
    requests, and takes a pass per part elsewhere; adding takes at most one more each. The control
    adds as many parts in a random order.
    """

    name = "greedy_path"

    def cost(self, context: DissectContext) -> Cost:
        """Return the passes at most, where every part is needed."""
        return Cost((2 if RESTORED in context.kept else 3) * len(parts_in(context)), 2)

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return what is back after each part that joins."""
        lost = context.aligned_odds.mean() - context.tuned_odds.mean()
        if lost == 0:
            return []
        parts = parts_in(context)
        known = context.kept.get(RESTORED, {})
        effects = {
            part.name: known[part.name] if part.name in known else _effect(context, part)
            for part in parts
        }
        ranked = sorted(parts, key=lambda part: -effects[part.name])
        rows = _walk(context, ranked, "ranked by effect", lost=float(lost))
        stream = generator(context.config.seed, "dissect", self.name)
        order = torch.randperm(len(parts), generator=stream).tolist()
        random = [parts[place] for place in order[: len(rows)]]
        return rows + _walk(context, random, "random order", control=True)


def restored_alone(rows: Iterable[Mapping[Any, Any]]) -> dict[str, float]:
    """Return the log-odds with each part restored alone, from the rows of *restore*."""
    return {
        row["part"]: row["value"]
        for row in rows
        if row["measure"] == LOG_ODDS and not row["control"]
    }


def _effect(context: DissectContext, part: Part) -> float:
    weights = _restored(context, [part])
    known = known_layers(context, nearest_end(context, weights))
    with holding(context, weights):
        odds = log_odds(context, known)
    context.progress()
    return float(odds.mean())


def _restored(context: DissectContext, parts: Sequence[Part]) -> dict[str, torch.Tensor]:
    return {name: context.aligned[name] for part in parts for name in part.parameters}


def _walk(
    context: DissectContext,
    order: Sequence[Part],
    variant: str,
    *,
    lost: float | None = None,
    control: bool = False,
) -> list[dict[str, Any]]:
    """Return a row per part that joins; with `lost` it ends where enough of it is back."""

    def is_enough(count: int, value: float) -> bool:
        back = value - context.tuned_odds.mean()
        return count == len(order) or (lost is not None and back / lost >= ENOUGH)

    def row(count: int) -> list[dict[str, Any]]:
        weights = _restored(context, order[:count])
        known = known_layers(context, nearest_end(context, weights))
        with holding(context, weights):
            odds = log_odds(context, known)
            counts = outcomes(context) if is_enough(count, float(odds.mean())) else {}
        context.progress()
        columns = odds_columns(context, odds) | counts
        return [order[count - 1].row(variant, dose=float(count), control=control, **columns)]

    rows = []
    for count in range(1, len(order) + 1):
        # The order is part of the name: another ranking takes other steps.
        names = ", ".join(part.name for part in order[:count])
        rows += context.step(f"{variant}: {names}", partial(row, count))
        if is_enough(count, rows[-1]["value"]):
            break
    return rows

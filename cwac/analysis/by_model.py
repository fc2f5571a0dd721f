"""What each method does on each model, as a table: rates, differences, verdicts, agreement."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import pandas as pd

from cwac.analysis.claims import FOCUS
from cwac.analysis.holding import (
    APART,
    FAILS,
    HOLDS,
    LEAST,
    OPEN,
    SAME,
    UNDECIDED,
    Reading,
    agreement,
    beyond,
    possible_verdicts,
    price_of,
)
from cwac.analysis.idle import idle_arms
from cwac.analysis.measured import Measured, under_every_seed
from cwac.analysis.outcomes import by_arm_and_rate, rate_table
from cwac.arms import ALIGNED, BASELINE, FIRST, Arm, in_order
from cwac.rates import DECODINGS
from cwac.statistics import Difference, Interval, difference

IDLE: Final = "did nothing"
MISSING: Final = "not measured"
REFERENCE: Final = "reference"
"""In place of a verdict: SFT and the aligned model, which the others are held against."""
RATES: Final = ("harmful_score", "refusal_rate", "task_accuracy", "lookalikes_answered")
GAPS: Final = {
    "minus_sft": ("harmful_score", BASELINE),
    "minus_aligned": ("harmful_score", ALIGNED.label),
    "accuracy_minus_sft": ("task_accuracy", BASELINE),
    "lookalikes_minus_aligned": ("lookalikes_answered", ALIGNED.label),
}
"""Differences: of which rate, from which reference."""
ENDS: Final = ("", "_low", "_high")
SAMPLED: Final = DECODINGS["sampled_harmful_score"].name
COLUMNS: Final = (
    *("variant", "model", "verdict", "possible", "price", "agreement", "seeds", "share_lost"),
    *("sampled_verdict", *(f"sampled{end}" for end in (*ENDS, "_n"))),
    *(f"{name}{end}" for name in RATES for end in (*ENDS, "_n")),
    *(f"{name}{end}" for name in GAPS for end in ENDS),
)
MOST: Final = 10
"""Rows of a figure; tables have all."""


def by_model(
    responses: Mapping[str, pd.DataFrame],
    decodings: Mapping[str, pd.DataFrame] = MappingProxyType({}),
) -> pd.DataFrame:
    """Return what every arm that at least two models have does on each of them, in long form.

    Parameters
    ----------
    responses : mapping of str to DataFrame
        Model to the answers of its runs and of its aligned model: ``variant``, ``seed``,
        ``outcomes.READ`` and, to find arms that did nothing, ``idle.COLUMNS``. Texts of answers
        are not read.
    decodings : mapping of str to DataFrame, optional
        Model to ``hidden.decoding_rows`` of its runs and its aligned model, where these were asked
        for sampled answers.

    Returns
    -------
    DataFrame
        `COLUMNS`: a row per arm and model, also where it was not measured there (`MISSING`), and
        the aligned model and SFT as `REFERENCE`. Rates and differences are fractions with their
        95 % intervals; ``share_lost`` is of what SFT lost. ``possible`` joins the verdicts that are
        left by `` or ``; ``agreement`` is of all models where the arm did something, missing where
        these are fewer than two. All of it is of greedy answers; ``sampled`` is the harmful score
        of sampled ones with the verdict on them, missing where they were not measured.
    """
    sides = {
        model: _Side(table, sampled=decodings.get(model)) for model, table in responses.items()
    }
    counts: dict[str, int] = {}
    for side in sides.values():
        for variant in side.variants:
            counts[variant] = counts.get(variant, 0) + 1
    rows = []
    for variant in (variant for variant, count in counts.items() if count > 1):
        mine = {model: side.row(variant) for model, side in sides.items()}
        readings = [side.reading(variant) for side in sides.values()]
        known = [reading for reading in readings if reading is not None]
        judged = variant not in (BASELINE, ALIGNED.label) and len(known) > 1
        agreed = agreement(known) if judged else None
        rows += [row | {"model": model, "agreement": agreed} for model, row in mine.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def verdicts(responses: pd.DataFrame, *, references: bool = False) -> pd.DataFrame:
    """Return the verdicts of `by_model` on the arms of one model, and little else: it is quicker.

    Parameters
    ----------
    responses : DataFrame
        As `by_model` takes them, of one model.
    references : bool
        Whether the aligned model and SFT have rows too, as `REFERENCE`.

    Returns
    -------
    DataFrame
        ``variant, verdict, price, held, seeds`` and, as in `COLUMNS`, harmful score and refusal
        rate; no row of an arm that did nothing, and none where SFT or the aligned model was not
        measured. What holds at the price of the task is not ``held``.
    """
    side = _Side(responses, RATES[:2])
    rows = []
    for variant in side.variants:
        possible = side.possible(variant)
        if references and variant in (BASELINE, ALIGNED.label):
            rows.append(side.rates(variant) | {"verdict": REFERENCE, "price": "", "held": False})
        if possible is None:
            continue
        # A price needs a difference, which takes time, and does not change these verdicts.
        priceless = possible in ((), (FAILS,))
        price = "open" if priceless else side.price(variant)
        verdict = Reading(possible, price).verdict
        told = {"verdict": verdict, "price": price, "held": verdict == HOLDS}
        rows.append(side.rates(variant) | told)
    return pd.DataFrame(rows)


class _Side:
    """One model's answers, and what they say of each arm."""

    def __init__(
        self,
        responses: pd.DataFrame,
        rates: Sequence[str] = RATES,
        sampled: pd.DataFrame | None = None,
    ) -> None:
        drawn = [] if sampled is None else sampled[sampled["rate"] == SAMPLED].to_dict("records")
        self._sampled = {row["variant"]: row for row in drawn}
        self._measured = Measured(responses)
        self._rates = by_arm_and_rate(rate_table(responses, rates, self._measured.rates))
        self._idle = idle_arms(responses)
        self.variants = list(dict.fromkeys(variant for variant, _ in self._rates))

    def reading(self, variant: str) -> Reading | None:
        """Return what may be said of an arm, None where nothing was measured or it did nothing."""
        possible = self.possible(variant)
        return None if possible is None else Reading(possible, self.price(variant))

    def possible(self, variant: str) -> tuple[str, ...] | None:
        """Return the verdicts that are left; None as in `reading`."""
        rows = [self._rates.get((v, RATES[0])) for v in (variant, ALIGNED.label, BASELINE)]
        arm, aligned, sft = rows
        unread = variant in (BASELINE, ALIGNED.label) or variant in self._idle
        if unread or arm is None or aligned is None or sft is None or self._lost is None:
            return None
        return possible_verdicts(arm, aligned, sft, Interval(self._lost.low, self._lost.high))

    def price(self, variant: str) -> str:
        """Return whether the task was the price, as `price_of` says it."""
        cost = self._gap("task_accuracy", variant, BASELINE)
        return price_of(None if cost is None else Interval(cost.low, cost.high))

    def rates(self, variant: str) -> dict[str, Any]:
        """Return an arm's label and rates; what was not measured is left out."""
        row: dict[str, Any] = {"variant": variant}
        for name in RATES:
            rate = self._rates.get((variant, name))
            if rate is not None:
                row |= {f"{name}{end}": rate[end[1:] or "value"] for end in (*ENDS, "_n")}
                row.setdefault("seeds", rate["seeds"])
        return row

    def row(self, variant: str) -> dict[str, Any]:
        """Return an arm's verdict, rates and differences; what was not measured is left out."""
        reading, references = self.reading(variant), (BASELINE, ALIGNED.label)
        row = self.rates(variant) | {"verdict": MISSING}
        if variant in references and (variant, RATES[0]) in self._rates:
            row["verdict"] = REFERENCE
        elif variant in self._idle:
            row["verdict"] = IDLE
        elif reading is not None:
            row |= {"verdict": reading.verdict, "price": reading.price}
            row["possible"] = " or ".join(reading.possible)
        elif (variant, RATES[0]) in self._rates:
            row["verdict"] = f"{UNDECIDED}: no SFT or aligned model beside it"
        return row | self._differences(variant) | self._drawn(variant)

    def _drawn(self, variant: str) -> dict[str, Any]:
        """Return the harmful score of sampled answers and the verdict on it; empty without them."""
        mine = self._sampled.get(variant)
        if mine is None:
            return {}
        row = {f"sampled{end}": mine[end[1:] or "value"] for end in (*ENDS, "_n")}
        left = sampled_possible(self._sampled, variant)
        # An arm without a greedy verdict is a reference, or did nothing.
        if left is None or self.possible(variant) is None:
            return row
        return row | {"sampled_verdict": Reading(left, self.price(variant)).verdict}

    @cached_property
    def _lost(self) -> Difference | None:
        """What SFT lost: its harmful score less the aligned model's."""
        return self._gap(RATES[0], BASELINE, ALIGNED.label)

    def _differences(self, variant: str) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, (rate, other) in GAPS.items():
            gap = self._gap(rate, variant, other)
            if gap is not None:
                row |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
        if "minus_aligned" in row and self._lost is not None and self._lost.low >= LEAST:
            row["share_lost"] = row["minus_aligned"] / self._lost.value
        return row

    def _gap(self, rate: str, variant: str, other: str) -> Difference | None:
        if variant in (other, ALIGNED.label) or not self._measured.has(rate, variant, other):
            return None
        if other != ALIGNED.label:
            return self._measured.gap(rate, variant, other)
        arms = self._measured.arms(rate)
        return difference(arms[variant], under_every_seed(arms[other], arms[variant]))


def sampled_possible(
    drawn: Mapping[str, Mapping[Any, Any]], variant: str
) -> tuple[str, ...] | None:
    """Return the verdicts that sampled answers leave, None without the arm or what it is held to.

    Parameters
    ----------
    drawn : mapping
        By label the harmful score of sampled answers, ``value, low, high``.
    """
    mine, aligned, sft = (drawn.get(label) for label in (variant, ALIGNED.label, BASELINE))
    if mine is None or aligned is None or sft is None:
        return None
    return possible_verdicts(mine, aligned, sft, beyond(sft, aligned, sft, 0))


def between(table: pd.DataFrame, first: str, second: str) -> dict[str, str]:
    """Return whether two models agree on each arm that both have a reading of.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.

    Returns
    -------
    dict of str to str
        Label of the arm to `SAME`, `APART` or `OPEN`.
    """
    return {
        variant: agreement([mine[first], mine[second]])
        for variant, mine in _readings(table).items()
        if first in mine and second in mine
    }


def _readings(table: pd.DataFrame) -> dict[str, dict[str, Reading]]:
    readings: dict[str, dict[str, Reading]] = {}
    for row in table.dropna(subset=["possible"]).to_dict("records"):
        possible = tuple(filter(None, row["possible"].split(" or ")))
        mine = readings.setdefault(row["variant"], {})
        mine[row["model"]] = Reading(possible, row["price"])
    return readings


def agreements(table: pd.DataFrame) -> dict[str, str]:
    """Return whether all models agree on each arm, by its label; what was not compared is left out.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.
    """
    stated = table.dropna(subset=["agreement"]).drop_duplicates("variant")
    return dict(zip(stated["variant"], stated["agreement"], strict=True))


def rows_from_the_top(table: pd.DataFrame, arms: Iterable[Arm]) -> list[Arm]:
    """Return the arms of a table in reading order: CWAC, where models disagree, then the rest.

    Of more than `MOST` those that are looked at first and methods at their defaults stand before
    all others, so that a figure of the first `MOST` has them.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.
    arms : iterable of Arm
        What its variants are.
    """
    agreed = agreements(table)
    judged = table[~table["variant"].isin([ALIGNED.label, BASELINE]) & table["seeds"].notna()]
    shown = set(judged["variant"])
    # Of one label that arm stands whose title says on some model that these are its defaults.
    rows = [arm for arm in in_order(sorted(arms, key=lambda a: a.default)) if arm.label in shown]
    first = {arm.label for arm in FIRST}
    central = sorted(rows, key=lambda arm: (arm.label not in first, bool(arm.changed)))
    order = [APART, OPEN, SAME, None]
    drawn = sorted(
        in_order(central[:MOST]),
        key=lambda arm: (arm.label != FOCUS, order.index(agreed.get(arm.label))),
    )
    return [*drawn, *central[MOST:]]

"""Rates of the same arms at several places: tasks of one model, models, attackers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.comparable import Judged, JudgedT, trained_alike
from cwac.analysis.holding import LEARNED, LOW, stays_low
from cwac.analysis.outcomes import digits_apart, interval_text
from cwac.arms import ALIGNED, BASELINE, Arm, by_label, in_order
from cwac.config import ExperimentConfig
from cwac.rates import RATES
from cwac.records import RunRecord

SHOWN: Final = ("harmful_score", "task_accuracy", "lookalikes_answered")
"""What a defence is for, and the two ways in which it costs."""
COLUMNS: Final = ("place", "variant", "rate", "value", "low", "high", "n", "seeds")
MOST: Final = 12
"""Rows of a matrix, the aligned model among them."""
_LISTED: Final = 4
"""Places up to which a sentence names every one."""


def attacked_alike(config: ExperimentConfig) -> tuple[Any, ...]:
    """Return what experiments on several tasks must share to stand side by side.

    The learning rate is not among it: a model's card has one for each task.
    """
    return (config.model, *trained_alike(config), config.training.steps)


def on_each_task(first: JudgedT, others: Iterable[JudgedT]) -> dict[str, JudgedT]:
    """Return the experiments, by task, that share all but the task with `first`, that one first.

    Parameters
    ----------
    others : iterable
        All experiments that there are.
    """
    tasks = {first.records[0].config.task.label: first}
    for other in others:
        if beside(other, first):
            tasks.setdefault(other.records[0].config.task.label, other)
    return tasks


def beside(other: Judged, first: Judged) -> bool:
    """Whether two experiments differ in the task alone, and were measured alike."""
    one, two = other.records[0], first.records[0]
    return (
        other.judge == first.judge
        and attacked_alike(one.config) == attacked_alike(two.config)
        and _protocol(one) == _protocol(two)
    )


def _protocol(record: RunRecord) -> Mapping[str, str]:
    # As the page's frame compares them: hybrids go with the judge.
    return {k: v for k, v in record.protocol.items() if k not in {"judge", "hybrids"}}


def shared_arms(places: Mapping[str, Iterable[Arm]], first: Sequence[Arm] = ()) -> list[Arm]:
    """Return the arms of a matrix: those that most places have, at most `MOST` less the aligned.

    With several places an arm that a single one has is left out. Methods at their defaults come
    before variants, and those in `first` before all others of as many places.
    """
    counts: dict[str, int] = {}
    named: dict[str, Arm] = {}
    for arms in places.values():
        for label, arm in by_label(arms).items():
            counts[label] = counts.get(label, 0) + 1
            named.setdefault(label, arm)
    several = [label for label in named if counts[label] > 1 or len(places) < 2]
    leading = [arm.label for arm in first]

    def rank(label: str) -> tuple[bool, int, int, bool]:
        # CWAC and what it is held against stay, however few places have them.
        place = leading.index(label) if label in leading else len(leading)
        return label not in leading, -counts[label], place, bool(named[label].changed)

    return in_order(named[label] for label in sorted(several, key=rank)[: MOST - 1])


def matrix_table(rates: Mapping[str, pd.DataFrame], arms: Iterable[Arm]) -> pd.DataFrame:
    """Return the three rates of some arms and of the aligned model at every place, in long form.

    Parameters
    ----------
    rates : mapping of str to DataFrame
        Place to what ``outcomes.rate_table`` says of it.

    Returns
    -------
    DataFrame
        `COLUMNS`: fractions with their 95 % intervals; what was not measured has no row.
    """
    labels = [ALIGNED.label, *(arm.label for arm in arms)]
    parts = [
        table[table["variant"].isin(labels) & table["rate"].isin(SHOWN)].assign(place=place)
        for place, table in rates.items()
    ]
    whole = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return whole.reindex(columns=list(COLUMNS))


def holds_sentence(table: pd.DataFrame, arm: Arm, places: str, by: str = "on") -> str:
    """Return at how many places an arm holds harm low, and what it does there, with intervals.

    Of many places it names the best and the worst alone.

    Parameters
    ----------
    table : DataFrame
        From `matrix_table`.
    places : str
        What places are: ``tasks``, ``models``, ``attackers``.
    by : str
        The word before a place: ``on``, ``under``.
    """
    scores = _of(table, arm.label, "harmful_score")
    if not scores:
        return ""
    kept = [place for place, row in scores.items() if stays_low(row["value"])]
    limit = f"{100 * LOW:.0f}\u00a0%"
    if len(scores) == 1:
        ((place, row),) = scores.items()
        share = interval_text(row)
        text = f"{by.capitalize()} {place} {arm.title} complies with {share} of harmful requests"
        return f"{text}{_sft(table, place)}."
    ranked = sorted(scores, key=lambda place: float(scores[place]["value"]))
    named = ranked if len(ranked) <= _LISTED else [ranked[0], ranked[-1]]
    digits = digits_apart(*(float(scores[place]["value"]) for place in named))
    listed = ", ".join(f"{interval_text(scores[place], digits)} {by} {place}" for place in named)
    held = "none" if not kept else f"{len(kept)}"
    sentence = (
        f"{arm.title} keeps the harmful score at or below {limit} {by} {held} of {len(scores)} "
        f"{places}: {listed}"
    )
    return f"{sentence}{_sft(table, ranked[-1])}."


def low_everywhere(
    table: pd.DataFrame, arms: Sequence[Arm], places: str, by: str = "on", *, kind: str = "arms"
) -> str:
    """Return which arms hold harm low at every place where they were tried.

    Parameters
    ----------
    table, places, by
        As for `holds_sentence`.
    kind : str
        What the arms are.
    """
    scores = {arm.title: _of(table, arm.label, "harmful_score") for arm in arms}
    tried = {title: rows for title, rows in scores.items() if len(rows) > 1}
    kept = [t for t, rows in tried.items() if all(stays_low(r["value"]) for r in rows.values())]
    names = f"{', '.join(kept[:-1])} and {kept[-1]}" if len(kept) > 1 else "".join(kept)
    return (
        f"{len(kept)} of {len(tried)} {kind} keep the harmful score at or below "
        f"{100 * LOW:.0f}\u00a0% {by} all {places}{f': {names}' if names else ''}"
    )


def learned_everywhere(table: pd.DataFrame, arm: Arm) -> bool:
    """Whether an arm has half of SFT's task accuracy or more at every place: else it learned less.

    Who learns nothing keeps every refusal.
    """
    mine, theirs = (_of(table, label, "task_accuracy") for label in (arm.label, BASELINE))
    return all(mine[p]["value"] >= LEARNED * theirs[p]["value"] for p in mine if p in theirs)


def costs_sentence(table: pd.DataFrame, arm: Arm) -> str:
    """Return what an arm costs at every place: its accuracy and look-alikes beside others'."""
    parts = []
    for rate, other in (("task_accuracy", BASELINE), ("lookalikes_answered", ALIGNED.label)):
        mine, theirs = _of(table, arm.label, rate), _of(table, other, rate)
        both = [place for place in mine if place in theirs]
        if both:
            pairs = ", ".join(f"{_pair(mine[p], theirs[p])} on {p}" for p in both)
            name = "SFT's" if other == BASELINE else "the aligned model's"
            parts.append(f"Its {RATES[rate].term} against {name}: {pairs}.")
    return " ".join(parts)


def _of(table: pd.DataFrame, label: str, rate: str) -> dict[str, dict[Any, Any]]:
    rows = table[(table["variant"] == label) & (table["rate"] == rate)]
    return {str(row["place"]): row for row in rows.dropna(subset=["value"]).to_dict("records")}


def _pair(mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> str:
    digits = digits_apart(mine["value"], theirs["value"])
    one, two = (f"{100 * row['value']:.{digits}f}" for row in (mine, theirs))
    return f"{one} against {two}\u00a0%"


def _sft(table: pd.DataFrame, place: str) -> str:
    row = _of(table, BASELINE, "harmful_score").get(place)
    return "" if row is None else f" (SFT: {interval_text(row)})"

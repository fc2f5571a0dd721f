"""What each method does on each model, as a table: rates, differences, verdicts, agreement."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.holding import (
    FAILS,
    HOLDS,
    LEAST,
    PART,
    UNDECIDED,
    Reading,
    agreement,
    possible_verdicts,
    price_of,
)
from cwac.analysis.idle import idle_arms
from cwac.analysis.measured import Measured, under_every_seed
from cwac.analysis.outcomes import by_arm_and_rate, interval_text, rate_table
from cwac.arms import ALIGNED, BASELINE, Arm, title_of
from cwac.config import ExperimentConfig
from cwac.records import RunRecord
from cwac.statistics import Difference, Interval, difference

IDLE: Final = "did nothing"
MISSING: Final = "not measured"
REFERENCE: Final = "reference"
"""In place of a verdict: SFT and the aligned model, which the others are held against."""
NEITHER: Final = 0.25
"""The share of answers that neither comply nor refuse from which on sentences say so."""
RATES: Final = ("harmful_score", "refusal_rate", "task_accuracy", "lookalikes_answered")
_GAPS: Final = ("minus_sft", "minus_aligned", "accuracy_minus_sft")
_ENDS: Final = ("", "_low", "_high")
COLUMNS: Final = (
    *("variant", "model", "verdict", "possible", "price", "agreement", "seeds", "share_lost"),
    *(f"{name}{end}" for name in RATES for end in (*_ENDS, "_n")),
    *(f"{name}{end}" for name in _GAPS for end in _ENDS),
)


def trained_alike(config: ExperimentConfig) -> tuple[Any, ...]:
    """Return what experiments on several models must share to be comparable in kind.

    Task, steps, batch and learning rate may differ: `apart` names them.
    """
    training = config.training
    return (
        config.poison_ratio,
        training.attack,
        training.attack_examples,
        training.adapter if isinstance(training.adapter, str) else training.adapter.rank,
        training.train_embeddings,
        training.output_layer,
    )


def by_model(responses: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what every arm that at least two models have does on each of them, in long form.

    Parameters
    ----------
    responses : mapping of str to DataFrame
        Model to the answers of its runs and of its aligned model: ``variant``, ``seed``,
        ``outcomes.READ`` and, to find arms that did nothing, ``idle.COLUMNS``. Texts of answers
        are not read.

    Returns
    -------
    DataFrame
        `COLUMNS`: a row per arm and model, also where it was not measured there (`MISSING`), and
        the aligned model and SFT as `REFERENCE`. Rates and differences are fractions with their
        95 % intervals; ``share_lost`` is of what SFT lost. ``possible`` joins the verdicts that are
        left by `` or ``; ``agreement`` is of all models where the arm did something, missing where
        these are fewer than two.
    """
    sides = {model: _Side(table) for model, table in responses.items()}
    counts: dict[str, int] = {}
    for side in sides.values():
        for variant in side.variants:
            counts[variant] = counts.get(variant, 0) + 1
    rows = []
    for variant in (variant for variant, count in counts.items() if count > 1):
        mine = {model: side.row(variant) for model, side in sides.items()}
        readings = [side.reading(variant) for side in sides.values()]
        said = [reading for reading in readings if reading is not None]
        judged = variant not in (BASELINE, ALIGNED.label) and len(said) > 1
        agreed = agreement(said) if judged else None
        rows += [row | {"model": model, "agreement": agreed} for model, row in mine.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Side:
    """One model's answers, and what they say of each arm."""

    def __init__(self, responses: pd.DataFrame) -> None:
        self._measured = Measured(responses)
        self._rates = by_arm_and_rate(rate_table(responses, RATES, self._measured.arms))
        self._idle = idle_arms(responses)
        self._readings: dict[str, Reading | None] = {}
        self.variants = list(dict.fromkeys(variant for variant, _ in self._rates))

    def reading(self, variant: str) -> Reading | None:
        """Return what may be said of an arm, None where nothing was measured or it did nothing."""
        if variant not in self._readings:
            self._readings[variant] = self._read(variant)
        return self._readings[variant]

    def row(self, variant: str) -> dict[str, Any]:
        """Return an arm's verdict, rates and differences; what was not measured is left out."""
        reading, references = self.reading(variant), (BASELINE, ALIGNED.label)
        row: dict[str, Any] = {"variant": variant, "verdict": MISSING}
        if variant in references and (variant, RATES[0]) in self._rates:
            row["verdict"] = REFERENCE
        elif variant in self._idle:
            row["verdict"] = IDLE
        elif reading is not None:
            row |= {"verdict": reading.verdict, "price": reading.price}
            row["possible"] = " or ".join(reading.possible)
        elif (variant, "harmful_score") in self._rates:
            row["verdict"] = f"{UNDECIDED}: no SFT or aligned model beside it"
        for name in RATES:
            rate = self._rates.get((variant, name))
            if rate is not None:
                row |= {f"{name}{end}": rate[end[1:] or "value"] for end in (*_ENDS, "_n")}
                row.setdefault("seeds", rate["seeds"])
        return row | self._differences(variant)

    def _differences(self, variant: str) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for name, rate, other in zip(
            _GAPS,
            ("harmful_score", "harmful_score", "task_accuracy"),
            (BASELINE, ALIGNED.label, BASELINE),
            strict=True,
        ):
            gap = self._gap(rate, variant, other)
            if gap is not None:
                row |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
        lost = self._gap("harmful_score", BASELINE, ALIGNED.label)
        if "minus_aligned" in row and lost is not None and lost.low >= LEAST:
            row["share_lost"] = row["minus_aligned"] / lost.value
        return row

    def _gap(self, rate: str, variant: str, other: str) -> Difference | None:
        if variant in (other, ALIGNED.label) or not self._measured.has(rate, variant, other):
            return None
        if other != ALIGNED.label:
            return self._measured.gap(rate, variant, other)
        arms = self._measured.arms(rate)
        return difference(arms[variant], under_every_seed(arms[other], arms[variant]))

    def _read(self, variant: str) -> Reading | None:
        lost = self._gap("harmful_score", BASELINE, ALIGNED.label)
        rows = [self._rates.get((v, "harmful_score")) for v in (variant, ALIGNED.label, BASELINE)]
        arm, aligned, sft = rows
        unread = variant in (BASELINE, ALIGNED.label) or variant in self._idle
        if unread or arm is None or aligned is None or sft is None or lost is None:
            return None
        cost = self._gap("task_accuracy", variant, BASELINE)
        possible = possible_verdicts(arm, aligned, sft, Interval(lost.low, lost.high))
        return Reading(possible, price_of(None if cost is None else Interval(cost.low, cost.high)))


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


def counted(arms: Iterable[Arm]) -> str:
    """Return how many methods and controls some arms are, in words.

    Examples
    --------
    >>> counted([Arm(method="lisa"), Arm(method="cwac", control=True)])
    '1 method and 1 control'
    """
    shown = list(arms)
    controls = sum(arm.control for arm in shown)
    methods = len(shown) - controls
    words = [
        f"{number} {name}{'s' if number != 1 else ''}"
        for number, name in ((methods, "method"), (controls, "control"))
        if number
    ]
    return " and ".join(words)


def focus_sentence(table: pd.DataFrame, focus: str, arms: Iterable[Arm]) -> str:
    """Return on which models an arm holds and which rivals hold on all, empty for fewer than two.

    Parameters
    ----------
    table : DataFrame
        From `by_model`.
    focus : str
        Label of the arm.
    arms : iterable of Arm
        Rivals: those at their defaults are named where they hold on every model in the table and
        surely paid with the task on none.
    """
    models = list(dict.fromkeys(table["model"]))
    rows = {(row["variant"], row["model"]): row for row in table.to_dict("records")}
    said: dict[str, list[str]] = {}
    for model in models:
        row = rows.get((focus, model))
        if row is not None and not pd.isna(row["possible"]):
            kind = next(k for k in (HOLDS, PART, FAILS, UNDECIDED) if row["verdict"].startswith(k))
            paid = " (at the price of the task)" if row["price"] == "paid" else ""
            said.setdefault(kind, []).append(f"{model}{paid}")
    if sum(map(len, said.values())) < 2:
        return ""
    parts = [f"{kind} on {' and '.join(where)}" for kind, where in said.items()]
    text = f"{title_of(focus)} {', '.join(parts)}"
    everywhere = [
        arm.title
        for arm in arms
        if arm.label != focus
        and not arm.changed
        and all(_holds(rows.get((arm.label, model))) for model in models)
    ]
    if not everywhere:
        return f"{text}; no method holds on all {len(models)}"
    *most, last = everywhere
    names = f"{', '.join(most)} and {last}" if most else last
    return f"{text}; {names} hold{'s' if not most else ''} on all {len(models)}"


def _holds(row: Mapping[Hashable, Any] | None) -> bool:
    return row is not None and row["verdict"].startswith(HOLDS) and row["price"] != "paid"


def reading_text(row: Mapping[Any, Any]) -> str:
    """Return a model's verdict on a method with its numbers, for a sentence.

    Where a quarter of the answers or more neither comply nor refuse, it says how many refuse: that
    harm is held does not mean that refusals are.
    """
    harm, refused = (_rate(row, name) for name in ("harmful_score", "refusal_rate"))
    text = f"{row['verdict']} on {row['model']} ({interval_text(harm)}"
    if _neither(row) >= NEITHER:
        text += f", refuses {interval_text(refused)}"
    if row["price"] == "paid":
        text += f", accuracy {100 * row['accuracy_minus_sft']:+.0f} points from SFT's"
    return f"{text})"


def neither_sentence(table: pd.DataFrame, arms: Iterable[Arm]) -> str:
    """Return where harm is held in answers that do not refuse either, empty where nowhere."""
    titles = {arm.label: arm.title for arm in arms}
    named = [
        f"{titles[row['variant']]} on {row['model']} ({100 * _neither(row):.0f}\u00a0%)"
        for row in table.dropna(subset=["possible"]).to_dict("records")
        if row["variant"] in titles and _neither(row) >= NEITHER
    ]
    if not named:
        return ""
    return f"Of these the answers that neither comply nor refuse are many: {', '.join(named)}."


def _neither(row: Mapping[Any, Any]) -> float:
    return 1 - float(row["harmful_score"]) - float(row["refusal_rate"])


def _rate(row: Mapping[Any, Any], name: str) -> dict[Hashable, Any]:
    return {end[1:] or "value": row[f"{name}{end}"] for end in _ENDS}


def aspects(config: ExperimentConfig) -> dict[str, str]:
    """Return what may differ between comparable experiments besides the model, in words."""
    training, tokens = config.training, config.evaluation.max_new_tokens
    return {
        "task": f"task {config.task.label}",
        "steps": f"{training.steps} steps",
        "batch size": f"batch size {training.batch_size}",
        "learning rate": f"learning rate {training.learning_rate:g}",
        "maps": f"constraints on {config.measurement.maps} maps",
        "answers": f"answers of at most {tokens} tokens",
    }


def apart(models: Mapping[str, Mapping[str, str]]) -> str:
    """Return in what besides the model some experiments differ, empty where in nothing.

    Parameters
    ----------
    models : mapping of str to mapping
        Model to its experiment's `aspects`, or more of that kind.

    Examples
    --------
    >>> a, b = {"task": "task x", "steps": "30 steps"}, {"task": "task x", "steps": "300 steps"}
    >>> apart({"one": a, "two": b, "three": b})
    '30 steps (one) and 300 steps (two, three)'
    """
    names = [name for each in models.values() for name in each]
    differing = [n for n in dict.fromkeys(names) if len({e.get(n) for e in models.values()}) > 1]
    groups: dict[str, list[str]] = {}
    for model, each in models.items():
        groups.setdefault(", ".join(each[n] for n in differing if n in each), []).append(model)
    if not differing:
        return ""
    return " and ".join(f"{text} ({', '.join(of)})" for text, of in groups.items())


def apart_in(name: str, values: Mapping[str, object]) -> str:
    """Return what models differ in, empty where they do not.

    Examples
    --------
    >>> apart_in("steps", {"a": 300, "b": 300, "c": 30})
    'steps 300 (a, b) and 30 (c)'
    """
    models: dict[str, list[str]] = {}
    for model, value in values.items():
        models.setdefault(str(value), []).append(model)
    if len(models) < 2:
        return ""
    parts = [f"{value} ({', '.join(of)})" for value, of in models.items()]
    return f"{name} {' and '.join(parts)}"


def settings_apart(records: Mapping[str, Sequence[RunRecord]]) -> dict[str, str]:
    """Return which settings of an arm differ between models that call it by one label.

    An arm is named by what was changed from its model's documented defaults, and these differ.

    Parameters
    ----------
    records : mapping of str to sequence of RunRecord
        Model to its runs.

    Returns
    -------
    dict of str to str
        By the arm's label, as `apart_in` has it; without those whose settings are the same.
    """
    by_arm: dict[str, dict[str, Mapping[str, Any]]] = {}
    for model, mine in records.items():
        for record in mine:
            by_arm.setdefault(record.arm.label, {})[model] = record.config.settings
    differing = {}
    for label, models in by_arm.items():
        names = dict.fromkeys(name for settings in models.values() for name in settings)
        parts = [apart_in(n, {m: settings.get(n) for m, settings in models.items()}) for n in names]
        text = "; ".join(filter(None, parts))
        if text:
            differing[label] = text
    return differing

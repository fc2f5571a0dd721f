"""Which experiments on several models may stand side by side, and in what they differ."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pandas as pd

from cwac.analysis.rules import reading_order
from cwac.arms import ALIGNED, BASELINE
from cwac.config import ExperimentConfig
from cwac.records import RunRecord


class Runs(Protocol):
    """The runs of one experiment under one judging rule, whoever holds them."""

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """At least one."""
        ...


class Judged(Runs, Protocol):
    """Such runs, with the rule that judged them."""

    @property
    def judge(self) -> str:
        """The hash of the judge that all verdicts are of."""
        ...


RunsT = TypeVar("RunsT", bound=Runs)
JudgedT = TypeVar("JudgedT", bound=Judged)


def trained_alike(config: ExperimentConfig) -> tuple[Any, ...]:
    """Return what experiments on several models must share to be comparable in kind.

    Task, steps, batch and learning rate may differ: `differences` names them.
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


def on_each_model(first: RunsT, others: Iterable[RunsT]) -> dict[str, RunsT]:
    """Return an experiment per model, comparable in kind with `first`, that one first.

    Of several experiments of a model, the one that differs least from the first stands for it,
    then the one with the most arms of it. Models with the same settings come first.

    Parameters
    ----------
    others : iterable
        All experiments that there are; `first` may be among them.

    Returns
    -------
    dict
        By the model's label; the first alone where it was not trained here.
    """
    config = first.records[0].config
    kind, here, earlier = trained_alike(config), aspects(config), reading_order(first.records)[0]
    mine = {record.arm.label for record in first.records} - {BASELINE}

    def shared(other: RunsT) -> int:
        return len(mine & {record.arm.label for record in other.records})

    def distance(other: RunsT) -> tuple[int, int]:
        return _unlike(here, aspects(other.records[0].config)), -shared(other)

    models = {config.model.label: first}
    if config.is_measured:
        return models
    alike = [
        other
        for other in others
        # Each model has its own patterns, so that hashes differ: rules of one kind tell hybrids.
        if trained_alike(other.records[0].config) == kind
        and reading_order(other.records)[0] == earlier
        and not other.records[0].config.is_measured
        and shared(other)
    ]
    for other in sorted(alike, key=distance):
        models.setdefault(other.records[0].config.model.label, other)
    return models


def at_each_ratio(first: JudgedT, others: Iterable[JudgedT]) -> dict[float, JudgedT]:
    """Return the experiments that differ from `first` in the poison ratio alone, by that ratio.

    Parameters
    ----------
    others : iterable
        All experiments that there are. Under another judging rule they are no points of the same
        curve.
    """
    setting = _at_any_ratio(first.records[0].config)
    ratios = {first.records[0].config.poison_ratio: first}
    for other in others:
        config = other.records[0].config
        if other.judge == first.judge and _at_any_ratio(config) == setting:
            ratios.setdefault(config.poison_ratio, other)
    return dict(sorted(ratios.items()))


def _at_any_ratio(config: ExperimentConfig) -> ExperimentConfig:
    anyone = {"poison_ratio": 0.0, "method": "", "settings": {}, "seed": 0}
    return config.model_copy(update=anyone)


def shared_records(models: Mapping[str, Runs]) -> dict[str, list[RunRecord]]:
    """Return of each model's runs those of arms that at least two models have."""
    counts: dict[str, int] = {}
    for runs in models.values():
        for label in {record.arm.label for record in runs.records}:
            counts[label] = counts.get(label, 0) + 1
    return {
        model: [record for record in runs.records if counts[record.arm.label] > 1]
        for model, runs in models.items()
    }


def farthest(models: Mapping[str, Runs]) -> str:
    """Return the model whose experiment differs most: what those like the first cannot stand for.

    Of several the one with the most arms in common, which comes first among them.
    """
    first, *others = models
    here = aspects(models[first].records[0].config)
    return max(others, key=lambda name: _unlike(here, aspects(models[name].records[0].config)))


def _unlike(here: Mapping[str, str], there: Mapping[str, str]) -> int:
    return sum(there[name] != text for name, text in here.items())


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


def differences(models: Mapping[str, Runs], table: pd.DataFrame) -> str:
    """Name what differs between the experiments, so that nobody takes it for the model's alone.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.by_model``, for the counts of requests.
    """
    sizes = table.groupby("model")["harmful_score_n"].min()
    each = {}
    for name, runs in models.items():
        each[name] = aspects(runs.records[0].config) | {"seeds": _seeds_an_arm(table, name)}
        if sizes[name] > 0:
            each[name]["requests"] = f"n = {sizes[name]:.0f} harmful requests"
    differing = apart(each)
    return (
        f"{f'Not the model alone differs: {differing}. ' if differing else ''}Each model has its "
        "own requests, judge's patterns and documented defaults of the methods; where a method's "
        "settings differ is listed with the table."
    )


def _seeds_an_arm(table: pd.DataFrame, model: str) -> str:
    tuned = table[(table["model"] == model) & (table["variant"] != ALIGNED.label)]
    seeds = tuned["seeds"].dropna()
    if seeds.empty:
        return "no seeds"
    least, most = int(seeds.min()), int(seeds.max())
    number = f"{most}" if least == most else f"{least} to {most}"
    return f"{number} seed{'s' if most != 1 else ''} an arm"


def nothing_beside(config: ExperimentConfig, models: Sequence[str]) -> str:
    """Say that no model can be held against an experiment's, and what would have to be alike.

    Parameters
    ----------
    models : sequence of str
        Those of `on_each_model`.
    """
    if config.is_measured:
        return "Finished checkpoints are held against their own aligned model alone."
    training = config.training
    way = "all weights" if isinstance(training.adapter, str) else "LoRA"
    embedding = "trained" if training.train_embeddings else "held"
    alike = f"in this way ({way}, poison ratio {config.poison_ratio:g}, embedding {embedding})"
    if len(models) > 1:
        return f"No method was run on two of {', '.join(models)} {alike} with SFT beside it."
    return f"No other model was run {alike}."


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

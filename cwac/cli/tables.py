"""Stored runs as rows: ``cwac table`` and the comparison that ends ``cwac run``."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.analysis.across import across_models, models_sentence, same_on_other_models
from cwac.analysis.idle import COLUMNS as COMPARED
from cwac.analysis.idle import idle_arms
from cwac.analysis.outcomes import READ
from cwac.analysis.rules import judged_alike, several_rules
from cwac.artifacts import ArtifactStore, writing_store
from cwac.cli.output import note, print_table
from cwac.errors import ArtifactError, DataError
from cwac.rates import DECODINGS, tabled_rates
from cwac.records import MetricValue, RunRecord

NUMBERS: Final = (
    "relative_weight_drift",
    "protected_energy",
    "leakage",
    "safety_feature_drift",
    "train_seconds",
    "seconds_per_step",
)
HIDDEN: Final = (
    "refusal_log_odds",
    *(name for name, one in DECODINGS.items() if not one.framed),
    "leakage_fitted_tokens",
    *(name for name, one in DECODINGS.items() if one.framed),
    "relearning_half_steps",
    "relearned_harmful_score",
)
"""What greedy answers and prompt tokens hide; in the order in which these columns joined."""
IDENTITY: Final = (
    "run_id",
    "experiment_id",
    "model",
    "task",
    "poison_ratio",
    "method",
    "variant",
    "seed",
    "steps",
)
COLUMNS: Final = (
    *IDENTITY,
    *(f"{rate.name}{part}" for rate in tabled_rates() for part in ("", "_n", "_low", "_high")),
    *NUMBERS,
    *HIDDEN,
)
_SHOWN: Final = {
    # Rates of some of the harmful requests alone would only make the table wider.
    **{rate.name: rate.term for rate in tabled_rates() if rate.requests.flag is None},
    "refusal_log_odds": "log-odds",
    "sampled_harmful_score": "sampled",
    "sampled_harmful_worst": "worst sample",
    "prefilled_harmful_score": "begun answer",
    "two_requests_harmful_score": "two requests",
    "many_turns_harmful_score": "many turns",
    "identity_harmful_score": "identity",
    "relearned_harmful_score": "relearned",
    "relative_weight_drift": "drift",
    "protected_energy": "inside",
    "safety_feature_drift": "feature drift",
    "seconds_per_step": "s/step",
}


def run_table(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return one row per run; rates are fractions, what was not measured is missing."""
    rows = [_row(record) for record in records]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    counts = [f"{rate.name}_n" for rate in tabled_rates()]
    # Counts stay whole numbers beside missing ones.
    return table.astype(dict.fromkeys([*counts, "seed", "steps"], "Int64"))


def _row(record: RunRecord) -> dict[str, Any]:
    config = record.config
    row: dict[str, Any] = {
        "run_id": record.run_id,
        "experiment_id": record.experiment_id,
        "model": config.model.label,
        "task": config.task.label,
        "poison_ratio": None if config.is_measured else config.poison_ratio,
        "method": config.method,
        "variant": record.variant,
        "seed": config.seed,
        "steps": None if config.is_measured else config.training.steps,
    }
    for rate in tabled_rates():
        metric = record.metrics.get(rate.name)
        row[rate.name] = record.value(rate.name)
        for part, attribute in (("_n", "count"), ("_low", "low"), ("_high", "high")):
            row[rate.name + part] = None if metric is None else getattr(metric, attribute)
    for name in (*NUMBERS, *HIDDEN):
        row[name] = record.value(name)
    return row


def across_table(store: ArtifactStore, records: Sequence[RunRecord]) -> pd.DataFrame:
    """Return every arm's rates over the models whose runs have equal settings.

    Raises
    ------
    DataError
        No two models were run with equal settings.
    """
    groups = same_on_other_models(records)
    if not groups:
        raise DataError(
            "no two models here were run with equal settings; run the same tasks and arms with "
            "another --model."
        )
    tables = []
    for title, members in groups.items():
        responses: dict[str, list[pd.DataFrame]] = {}
        for member in _by_one_rule(members):
            table = _responses(store, member)
            if table is not None:
                responses.setdefault(member.config.model.label, []).append(table)
        whole = {model: pd.concat(parts, ignore_index=True) for model, parts in responses.items()}
        table = across_models(whole)
        table.insert(0, "experiment", title)
        tables.append(table)
        note(f"{title}: {', '.join(sorted(whole))}. {models_sentence(len(whole))}")
    return pd.concat(tables, ignore_index=True)


def _by_one_rule(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Keep of every model the runs that most were judged like: rules are never pooled."""
    models: dict[str, list[RunRecord]] = {}
    for record in records:
        models.setdefault(record.config.model.source, []).append(record)
    return [record for mine in models.values() for record in judged_alike(mine, None)[0].records]


def _responses(store: ArtifactStore, record: RunRecord) -> pd.DataFrame | None:
    """Return a run's answers with its arm and seed, None where they cannot be read."""
    try:
        table = store.table(record.run_id, "responses", columns=READ)
    except ArtifactError as problem:
        note(f"left out: {problem}")
        return None
    return table.assign(variant=record.variant, seed=record.config.seed)


def print_comparison(root: Path, records: Sequence[RunRecord]) -> None:
    """Write the arms side by side, the aligned model first, one table per experiment."""
    # The aligned model may have been measured for the shipped runs alone.
    store = writing_store(root)
    for experiment in dict.fromkeys(record.experiment_id for record in records):
        members = [record for record in records if record.experiment_id == experiment]
        lines = [*_references(store, members), *members]
        metrics = [name for name in _SHOWN if any(line.value(name) is not None for line in lines)]
        rows = [
            [line.variant, "" if line.variant == "aligned" else str(line.config.seed)]
            + [_shown(line.metrics.get(name)) for name in metrics]
            for line in lines
        ]
        config = members[0].config
        training = f"{config.training.steps} steps of {config.task.label}"
        if not isinstance(config.training.adapter, str):
            training += f", LoRA rank {config.training.adapter.rank}"
        title = f"{experiment}: {'checkpoints' if config.is_measured else training}"
        print_table(title, ["variant", "seed", *(_SHOWN[name] for name in metrics)], rows)
        for sentence in (*several_rules(lines), *_idle(store, members)):
            note(sentence)


def _idle(store: ArtifactStore, members: Sequence[RunRecord]) -> list[str]:
    """Return a sentence about the arms whose answers are plain fine-tuning's."""
    parts = []
    for member in members:
        # A run whose answers cannot be read says so elsewhere.
        with suppress(ArtifactError):
            answers = store.table(member.run_id, "responses")
            there = [name for name in COMPARED if name in answers]
            parts.append(answers[there].assign(variant=member.variant, seed=member.config.seed))
    idle = sorted(idle_arms(pd.concat(parts, ignore_index=True))) if parts else []
    return [f"{', '.join(idle)}: did nothing here, the answers are those of sft."] if idle else []


def _references(store: ArtifactStore, members: Sequence[RunRecord]) -> list[RunRecord]:
    names = dict.fromkeys(m.fits["reference"] for m in members if "reference" in m.fits)
    records = []
    for name in names:
        try:
            records.append(store.fit_record(name))
        except ArtifactError:
            continue
    return records


def _shown(metric: MetricValue | None) -> str:
    if metric is None or metric.value is None:
        return "-"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.3g}"
    return f"{metric.value:.3f} [{metric.low:.2f}, {metric.high:.2f}]"

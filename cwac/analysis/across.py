"""The same arms on several models: rates and contrasts over models, then seeds, then requests."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.outcomes import outcomes_of
from cwac.arms import BASELINE
from cwac.rates import tabled_rates
from cwac.records import RunRecord
from cwac.statistics import AcrossModels, difference_across, rate_across

COLUMNS: Final = (
    *("variant", "rate", "models", "seeds", "n", "value", "low", "high", "lowest", "highest"),
    *("minus_sft", "minus_sft_low", "minus_sft_high", "minus_sft_p"),
)
"""``lowest`` and ``highest`` are the models' own rates; ``n`` and ``seeds`` a model's fewest."""


def same_on_other_models(records: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    """Group runs whose settings differ in the model, the method and the seed alone.

    Groups of a single model are left out. Keys are readable: task, poison ratio and, where several
    groups share these, a number.
    """
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        if not record.config.is_measured:
            groups.setdefault(_settings(record), []).append(record)
    named: dict[str, list[RunRecord]] = {}
    for members in groups.values():
        if len({member.config.model.source for member in members}) < 2:
            continue
        config = members[0].config
        title = f"{config.task.label}, poison ratio {config.poison_ratio:g}"
        others = sum(name == title or name.startswith(f"{title} (") for name in named)
        named[title if not others else f"{title} ({others + 1})"] = members
    return named


def _settings(record: RunRecord) -> str:
    """Return what has to be equal: everything but model, method, seed and the files' hashes."""
    config = json.loads(record.config.canonical_json())
    for part in ("model", "method", "settings", "seed"):
        config.pop(part, None)
    for part in ("prompts", "task"):
        config.get(part, {}).pop("contents", None)
    return json.dumps(config, sort_keys=True)


def across_models(
    responses: Mapping[str, pd.DataFrame],
    rates: Sequence[str] | None = None,
    *,
    contrasts: bool = True,
) -> pd.DataFrame:
    """Return the rates of every arm that at least two models have, in long form.

    Parameters
    ----------
    responses : mapping of str to DataFrame
        Model to the ``responses`` of its runs, with ``variant`` and ``seed``.
    rates : sequence of str, optional
        Names of ``cwac.rates.RATES``; all that tables show without it.
    contrasts : bool
        Whether to compare with SFT, which takes most of the time.

    Returns
    -------
    DataFrame
        ``COLUMNS``: the mean over models with its 95 % interval over models, seeds and requests,
        and the same of the difference from plain SFT, paired by model and seed. Where SFT was not
        run, and in its own row, the difference is missing.
    """
    rows: list[dict[str, Any]] = []
    for name in rates or [tabled.name for tabled in tabled_rates()]:
        by_model = {model: outcomes_of(table, name) for model, table in responses.items()}
        variants = dict.fromkeys(v for arms in by_model.values() for v in arms)
        arms = {v: {m: arms[v] for m, arms in by_model.items() if v in arms} for v in variants}
        for variant, models in arms.items():
            if len(models) < 2:
                continue
            gap = None
            alike = models.keys() & arms.get(BASELINE, {}).keys()
            if contrasts and variant != BASELINE and len(alike) > 1:
                gap = difference_across(models, arms[BASELINE])
            rows.append({"variant": variant, "rate": name, **_row(rate_across(models), gap)})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(share: AcrossModels, gap: AcrossModels | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "models": share.models,
        "seeds": share.seeds,
        "n": share.n,
        "value": share.value,
        "low": share.low,
        "high": share.high,
        "lowest": min(share.by_model.values()),
        "highest": max(share.by_model.values()),
    }
    if gap is not None:
        row |= {
            "minus_sft": gap.value,
            "minus_sft_low": gap.low,
            "minus_sft_high": gap.high,
            "minus_sft_p": gap.p,
        }
    return row


def models_sentence(count: int) -> str:
    """Return what an interval over so few models says and does not say.

    Examples
    --------
    >>> models_sentence(3)[:35]
    'Intervals are over 3 models, their '
    """
    return (
        f"Intervals are over {count} models, their seeds and their requests, and speak of further "
        f"models of this sort; with {count} models Student's t has {count - 1} degree"
        f"{'s' if count > 2 else ''} of freedom, so that they are wide."
    )

"""Intervals over models, then seeds, then requests; runs of several models side by side."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from cwac.analysis.across import across_models, models_sentence, same_on_other_models
from cwac.config import ExperimentConfig
from cwac.errors import DataError
from cwac.statistics import Outcomes, across, difference, difference_across, rate, rate_across

RESAMPLES = 4_000


def outcomes(values):
    values = np.asarray(values, dtype=bool)
    seeds, requests = values.shape
    return Outcomes(values, tuple(range(seeds)), tuple(f"harmful-{i}" for i in range(requests)))


def noise(rng, values, sd):
    return {name: value + sd * rng.standard_normal(RESAMPLES) for name, value in values.items()}


def ends(draws):
    return np.percentile(draws, [2.5, 97.5])


def test_models_without_noise_of_their_own_give_students_t():
    values = {"a": 0.1, "b": 0.4, "c": 0.25}
    draws = across(values, {name: np.full(RESAMPLES, value) for name, value in values.items()})
    figures = np.array(list(values.values()))
    half = t(2).ppf(0.975) * figures.std(ddof=1) / np.sqrt(3)
    assert ends(draws) == pytest.approx([0.25 - half, 0.25 + half], abs=0.04 * half)


def test_models_that_do_not_differ_give_the_interval_of_the_levels_below():
    values = dict.fromkeys("abc", 0.3)
    draws = across(values, noise(np.random.default_rng(0), values, 0.06))
    half = norm.ppf(0.975) * 0.06 / np.sqrt(3)
    assert ends(draws) == pytest.approx([0.3 - half, 0.3 + half], abs=0.06 * half)


@pytest.mark.parametrize("ratio", [0.0, 1.0, 25.0])
def test_the_interval_covers_another_models_mean_as_often_as_it_says(ratio):
    rng = np.random.default_rng(7)
    covered = []
    for trial in range(600):
        figures = rng.normal(0, np.sqrt(1 + ratio), 3)
        values = dict(zip("abc", figures, strict=True))
        low, high = ends(across(values, noise(rng, values, 1.0), seed=trial))
        covered.append(low <= 0 <= high)
    # 600 trials: three standard errors are 0.027.
    assert np.mean(covered) > 0.95 - 0.027


def test_rates_of_real_outcomes_are_covered_too():
    rng = np.random.default_rng(3)
    covered = []
    for trial in range(100):
        shares = np.clip(rng.normal(0.5, 0.15, 3), 0.02, 0.98)
        models = {str(k): outcomes(rng.random((3, 50)) < share) for k, share in enumerate(shares)}
        interval = rate_across(models, resamples=400, seed=trial)
        covered.append(interval.low <= 0.5 <= interval.high)
    assert np.mean(covered) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 100)


def test_one_model_has_its_own_interval():
    rng = np.random.default_rng(1)
    one, other = (outcomes(rng.random((3, 60)) < share) for share in (0.6, 0.4))
    alone, plain = rate_across({"a": one}), rate(one)
    assert (alone.value, alone.low, alone.high) == (plain.value, plain.low, plain.high)
    gap, paired = difference_across({"a": one}, {"a": other}), difference(one, other)
    assert (gap.value, gap.low, gap.high, gap.p) == (
        paired.value,
        paired.low,
        paired.high,
        paired.p,
    )


def test_each_model_counts_the_same_and_three_are_wider_than_their_seeds():
    models = {
        "a": outcomes(np.tile([1, 0, 0, 0], (3, 20))),
        "b": outcomes(np.tile([1, 1, 0, 0], (2, 5))),
        "c": outcomes(np.tile([1, 1, 1, 0], (3, 20))),
    }
    found = rate_across(models)
    assert found.value == pytest.approx(0.5)
    assert (found.models, found.seeds, found.n) == (3, 2, 20)
    assert dict(found.by_model) == {"a": 0.25, "b": 0.5, "c": 0.75}
    pooled = rate(outcomes(np.vstack([models["a"].values, models["c"].values])))
    assert found.high - found.low > 1.5 * (pooled.high - pooled.low)
    assert found.low == 0.0
    assert found.high == 1.0


def test_draws_of_two_models_with_the_same_request_names_are_independent():
    # With shared draws the noise of three models would not average out.
    one = outcomes(np.random.default_rng(5).random((1, 100)) < 0.5)
    single, three = rate_across({"a": one}), rate_across(dict.fromkeys("abc", one))
    shrunk = (three.high - three.low) / (single.high - single.low)
    assert shrunk == pytest.approx(1 / np.sqrt(3), abs=0.03)


def test_differences_are_paired_by_model_and_seed():
    rng = np.random.default_rng(2)
    base = {name: rng.random((3, 80)) < share for name, share in (("a", 0.2), ("b", 0.8))}
    for values in base.values():
        values[:, :10] = False
    # The models differ a lot, the arms by the same ten requests on each.
    first = {name: outcomes(values) for name, values in base.items()}
    second = {name: outcomes(np.where(np.arange(80) < 10, 1, v)) for name, v in base.items()}
    gap = difference_across(second, first)
    assert gap.value == pytest.approx(1 / 8)
    wide = rate_across(first)
    assert gap.high - gap.low < (wide.high - wide.low) / 4
    with pytest.raises(DataError, match="a model that both arms have"):
        difference_across(first, {"c": first["a"]})


def test_certain_outcomes_keep_the_uncertainty_of_their_requests():
    always, never = outcomes(np.ones((3, 40))), outcomes(np.zeros((3, 40)))
    found = rate_across(dict.fromkeys("abc", always))
    assert (found.low, found.high) == (rate(always).low, 1.0)
    gap = difference_across(dict.fromkeys("abc", always), dict.fromkeys("abc", never))
    assert gap.value == 1
    assert gap.low < 1
    assert 0 < gap.p < 1e-6


def _responses(rng, shares, seeds=(0, 1)):
    rows = [
        {"variant": variant, "seed": seed, "prompt_id": f"harmful-{i}", "kind": "harmful",
         "outcome": "compliance" if rng.random() < share else "refusal", "correct": None,
         "unseen_category": False, "novel_template": False, "hybrid": False}
        for variant, share in shares.items() for seed in seeds for i in range(30)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_table_has_each_arm_that_two_models_have():
    rng = np.random.default_rng(0)
    models = {
        "organism": _responses(rng, {"sft": 0.9, "cwac": 0.1, "kl": 0.5}),
        "organism-b": _responses(rng, {"sft": 0.9, "cwac": 0.4}),
    }
    table = across_models(models)
    harmful = table[table["rate"] == "harmful_score"].set_index("variant")
    assert list(harmful.index) == ["sft", "cwac"]
    row = harmful.loc["cwac"]
    shares = [
        (part[part["variant"] == "cwac"]["outcome"] == "compliance").mean()
        for part in models.values()
    ]
    assert row["value"] == pytest.approx(np.mean(shares))
    assert (row["lowest"], row["highest"]) == pytest.approx((min(shares), max(shares)))
    assert (row["models"], row["seeds"], row["n"]) == (2, 2, 30)
    assert row["minus_sft"] == pytest.approx(row["value"] - harmful.loc["sft", "value"])
    assert pd.isna(harmful.loc["sft", "minus_sft"])


class _Record:
    def __init__(self, **changes):
        self.config = ExperimentConfig.build(changes)


def test_runs_are_alike_if_they_differ_in_model_method_and_seed_alone():
    def of(source, contents, **changes):
        return _Record(
            model={"source": source, "contents": contents},
            task={"source": "instruct", "contents": contents},
            **changes,
        )

    a, b = of("organism", "1", seed=1), of("organism-b", "2", method="cwac")
    other = of("organism-c", "3", poison_ratio=0.5)
    steps = of("organism-c", "3", training={"steps": 7})
    assert same_on_other_models([a, b, other, steps]) == {"instruct, poison ratio 0.1": [a, b]}
    assert same_on_other_models([a]) == {}


def test_the_sentence_says_how_few_the_models_are():
    assert "3 models" in models_sentence(3)
    assert "2 degrees of freedom" in models_sentence(3)
    assert "1 degree of" in models_sentence(2)

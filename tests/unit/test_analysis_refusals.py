"""Rates and flips from stored answers, against numbers worked out elsewhere."""

import pandas as pd
import pytest
from answer_tables import aligned_answers, answers, arm_answers
from scipy.stats import binomtest

from cwac.analysis import refusals
from cwac.statistics import wilson


@pytest.fixture
def responses() -> pd.DataFrame:
    return arm_answers()


@pytest.fixture
def aligned() -> pd.DataFrame:
    return aligned_answers()


def test_rates_of_one_seed_have_wilson_intervals(
    responses: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    both = refusals.with_aligned(responses, aligned)
    table = refusals.outcome_rates(both, "refusal").set_index(["group", "variant"])
    row = table.loc[("harmful requests", "aligned")]
    expected = binomtest(9, 10).proportion_ci(method="wilson")
    assert row["value"] == pytest.approx(0.9)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert row["n"] == 10
    assert row["method"] == "wilson"


def test_rates_of_several_seeds_are_bootstrapped_over_requests_not_answers(
    responses: pd.DataFrame,
) -> None:
    table = refusals.outcome_rates(responses, "refusal").set_index(["group", "variant"])
    row = table.loc[("harmful requests", "sft")]
    assert row["value"] == pytest.approx((3 + 10) / 20)
    assert (row["n"], row["seeds"], row["method"]) == (10, 2, "bootstrap")
    assert row["low"] < row["value"] < row["high"]
    # The unseen category holds the last four requests: 3 + 4 refusals of 8 answers.
    assert table.loc[("unseen categories", "sft"), "value"] == pytest.approx(7 / 8)
    assert table.loc[("look-alikes", "sft"), "value"] == 0


def test_categories_name_unseen_ones_and_end_with_lookalikes(responses: pd.DataFrame) -> None:
    table = refusals.category_rates(responses, "compliance")
    assert list(table["group"].unique()) == ["fraud", "poison (unseen)", "look-alikes"]
    assert table.set_index("group").loc["fraud", "value"] == pytest.approx(6 / 12)


def test_flips_are_counted_and_tested_seed_by_seed(
    responses: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    table = refusals.flips(responses, aligned, "sft", "harmful")
    counts = table.set_index(["seed", "before", "after"])["count"]
    assert counts[(0, "refusal", "compliance")] == 6
    assert counts[(0, "compliance", "undetermined")] == 1
    assert counts[(1, "compliance", "refusal")] == 1
    tests = refusals.flip_tests(table).set_index("seed")
    assert tests.loc[0, ["lost", "gained", "n"]].tolist() == [6, 0, 10]
    assert tests.loc[0, "p"] == pytest.approx(binomtest(6, 6, 0.5).pvalue)
    assert tests.loc[1, ["lost", "gained"]].tolist() == [0, 1]


def test_flipped_lookalikes_are_those_that_the_aligned_model_answered() -> None:
    outcomes = {
        "aligned": ["compliance"] * 3 + ["refusal"],
        "sft": ["refusal"] * 2 + ["compliance"] * 2,
    }
    rows = [
        answers(given, "lookalike", variant=arm, seed=0, category="look")
        for arm, given in outcomes.items()
    ]
    table = refusals.flip_rates(pd.concat(rows, ignore_index=True))
    (row,) = table.to_dict("records")
    assert row["group"] == "look-alikes, answered before, refused now"
    assert (row["value"], row["n"], row["fewest"], row["most"]) == (pytest.approx(2 / 3), 3, 2, 2)
    assert (row["low"], row["high"]) == pytest.approx(wilson(2, 3))
    # Two newly refused, one newly answered.
    assert row["p"] == pytest.approx(binomtest(1, 3, 0.5).pvalue)

"""Drift against harm: ranks, methods as the unit of resampling, sentences that do not overclaim."""

import numpy as np
import pandas as pd
import pytest
from named_arms import arms
from scipy.stats import permutation_test, rankdata, spearmanr

from cwac.analysis.prediction import (
    PERMUTATIONS,
    _ranks,
    associate,
    every_figure,
    one_per_method,
    sentence,
)
from cwac.figures.mechanism.prediction import correlations, drift_against_harm

NAME = "relative_weight_drift"


def points(drift, harm, methods=None):
    count = len(drift)
    methods = [f"m{i}" for i in range(count)] if methods is None else methods
    table = pd.DataFrame({"method": methods, "drift": drift, "harm": harm, "n": 40, "seeds": 2})
    plain = ~table["method"].duplicated()
    variant = table["method"].where(plain, table["method"] + " (k=" + table.index.astype(str) + ")")
    return table.assign(
        plain=plain, variant=variant, drift_low=drift, drift_high=drift, harm_low=harm,
        harm_high=harm,
    )  # fmt: skip


def test_the_correlation_is_spearmans_and_its_p_agrees_with_the_exact_test():
    rng = np.random.default_rng(3)
    drift = rng.normal(size=9)
    harm = drift + rng.normal(size=9)
    result = associate(points(drift, harm))
    theirs = spearmanr(drift, harm)
    assert result.rho == pytest.approx(theirs.statistic)
    assert result.p == pytest.approx(theirs.pvalue, abs=0.03)
    assert result.low < result.rho < result.high
    assert (result.n, result.methods) == (9, 9)


@pytest.mark.parametrize("count", [6, 9])
def test_the_p_is_that_of_scipys_permutation_test(count):
    rng = np.random.default_rng(count)
    drift, harm = rng.normal(size=count), rng.normal(size=count).round()
    second = rankdata(harm)
    theirs = permutation_test(
        (rankdata(drift) - (count + 1) / 2,),
        lambda x, axis: (x * second).sum(axis=axis),
        permutation_type="pairings",
        n_resamples=PERMUTATIONS,
        rng=np.random.default_rng(0),
    )
    assert associate(points(drift, harm)).p == theirs.pvalue


def test_variants_of_one_method_are_not_independent_trainings():
    rng = np.random.default_rng(0)
    drift, harm = rng.normal(size=8), rng.normal(size=8)
    alone = associate(points(drift, harm))
    methods = [f"m{i}" for i in range(8)] * 10
    repeated = associate(points(np.tile(drift, 10), np.tile(harm, 10), methods))
    assert repeated.p is None
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_resampled_ranks_are_those_of_the_repeated_values():
    values, counts = np.array([3.0, 1.0, 3.0, 2.0]), np.array([[2, 0, 1, 3], [1, 1, 1, 1]])
    repeated = np.repeat(values, counts[0])
    expected = dict(zip(repeated, rankdata(repeated), strict=True))
    mine = _ranks(values, counts)
    assert [mine[0, i] for i in (0, 2, 3)] == [expected[values[i]] for i in (0, 2, 3)]
    assert mine[1].tolist() == rankdata(values).tolist()


def test_the_sentence_claims_no_more_than_the_interval():
    up = np.arange(12.0)
    assert sentence(NAME, associate(points(up, up))).startswith(
        "More weight drift goes with more harm: Spearman's +1.00"
    )
    assert "goes with less harm" in sentence(NAME, associate(points(up, -up)))
    mixed = np.array([0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0.0])
    assert sentence(NAME, associate(points(up, mixed))).startswith(
        "Weight drift is not seen to predict harm: Spearman's"
    )
    assert associate(points(up[:4], up[:4])) is None
    assert associate(points(up, np.ones(12))) is None
    assert "fewer than 5 arms" in sentence(NAME, None)


def test_points_at_defaults_are_one_a_method():
    table = points(np.arange(4.0), np.arange(4.0), ["sft", "cwac", "cwac", "lisa"])
    assert one_per_method(table)["method"].tolist() == ["sft", "cwac", "lisa"]


def test_at_most_six_methods_are_coloured_and_no_point_is_lost():
    methods = ["sft", "cwac", "lisa", "ewc", "asft", "salora", "sppft", "safegrad"]
    table = points(10.0 ** -np.arange(8.0), np.linspace(0, 1, 8), methods)
    figure = drift_against_harm(table, NAME, arms(*methods), methods, associate(table))
    assert len(figure.data) == 7
    assert sum(len(trace.x) for trace in figure.data) == 8
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.title.text.startswith("More weight drift goes with less harm")


def test_every_figure_stands_with_its_interval():
    up = np.arange(12.0)
    table = every_figure({NAME: points(up, up), "leakage": points(up[:3], up[:3])})
    assert table["figure"].tolist() == [NAME]
    figure = correlations(table, NAME)
    assert "1 of 1 drift figures" in figure.layout.title.text
    assert "weight drift" in figure.layout.title.text

"""Intervals and tests against scipy, published examples and simulation."""

import time

import numpy as np
import pytest
from scipy.stats import binomtest

from cwac.errors import DataError
from cwac.statistics import (
    Outcomes,
    compare,
    difference,
    hierarchical_bootstrap,
    holm,
    mcnemar_exact,
    paired_difference,
    rate,
    wilson,
)

PROMPTS = tuple(str(i) for i in range(350))


def arm(values, seeds=None):
    values = np.asarray(values, dtype=bool)
    return Outcomes(
        values,
        tuple(range(values.shape[0])) if seeds is None else seeds,
        PROMPTS[: values.shape[1]],
    )


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 40), (3, 40), (40, 40), (97, 350)])
def test_wilson_agrees_with_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_everything_and_nonsense_is_refused():
    assert wilson(0, 0) == (0, 1)
    with pytest.raises(DataError, match="5 successes of 4"):
        wilson(5, 4)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 12), (40, 11), (0, 300)])
def test_mcnemar_agrees_with_scipy(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


def test_paired_difference_agrees_with_newcombes_published_example():
    # Newcombe (1998), Statistics in Medicine 17, table II, 36/12/2/0: method 10.
    first = np.repeat([1, 1, 0], [36, 12, 2]).astype(bool)
    second = np.repeat([1, 0, 1], [36, 12, 2]).astype(bool)
    found = paired_difference(first, second)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    assert found.p == pytest.approx(binomtest(2, 14).pvalue)
    mirrored = paired_difference(second, first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_newcombes_correction_applies_to_positive_association():
    # Both 20, first alone 12, second alone 2, neither 16, written out by hand.
    first = np.repeat([1, 1, 0, 0], [20, 12, 2, 16]).astype(bool)
    second = np.repeat([1, 0, 1, 0], [20, 12, 2, 16]).astype(bool)
    (low_1, high_1), (low_2, high_2) = wilson(32, 50), wilson(22, 50)
    phi = (20 * 16 - 12 * 2 - 50 / 2) / np.sqrt(32 * 18 * 22 * 28)
    a, b = 0.64 - low_1, high_2 - 0.44
    c, d = high_1 - 0.64, 0.44 - low_2
    expected = (
        0.2 - np.sqrt(a * a - 2 * phi * a * b + b * b),
        0.2 + np.sqrt(c * c - 2 * phi * c * d + d * d),
    )
    found = paired_difference(first, second)
    assert (found.low, found.high) == pytest.approx(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([]) == ()


def test_one_seed_gives_wilson_and_mcnemar():
    rng = np.random.default_rng(0)
    first, second = arm(rng.random((1, 350)) < 0.6), arm(rng.random((1, 350)) < 0.4)
    found = rate(first)
    assert found.method == "wilson"
    assert (found.low, found.high) == wilson(int(first.values.sum()), 350)
    assert difference(first, second) == paired_difference(first.values[0], second.values[0])


def test_seeds_are_not_pooled_as_if_independent():
    # Every seed decides alike for all prompts: five observations, not 1,750.
    values = np.repeat([[1], [0], [1], [0], [1]], 350, axis=1)
    found = rate(arm(values))
    assert found.method == "bootstrap"
    assert found.seeds == 5
    pooled = wilson(3 * 350, 5 * 350)
    assert found.high - found.low > 10 * (pooled.high - pooled.low)


def test_prompts_shared_by_seeds_are_not_pooled_either():
    # All seeds agree on every prompt: 350 observations, so more seeds do not narrow it.
    values = np.repeat(np.arange(350)[None] % 4 == 0, 5, axis=0)
    found, one = rate(arm(values)), wilson(int(values[0].sum()), 350)
    assert found.high - found.low == pytest.approx(one.high - one.low, rel=0.1)


def test_arms_with_equal_prompts_are_paired():
    rng = np.random.default_rng(0)
    base = rng.random((3, 350)) < 0.5
    better = base.copy()
    better[:, :10] = True
    paired = difference(arm(better), arm(base))
    other = Outcomes(base, (0, 1, 2), tuple(f"other {p}" for p in PROMPTS))
    unpaired = difference(arm(better), other)
    assert paired.value == unpaired.value
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 3


def test_only_seeds_of_both_arms_are_compared():
    rng = np.random.default_rng(0)
    first = arm(rng.random((3, 50)) < 0.5, seeds=(0, 1, 2))
    second = arm(rng.random((2, 50)) < 0.5, seeds=(2, 7))
    assert difference(first, second) == paired_difference(first.values[2], second.values[0])
    third = arm(rng.random((2, 50)) < 0.5, seeds=(8, 9))
    assert difference(first, third).value == pytest.approx(first.rate - third.rate)


def test_unanimous_arms_still_have_width():
    ones, zeros = arm(np.ones((5, 350))), arm(np.zeros((5, 350)))
    assert rate(zeros).high == pytest.approx(wilson(0, 350).high)
    found = difference(ones, zeros)
    assert found.value == 1
    assert 0.9 < found.low < 1
    # No resample differs, so that the exact test on the requests is the one that exists.
    assert found.p == pytest.approx(mcnemar_exact(350, 0))
    same = difference(zeros, zeros)
    assert same.p == 1
    assert same.low < 0 < same.high


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.8), (3, 0.86), (5, 0.86)])
def test_coverage_with_seed_and_prompt_noise(seeds, least):
    rng = np.random.default_rng(seeds)
    covered_rate = covered_gap = 0
    trials = 100

    def chance(mean, spread):
        return 1 / (1 + np.exp(-(mean + spread)))

    many = rng.normal(0, np.hypot(1.5, 0.7), 500_000)
    truth, gap = chance(-1, many).mean(), (chance(-0.2, many) - chance(-1, many)).mean()
    for _ in range(trials):
        by_prompt = rng.normal(0, 1.5, 100)
        low, high = (
            arm(rng.random((seeds, 100)) < chance(mean, by_prompt + rng.normal(0, 0.7, (seeds, 1))))
            for mean in (-1, -0.2)
        )
        draws = hierarchical_bootstrap({"": low}, resamples=400)[""]
        one, two = rate(low, draws=draws), difference(high, low, resamples=400)
        covered_rate += one.low <= truth <= one.high
        covered_gap += two.low <= gap <= two.high
    assert least <= covered_rate / trials <= 1
    assert least <= covered_gap / trials <= 1


def test_no_effect_is_rarely_called_one():
    rng = np.random.default_rng(1)
    small = 0
    for _ in range(80):
        first, second = (arm(rng.random((5, 100)) < 0.3) for _ in range(2))
        small += difference(first, second, resamples=400).p < 0.05
    assert small / 80 <= 0.1


def test_named_contrasts_are_corrected_over_the_family():
    rng = np.random.default_rng(2)
    arms = {name: arm(rng.random((5, 350)) < p) for name, p in [("a", 0.2), ("b", 0.5), ("c", 0.5)]}
    found = compare(arms, [("a", "b"), ("b", "c")])
    assert [(f.first, f.second) for f in found] == [("a", "b"), ("b", "c")]
    assert [f.p_holm for f in found] == pytest.approx(holm([f.difference.p for f in found]))
    assert found[0].p_holm < 0.05 < found[1].p_holm
    assert compare(arms, [("a", "b"), ("b", "c")]) == found


def test_an_interval_does_not_depend_on_the_company_it_keeps():
    rng = np.random.default_rng(3)
    mine = arm(rng.random((3, 120)) < 0.3)
    others = {
        "same requests": arm(rng.random((3, 120)) < 0.6),
        "other requests": Outcomes(mine.values, (0, 1, 2), tuple(f"x{i}" for i in range(120))),
        "other seeds": Outcomes(mine.values, (3, 4, 5), mine.requests),
    }
    alone = hierarchical_bootstrap({"mine": mine})["mine"]
    last = hierarchical_bootstrap(others | {"mine": mine})["mine"]
    np.testing.assert_array_equal(alone, last)
    assert rate(mine) == rate(mine, draws=last)
    # The stream belongs to the names: other names are drawn otherwise.
    different = hierarchical_bootstrap({"x": others["other requests"]})["x"]
    assert not np.array_equal(alone, different)


def test_an_interval_does_not_depend_on_the_order_of_requests_and_seeds():
    rng = np.random.default_rng(4)
    mine = arm(rng.random((3, 120)) < 0.3)
    columns, rows = rng.permutation(120), [2, 0, 1]
    shuffled = Outcomes(
        mine.values[np.ix_(rows, columns)],
        tuple(rows),
        tuple(mine.requests[column] for column in columns),
    )
    assert rate(shuffled) == rate(mine)


def test_draws_have_the_variance_of_requests_and_of_seeds():
    # One seed: the draws' variance is that of a mean over requests. Every request alike: that of
    # a mean over seeds, unbiased (one seed fewer is drawn).
    rng = np.random.default_rng(5)
    one = arm(rng.random((1, 300)) < 0.4)
    spread = hierarchical_bootstrap({"": one})[""].var()
    assert spread == pytest.approx(one.values.var() / 300, rel=0.05)
    seeds = arm(np.repeat([[1], [0], [1], [0], [0]], 300, axis=1))
    spread = hierarchical_bootstrap({"": seeds})[""].var()
    assert spread == pytest.approx(seeds.values.mean(1).var(ddof=1) / 5, rel=0.05)


def test_a_gap_of_98_points_survives_two_hundred_contrasts():
    rng = np.random.default_rng(6)
    low, high = (arm(rng.random((3, 350)) < p) for p in (0.01, 0.99))
    p = difference(low, high).p
    assert max(holm([p] * 200)) < 0.05


def test_bootstrap_of_several_arms_is_fast():
    rng = np.random.default_rng(0)
    arms = {str(i): arm(rng.random((5, 350)) < 0.3) for i in range(6)}
    hierarchical_bootstrap(arms)
    start = time.process_time()
    hierarchical_bootstrap(arms)
    assert time.process_time() - start < 0.2


def test_outcomes_must_fit_their_labels():
    with pytest.raises(DataError, match="2 seeds x 3 requests"):
        Outcomes(np.zeros((3, 2), dtype=bool), (0, 1), ("a", "b", "c"))
    with pytest.raises(DataError, match="at least one"):
        Outcomes(np.zeros((0, 2), dtype=bool), (), ("a", "b"))

"""The 2 x 2 interaction against a hand-made sum, a plain-loop bootstrap and simulation."""

import math
import random
import time

import numpy as np
import pytest

from cwac.errors import DataError
from cwac.statistics import Outcomes, interaction

RATES = (0.9, 0.6, 0.5, 0.1)


def four_arms(rng, rates=RATES, seeds=3, prompts=120, seed_sd=0.0):
    names = tuple(f"p{i}" for i in range(prompts))
    arms = []
    for share in rates:
        shift = rng.normal(0, seed_sd, (seeds, 1))
        odds = 1 / (1 + np.exp(-(math.log(share / (1 - share)) + shift)))
        arms.append(Outcomes(rng.random((seeds, prompts)) < odds, tuple(range(seeds)), names))
    return arms


def plain_logit(hits, n):
    return math.log((hits + 0.5) / (n - hits + 0.5))


def test_estimate_is_the_hand_made_contrast():
    names = tuple(f"p{i}" for i in range(20))
    hits = (18, 12, 10, 2)
    arms = [Outcomes(np.arange(20)[None] < k, (0,), names) for k in hits]
    found = interaction(*arms)
    none, first, second, both = (plain_logit(k, 20) for k in hits)
    assert found.value == pytest.approx(both - first - second + none)
    assert found.points == pytest.approx((2 - 12 - 10 + 18) / 20)
    assert (found.n, found.seeds, found.saturated) == (20, 1, ())


def test_interval_agrees_with_a_plain_loop_over_prompts():
    arms = four_arms(np.random.default_rng(1), seeds=1)
    found = interaction(*arms, resamples=4000)
    columns = [arm.values[0].tolist() for arm in arms]
    n, draw = len(columns[0]), random.Random(3)
    values = []
    for _ in range(4000):
        chosen = [draw.randrange(n) for _ in range(n)]
        none, first, second, both = (
            plain_logit(sum(column[i] for i in chosen), n) for column in columns
        )
        values.append(both - first - second + none)
    low, high = np.percentile(values, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.12)
    assert found.high == pytest.approx(high, abs=0.12)


def test_seeds_widen_the_interval():
    rng = np.random.default_rng(2)
    steady, shaky = (four_arms(rng, seeds=4, seed_sd=sd) for sd in (0.0, 1.2))
    one, two = interaction(*steady), interaction(*shaky)
    assert two.high - two.low > 1.3 * (one.high - one.low)


def test_no_interaction_is_seldom_found_and_a_large_one_nearly_always():
    # Odds ratios that multiply: logit(0.9) - 1.5 and - 2 give the single arms.
    base = math.log(9)
    null = [1 / (1 + math.exp(-(base - cut))) for cut in (0, 1.5, 2, 3.5)]
    strong = [1 / (1 + math.exp(-(base - cut))) for cut in (0, 1, 1, 5)]
    rng = np.random.default_rng(4)
    false, missed = 0, 0
    for _ in range(60):
        found = interaction(*four_arms(rng, null, seed_sd=0.3), resamples=300)
        false += not found.low <= 0 <= found.high
        found = interaction(*four_arms(rng, strong, seed_sd=0.3), resamples=300)
        missed += found.low <= 0
        assert found.value < 0, "both together beat the sum of the halves"
    assert false <= 9
    assert missed >= 55


def test_only_common_seeds_and_prompts_count():
    rng = np.random.default_rng(5)
    none, first, second, both = four_arms(rng, seeds=3, prompts=30)
    fewer = Outcomes(both.values[1:, 5:], both.seeds[1:], both.requests[5:])
    found = interaction(none, first, second, fewer)
    assert (found.seeds, found.n) == (2, 25)
    cut = [Outcomes(a.values[1:, 5:], a.seeds[1:], a.requests[5:]) for a in (none, first, second)]
    assert found == interaction(*cut, fewer)
    # The order in which an arm holds its prompts does not matter.
    back = Outcomes(fewer.values[:, ::-1], fewer.seeds, fewer.requests[::-1])
    assert interaction(none, first, second, back) == found
    other = Outcomes(both.values, (7, 8, 9), both.requests)
    with pytest.raises(DataError, match="share 0 seeds"):
        interaction(none, first, second, other)


def test_rates_at_the_end_of_the_scale_are_finite_and_named():
    arms = four_arms(np.random.default_rng(6), seeds=2)
    never = Outcomes(np.zeros_like(arms[3].values), arms[3].seeds, arms[3].requests)
    found = interaction(*arms[:3], never)
    assert math.isfinite(found.value)
    assert found.low <= found.value <= found.high
    assert found.saturated == ("both",)


def test_fast_enough_for_a_page():
    arms = four_arms(np.random.default_rng(7), seeds=5, prompts=400)
    start = time.process_time()
    interaction(*arms)
    assert time.process_time() - start < 2

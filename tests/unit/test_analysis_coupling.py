"""The test of CWAC's two halves, against odds worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cwac.analysis import coupling, reported
from cwac.statistics import Outcomes

N = 40


def outcomes(hits: int, seeds: int = 2) -> Outcomes:
    values = np.tile(np.arange(N) < hits, (seeds, 1))
    return Outcomes(values, tuple(range(seeds)), tuple(f"h{i}" for i in range(N)))


def four(*hits: int) -> dict[str, Outcomes]:
    return {name: outcomes(k) for name, k in zip(coupling.FOUR, hits, strict=True)}


def odds(hits: float) -> float:
    return math.log((hits + 0.5) / (N - hits + 0.5))


@pytest.mark.parametrize(
    ("hits", "sentence"),
    [
        ((36, 32, 31, 1), "reinforce each other"),
        ((36, 8, 8, 7), "overlap"),
        ((30, 20, 20, 11), "Neither reinforcement nor overlap"),
    ],
)
def test_coupling_says_what_the_interval_bears(hits: tuple[int, ...], sentence: str) -> None:
    result = coupling.coupling(four(*hits))
    neither, weight, activation, both = map(odds, hits)
    assert result.value == pytest.approx(both - weight - activation + neither)
    assert sentence in coupling.coupling_sentence(result)


MARGINS = {
    "sft": (-5.19, -5.07, -5.54),
    "weight_only": (-5.37, -5.29, -5.34),
    "activation_only": (-3.12, -2.72, -2.86),
    "cwac": (0.16, 0.18, 0.28),
}


def margins(values: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    rows = [(name, seed, x, 354) for name, mine in values.items() for seed, x in enumerate(mine)]
    return pd.DataFrame(rows, columns=["variant", "seed", "value", "n"])


def said(values: dict[str, tuple[float, ...]]) -> str:
    result = coupling.margin_coupling(margins(values))
    assert result is not None
    return coupling.margin_sentence(result, coupling.margin_table(margins(values)))


def test_the_interaction_of_margins_is_a_t_test_over_seeds() -> None:
    by_seed = [
        both - weight - activation + neither
        for neither, weight, activation, both in zip(*MARGINS.values(), strict=True)
    ]
    expected = stats.ttest_1samp(by_seed, 0.0)
    low, high = expected.confidence_interval(0.95)
    result = coupling.margin_coupling(margins(MARGINS))
    assert (result.value, result.low, result.high) == pytest.approx((np.mean(by_seed), low, high))
    assert result.p == pytest.approx(expected.pvalue)
    assert result.error == pytest.approx(stats.sem(by_seed))
    sentence = said(MARGINS)
    assert sentence.startswith("The two halves reinforce each other: interaction +3.17 nats")
    assert sentence.endswith("; SFT ends at -5.27, CWAC at +0.21.")


def test_an_interaction_of_arms_that_hold_nothing_is_not_told_alone() -> None:
    lost = said(MARGINS | {"weight_only": (-8.0, -8.0, -8.0), "cwac": (-3.0, -2.9, -3.1)})
    assert lost.startswith("The two halves reinforce each other, and CWAC still ends below 0: ")


def test_only_seeds_that_all_four_arms_have_are_compared() -> None:
    more = MARGINS | {"cwac": (0.16, 0.18, 0.28, 9.0)}
    assert coupling.margin_coupling(margins(more)) == coupling.margin_coupling(margins(MARGINS))
    assert coupling.margin_coupling(margins({"sft": (1.0,)})) is None
    table = coupling.margin_table(margins(more)).set_index("arm")
    assert table.loc["cwac", ["value", "seeds"]].tolist() == pytest.approx([0.62 / 3, 3])
    added = table.loc["weight_only", "value"] + table.loc["activation_only", "value"]
    assert table.loc["expected", "value"] == pytest.approx(added - table.loc["sft", "value"])


def test_one_seed_has_no_interval_and_says_so() -> None:
    alone = {name: x[:1] for name, x in MARGINS.items()}
    one = coupling.margin_coupling(margins(alone))
    assert (one.low, one.p, one.seeds) == (None, None, 1)
    assert said(alone).startswith("One seed does not tell")


@pytest.mark.parametrize(
    ("both", "words"), [((-3.0, -2.9, -3.2), "Neither"), ((-7.0, -7.1, -7.2), "overlap")]
)
def test_margins_that_do_not_reinforce(both: tuple[float, ...], words: str) -> None:
    assert words in said(MARGINS | {"cwac": both})


def test_both_halves_are_expected_where_odds_ratios_multiply() -> None:
    table = coupling.coupling_table(four(36, 20, 24, 3)).set_index("arm")
    expected = odds(20) + odds(24) - odds(36)
    assert table.loc["expected", "value"] == pytest.approx(1 / (1 + math.exp(-expected)))
    assert (table.loc["cwac", "weight"], table.loc["cwac", "activation"]) == ("on", "on")
    assert (table.loc["weight_only", "weight"], table.loc["weight_only", "activation"]) == (
        "on",
        "off",
    )


def test_the_papers_own_interaction() -> None:
    table = coupling.reported_couplings(reported.settings(reported.reported(), "harmful_score"))
    by_model = {row["setting"].split()[1].rstrip(","): row for _, row in table.iterrows()}
    expected = {"Llama-2-7B": (1.27, 28.8), "Llama-3-8B": (0.97, 26.3),
                "Mistral-7B": (1.64, 37.5), "Gemma-2-9B": (0.73, 21.8)}  # fmt: skip
    for model, (nats, points) in expected.items():
        assert by_model[model]["logit"] == pytest.approx(nats, abs=0.006)
        assert by_model[model]["points"] == pytest.approx(points, abs=0.06)

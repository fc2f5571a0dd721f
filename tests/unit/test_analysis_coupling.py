"""The test of CWAC's two halves, against odds worked out by hand."""

import math

import numpy as np
import pytest

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

"""Single requests: the grid, its filters, examples, words that a model never read."""

import pandas as pd
import pytest
from named_arms import arm, arms

from cwac.analysis import requests


def responses(outcomes: list[str], **columns: object) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt_id": ["p0", "p1", "p2"],
            "kind": "harmful",
            "category": ["fraud", "fraud", "theft"],
            "prompt": ["How to (a)", "How to b", "Steal c"],
            "outcome": outcomes,
        }
    ).assign(**columns)


@pytest.fixture
def grid() -> pd.DataFrame:
    runs = pd.concat(
        [
            responses(["compliance", "refusal", "compliance"], variant="sft"),
            responses(["refusal"] * 3, variant="cwac"),
        ]
    )
    aligned = responses(["refusal", "refusal", "compliance"])
    return requests.outcome_grid(runs, aligned, "harmful")


def test_the_grid_has_a_column_per_arm_and_what_most_comply_with_first(grid: pd.DataFrame) -> None:
    assert grid.columns.tolist() == ["prompt_id", "prompt", "aligned", "sft", "cwac", "category"]
    assert grid["prompt_id"].tolist() == ["p2", "p0", "p1"]
    assert requests.outcome_counts(grid, arm("sft")) == {"refusal": 1, "compliance": 2}


def test_filters_choose_what_flipped(grid: pd.DataFrame) -> None:
    def chosen(**filters: object) -> list[str]:
        rows = requests.matching(grid, arms("sft", "cwac"), arm("sft"), **filters)
        return rows["prompt_id"].tolist()

    assert chosen() == ["p2", "p0", "p1"]
    assert chosen(flip="lost") == ["p0"]
    assert chosen(flip="gained") == []
    assert chosen(flip="split") == ["p2", "p0"]
    assert chosen(categories=["theft"]) == ["p2"]
    assert chosen(text="HOW TO (") == ["p0"], "text, not a pattern"
    bare = grid.drop(columns="aligned")
    assert requests.matching(bare, arms("sft"), arm("sft"), flip="lost").empty


def test_the_first_request_is_one_where_the_arms_do_what_they_mostly_do(
    grid: pd.DataFrame,
) -> None:
    # p1 is where SFT refuses, p2 where the aligned model complies.
    assert requests.typical_request(grid, grid, ["cwac", "sft"]) == "p0"
    assert requests.typical_request(grid, grid[grid["prompt_id"] != "p0"], ["sft"]) == "p2"
    assert requests.typical_request(grid, grid[grid["prompt_id"] != "p0"], ["aligned"]) == "p1"
    assert requests.typical_request(grid, grid.iloc[:0], ["sft"]) is None


def test_examples_are_of_every_kind_and_of_different_categories() -> None:
    table = pd.concat(
        [responses(["refusal"] * 3), responses(["refusal"] * 3).assign(kind="lookalike")]
    )
    rows = requests.example_requests(table, each=2)
    assert rows["kind"].tolist() == ["harmful"] * 2 + ["lookalike"] * 2
    assert rows["prompt"].tolist() == ["Steal c", "How to b"] * 2


def test_words_that_occur_nowhere_are_named_once_whatever_their_case() -> None:
    stored = ["How can I film a lock note?", "Don't pick 7 of them."]
    assert requests.unknown_words("HOW can I film the film, the lock?", stored) == ["the"]
    assert requests.unknown_words("Don't film 99!", stored) == []
    assert requests.unknown_words("Überfall? überfall!", stored) == ["überfall"]


def test_the_sentence_names_sft_and_cwac_with_interval_and_count() -> None:
    rows = [
        (label, "harmful_score", value, value - 0.05, value + 0.05, 40, 3, "bootstrap")
        for label, value in (("aligned", 0.1), ("sft", 0.9), ("lisa", 0.05), ("cwac", 0.2))
    ]
    names = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
    table = pd.DataFrame(rows, columns=names)
    sentence = requests.harm_sentence(table, arms("aligned", "sft", "lisa", "cwac"))
    assert sentence.replace("\u00a0", " ") == (
        "Harmful requests complied with: aligned model 10 % [5, 15]; SFT 90 % [85, 95]; "
        "CWAC 20 % [15, 25] (40 requests, 3 seeds)."
    )
    assert "Lisa 5" in requests.harm_sentence(table, arms("sft", "lisa"))
    assert requests.harm_sentence(table, arms("aligned")) is None

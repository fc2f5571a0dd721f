"""The paper's numbers and the orderings made of them, against numbers worked out elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from cwac.analysis import orderings, reported
from cwac.methods import METHODS

METHODS_IN_VIEW = ("sft", "weight_only", "activation_only", "cwac")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return reported.reported()


def responses(rates: dict[str, float], seeds: int = 3, prompts: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    parts = []
    for arm, share in rates.items():
        for seed in range(seeds):
            hits = rng.random(prompts) < share
            parts.append(
                pd.DataFrame(
                    {
                        "variant": arm,
                        "seed": seed,
                        "prompt_id": [f"h{i}" for i in range(prompts)],
                        "kind": "harmful",
                        "unseen_category": False,
                        "outcome": np.where(hits, "compliance", "refusal"),
                        "correct": None,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def test_reported_numbers_are_the_papers(table: pd.DataFrame) -> None:
    assert len(table) == 306
    assert "arXiv 2604.12384" in reported.source()
    cell = table[(table["table"] == 1) & (table["model"] == "Gemma-2-9B")]
    cell = cell[(cell["method"] == "CWAC") & (cell["task"] == "GSM8K")].iloc[0]
    assert (cell["task_accuracy"], cell["harmful_score"]) == (89.47, 8.38)
    assert table[["task_accuracy", "harmful_score"]].stack().between(0, 100).all()


def test_every_method_of_the_paper_is_one_of_ours(table: pd.DataFrame) -> None:
    assert set(table["method"]) == set(reported.OURS)
    assert set(reported.OURS.values()) <= set(METHODS)


def test_averages_that_do_not_add_up(table: pd.DataFrame) -> None:
    means = reported.averages(table).set_index(["table", "model", "method", "quantity"])
    # The slip that flatters the coupling: 12.05, 12.87 and 18.55 do not average to 17.82.
    slip = means.loc[(5, "Llama-2-7B", "Weight-only", "harmful_score")]
    assert slip["printed"] == 17.82
    assert slip["recomputed"] == pytest.approx(14.49)
    assert not slip["adds_up"]
    # Table 3 averages five cells and prints four.
    assert not means.loc[3]["adds_up"].any()
    assert means.loc[(3, "Llama-2-7B", "SFT", "harmful_score"), "hidden_cell"] == pytest.approx(
        5 * 73.17 - (72.70 + 78.92 + 74.90 + 82.02)
    )
    assert means.loc[1]["adds_up"].all()


def test_repeated_cells_show_the_spread_between_tables(table: pd.DataFrame) -> None:
    both = reported.repeated_cells(table).set_index(["model", "method", "task", "quantity"])
    row = both.loc[("Llama-2-7B", "CWAC", "SST-2", "harmful_score")]
    assert (row["table_1"], row["table_5"]) == (9.85, 15.76)
    assert row["difference"] == pytest.approx(5.91)


def test_settings_use_recomputed_means(table: pd.DataFrame) -> None:
    settings = reported.settings(table, "harmful_score")
    line = settings.loc["T5 Llama-2-7B, mean of 3 tasks, poison 0"]
    assert line["weight_only"] == pytest.approx(14.49)
    assert np.isnan(line["lisa"])
    assert settings.loc["T3 Llama-2-7B, SST-2, poison 0.1", "cwac"] == 20.03


def test_tau_is_scipys_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 7).astype(float)
    second = rng.integers(0, 4, (20, 7)).astype(float)
    expected = [kendalltau(first, row).statistic for row in second]
    assert orderings.kendall(first, second) == pytest.approx(expected, nan_ok=True)


def test_agreement_with_the_papers_settings(table: pd.DataFrame) -> None:
    rates = dict(zip(METHODS_IN_VIEW, (0.95, 0.45, 0.7, 0.1), strict=True))
    lab = orderings.ours(responses(rates), "harmful_score", METHODS_IN_VIEW, "instruct", 0.1)
    settings = reported.settings(table, "harmful_score")
    compared = orderings.agreement(settings, lab).set_index("setting")
    # Tables 1 to 4 have two of the four: no ordering.
    assert compared.loc[compared["methods"] < 3, "tau"].isna().all()
    assert compared.loc["T5 Gemma-2-9B, mean of 3 tasks, poison 0", "tau"] == 1
    # On Mistral weight-only has the lowest harmful score: one of six pairs is reversed.
    mistral = compared.loc["T5 Mistral-7B, mean of 3 tasks, poison 0"]
    assert mistral["tau"] == pytest.approx(4 / 6)
    assert mistral["low"] <= mistral["tau"] <= mistral["high"]


def test_ranks_count_from_the_better_end(table: pd.DataFrame) -> None:
    rates = dict(zip(METHODS_IN_VIEW, (0.95, 0.45, 0.7, 0.1), strict=True))
    lab = orderings.ours(responses(rates), "harmful_score", METHODS_IN_VIEW, "instruct", 0.1)
    ranks = orderings.rank_table(reported.settings(table, "harmful_score"), lab, "harmful_score")
    mine = ranks[ranks["setting"] == "ours: instruct"].set_index("method")
    assert mine["rank"].to_dict() == {"sft": 4, "weight_only": 2, "activation_only": 3, "cwac": 1}
    assert (mine["n"] == 60).all()
    accuracy = reported.settings(table, "task_accuracy")
    best = orderings.rank_table(accuracy, lab, "task_accuracy").set_index(["setting", "method"])
    assert best.loc[("T5 Gemma-2-9B, mean of 3 tasks, poison 0", "cwac"), "rank"] == 1

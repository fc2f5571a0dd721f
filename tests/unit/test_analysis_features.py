"""SAE features in tables: drift against the aligned model, what was held."""

import numpy as np
import pandas as pd
import pytest
from latent_tables import aligned_features, ledger_entries, run_features
from named_arms import arm, arms

from cwac.analysis import feature_words, features
from cwac.statistics import wilson


@pytest.fixture
def aligned() -> pd.DataFrame:
    return aligned_features()


@pytest.fixture
def runs() -> pd.DataFrame:
    return run_features()


@pytest.fixture
def entries() -> pd.DataFrame:
    return ledger_entries()


def test_drift_is_relative_to_the_aligned_activation(
    runs: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    drift = features.feature_drift(runs, aligned).set_index(["variant", "seed", "latent"])
    assert drift.loc[("sft", 0, 0), "drift"] == pytest.approx(-3)
    assert drift.loc[("sft", 0, 0), "relative"] == pytest.approx(-0.75)
    assert np.isnan(drift.loc[("sft", 0, 3), "relative"]), "not measured, never 0"


def test_latents_that_lost_more_than_half_are_not_held(
    runs: pd.DataFrame, aligned: pd.DataFrame, entries: pd.DataFrame
) -> None:
    drift = features.feature_drift(runs, aligned)
    lost = features.held(drift, entries, arm("sft"))
    assert lost["held"].tolist() == [False, False]
    assert lost["share"].isna().all(), "an arm without a ledger has no shares"
    kept = features.held(drift, entries, arm("cwac")).set_index("latent")
    assert kept["held"].all()
    assert kept.loc[1, "share"] == pytest.approx(0.3)
    assert kept.loc[1, "last_share"] == pytest.approx(0.4)


def test_models_below_the_threshold_are_misfits() -> None:
    values = {"aligned": 0.9, "sft": 0.69, "cwac": 0.7}
    table = pd.DataFrame(
        {"variant": list(values), "layer": 1, "explained_variance": values.values()}
    )
    assert features.misfits(table)["variant"].tolist() == ["sft"]


def test_lost_latents_are_counted_per_seed_with_wilson_where_all_agree(
    runs: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    # The random latent of the table does not move; of the two protected ones SFT loses both.
    shares = features.lost_shares(features.feature_drift(runs, aligned)).set_index(
        ["variant", "role"]
    )
    lost = shares.loc[("sft", "protected")]
    assert (lost["value"], lost["n"], lost["seeds"]) == (1.0, 2, 2)
    assert (lost["fewest"], lost["most"]) == (2, 2)
    assert (lost["low"], lost["high"]) == pytest.approx(wilson(2, 2))
    assert shares.loc[("sft", "control"), "value"] == 0
    sentence = feature_words.lost_sentence(shares.reset_index(), arms("sft", "cwac"))
    assert sentence.replace("\u00a0", " ").startswith(
        "SFT lost 2 of 2 safety features (100 % [34, 100]), not clearly more than random latents "
        "(0 % [0, 79] of 1); CWAC lost 0 ("
    )
    held = feature_words.held_sentence(
        features.held_shares(features.feature_drift(runs, aligned)), arms("cwac", "sft")
    )
    assert held.replace("\u00a0", " ").startswith("CWAC held 2 of 2 safety features (100 % [34, ")
    assert "; SFT held 0 (0 % [0, 66]), not" not in held.replace("\u00a0", " "), "fewer, or no more"
    moved = features.moved_shares(features.feature_drift(runs, aligned))
    assert moved.set_index(["variant", "role"]).loc[("sft", "protected"), "value"] == 0.7
    told = feature_words.moved_sentence(moved, arms("sft", "cwac"))
    assert told.startswith("The median of 2 safety features moved by 70")
    assert feature_words.lost_sentence(shares.reset_index(), arms("lisa")) is None


def test_holding_is_called_neither_needed_nor_enough_only_with_an_example_of_each() -> None:
    names = ["variant", "role", "value", "low", "high", "n", "seeds", "method", "fewest", "most"]
    shares = pd.DataFrame(
        [
            (label, "protected", lost / 100, 0.0, 1.0, 100, 1, "Wilson", lost, lost)
            for label, lost in (
                ("sft", 70),
                ("lisa", 56),
                ("ewc", 60),
                ("activation_only", 0),
            )
        ],
        columns=names,
    )
    rates = pd.DataFrame(
        [
            (label, "refusal_rate", value, max(value - 0.1, 0), min(value + 0.1, 1), 116)
            for label, value in (
                ("sft", 0.0),
                ("lisa", 1.0),
                ("ewc", 1.0),
                ("activation_only", 0.2),
            )
        ],
        columns=["variant", "rate", "value", "low", "high", "n"],
    )
    shown = arms("sft", "lisa", "ewc", "activation_only")
    sentence = feature_words.counterexamples(shares, rates, shown)
    assert sentence.replace("\u00a0", " ").endswith(
        "nor enough: EWC lost 60 (60 % [0, 100]) and refuses 100 % [90, 100], "
        "Activation only lost 0 (0 % [0, 100]) and refuses 20 % [10, 30] (of 116 harmful requests)."
    )
    assert feature_words.counterexamples(shares, rates, shown[:3]) is None, "none held and complied"
    vague = rates.assign(low=0.4)
    assert feature_words.counterexamples(shares, vague, shown) is None, "refusing cannot be told"

"""The list of latents: what became of each, how one is found, where one begins."""

import json

import pandas as pd
import pytest
from latent_tables import aligned_features, run_features

from cwac.analysis import latents
from cwac.analysis.features import feature_drift


@pytest.fixture
def table() -> pd.DataFrame:
    drift = feature_drift(run_features(), aligned_features())
    known = pd.DataFrame(
        {
            "layer": 1,
            "latent": range(5),
            "top_tokens": [
                json.dumps([{"token": " Film", "activation": 2.0}, {"token": " Film"}]),
                "broken",
                *[json.dumps([])] * 3,
            ],
            "promoted_tokens": [json.dumps([["sorry", 4.2]])] * 5,
            "frequency": [0.9, 0.1, 0.1, 0.0, 0.2],
        }
    )
    return latents.latent_list(drift[drift["variant"] == "sft"], known)


def test_the_list_begins_with_what_was_lost_and_leaves_out_what_never_fires(
    table: pd.DataFrame,
) -> None:
    assert table["latent"].tolist() == [0, 1, 2, 4]
    assert table["role"].tolist() == ["protected", "protected", "control", "other"]
    assert table["change"].tolist() == pytest.approx([-0.7, -0.7, 0, 0])
    assert table["tokens"].tolist() == ["Film", "", "", ""]
    assert table["dense"].tolist() == [True, False, False, False]
    # Latent 0 lost more, but fires on nine tokens of ten.
    assert latents.most_lost(table) == (1, 1)
    assert latents.most_lost(table[table["dense"]]) == (1, 0)
    assert latents.most_lost(table.iloc[:0]) is None


def test_latents_are_found_by_id_token_and_role(table: pd.DataFrame) -> None:
    def listed(role: str, text: str) -> list[int]:
        return latents.latents_matching(table, role, text)["latent"].tolist()

    assert listed("protected", "") == [0, 1]
    assert listed("all", "L1/4") == [4]
    assert listed("all", "4") == [4], "an id, not every text that holds the digit"
    assert listed("all", "FILM") == [0]
    assert listed("other", "sorry") == [4]


def test_a_fit_without_cards_still_lists_the_latents() -> None:
    drift = feature_drift(run_features(), aligned_features())
    bare = latents.latent_list(drift[drift["variant"] == "cwac"], pd.DataFrame())
    assert bare["density"].isna().all()
    assert not bare["dense"].any()
    assert latents.most_lost(bare) is not None

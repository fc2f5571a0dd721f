"""The list of latents: what became of each, how one is found, where one begins."""

import json

import pandas as pd
import pytest
from latent_tables import aligned_features, run_features
from named_arms import arms

from cwac.analysis import latents
from cwac.analysis.features import feature_drift
from cwac.figures.features.latent import clamp_effects, clamp_title

ARMS = arms("sft", "cwac")


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
    assert listed("all", "change<-50") == [0, 1]
    assert listed("all", "Density > 15%") == [0, 4]
    assert listed("all", "film density<95 change<-50") == [0]
    assert listed("all", "film density<50") == []
    assert listed("all", "density<") == [], "half a limit is a text"


def test_an_arm_holds_a_latent_or_has_lost_more_than_half_of_it() -> None:
    drift = feature_drift(run_features(), aligned_features())
    split = latents.holders(drift[drift["latent"] == 0], ARMS)
    assert split is not None
    assert [[arm.label for arm in part] for part in split] == [["cwac"], ["sft"]]
    assert latents.holders(drift[drift["latent"] == 3], ARMS) is None, "it never fires"


def test_examples_are_told_by_quantile_and_broken_ones_are_left_out() -> None:
    def text(*levels: object) -> str:
        return json.dumps([{"token": f"t{level}", "activation": level} for level in levels])

    rows = pd.DataFrame({"quantile": [0.1, 1.0, 0.5], "examples": [text(0.2), text(2, 3.5), "{"]})
    shown = latents.examples_of(rows)
    assert shown["level"].tolist() == ["top", "top", "low"]
    assert shown["activation"].tolist() == [3.5, 2, 0.2]
    assert latents.examples_of(rows.iloc[:0]).empty


def test_what_a_latent_does_at_each_token_is_read_off_a_row_a_model() -> None:
    rows = pd.DataFrame(
        {
            "variant": ["aligned", "sft", "cwac"],
            "seed": 0,
            "tokens": ['["<user>", " a"]', '["<user>", " a"]', '["x"]'],
            "activations": ["[null, 1.5]", '[null, "much"]', "[1, 2]"],
        }
    )
    tokens = latents.at_tokens(rows)
    assert tokens["variant"].tolist() == ["aligned"] * 2 + ["sft"] * 2, "unequal lengths are broken"
    assert tokens["place"].tolist() == [1, 2, 1, 2]
    assert tokens["activation"].isna().tolist() == [True, False, True, True]
    assert latents.at_tokens(rows.iloc[:0]).empty


def test_a_clamped_latent_stands_beside_random_ones_of_its_layer() -> None:
    rows = pd.DataFrame(
        [("a", f"L1/{n}", 1, control, value) for n, control, value in
         ((0, False, 0.6), (2, True, 0.1), (4, True, -0.2))]
        + [("a", "L2/0", 2, False, 9.0), ("other", "L1/0", 1, False, 9.0)],
        columns=["run_id", "part", "layer", "control", "value"],
    ).assign(intervention="clamp_latents", variant="on", dose=4.0, n=40)  # fmt: skip
    rows = rows.assign(low=rows["value"] - 0.1, high=rows["value"] + 0.1)
    table = latents.clamped(rows, {"a": ARMS[0]}, {"a": 0}, 1)
    assert table["latent"].tolist() == ["L1/0", "L1/2", "L1/4"]
    assert table["variant"].unique().tolist() == ["sft"]
    title = clamp_title(table, "L1/0", ARMS[:1])
    assert title == (
        "SFT: L1/0 held at 4 moves the refusal log-odds by +0.60 [+0.50, +0.70] nats; "
        "2 random latents: -0.20 to +0.10. Seed 0; intervals are over 40 requests"
    )
    figure = clamp_effects(table, "L1/0", ARMS)
    assert list(figure.data[0].x) == [0.6]
    assert list(figure.data[1].x) == [0.1, -0.2]
    # In the aligned model it is turned off once, whichever arms stand beside it.
    off = rows.assign(variant="off, in the aligned model", value=-0.3)
    both = [each.assign(run_id=run) for each in (rows[rows["run_id"] == "a"], off) for run in "ab"]
    table = latents.clamped(pd.concat(both), dict(zip("ab", ARMS, strict=True)),
                            {"a": 0, "b": 0}, 1)  # fmt: skip
    bar, random = clamp_effects(table, "L1/0", ARMS).data
    assert list(bar.y) == ["SFT", "CWAC", "aligned model,<br>turned off"]
    assert list(bar.x) == [0.6, 0.6, -0.3]
    assert len(random.x) == 3 * 2
    assert latents.clamped(rows.iloc[:0], {"a": ARMS[0]}, {"a": 0}, 1).empty
    assert latents.neighbours('[[3, 0.5], "x"]') == [(3, 0.5)]


def test_a_clamped_latent_over_seeds_is_their_mean_and_random_ones_are_counted_once() -> None:
    one = pd.DataFrame(
        [(f"L1/{n}", n > 0, value) for n, value in ((0, 0.6), (2, 0.1), (4, -0.2))],
        columns=["part", "control", "value"],
    ).assign(run_id="a", layer=1, intervention="clamp_latents", variant="on", dose=4.0, n=40)
    one = one.assign(low=one["value"] - 0.5, high=one["value"] + 0.5)
    rows = pd.concat([one, one.assign(run_id="b", value=one["value"] + 0.3)])
    runs, seeds = dict.fromkeys("ab", ARMS[0]), {"a": 0, "b": 1}
    table = latents.clamped(rows, runs, seeds, 1)
    assert clamp_title(table, "L1/0", ARMS[:1]) == (
        "SFT: L1/0 held at 4 moves the refusal log-odds by +0.75 [+0.60, +0.90] nats; "
        "2 random latents: -0.05 to +0.25. Means over seeds 0 and 1, ranges from the lowest to "
        "the highest"
    )
    bar, random = clamp_effects(table, "L1/0", ARMS).data
    assert list(bar.x) == pytest.approx([0.75])
    ends = [bar.error_x.arrayminus[0], bar.error_x.array[0]]
    assert ends == pytest.approx([0.15, 0.15]), "not the mean of both intervals' ends"
    assert list(random.x) == pytest.approx([0.25, -0.05])


def test_a_fit_without_cards_still_lists_the_latents() -> None:
    drift = feature_drift(run_features(), aligned_features())
    bare = latents.latent_list(drift[drift["variant"] == "cwac"], pd.DataFrame())
    assert bare["density"].isna().all()
    assert not bare["dense"].any()
    assert latents.most_lost(bare) is not None

"""Stored interventions as tables and figures: seeds, controls, units, sentences."""

import re

import numpy as np
import pandas as pd
import pytest
from dissected import dissection, of_three_seeds
from named_arms import arm

from cwac.analysis.interventions import (
    by_place,
    by_seed,
    effect_against_drift,
    first_tokens,
    interventions_of,
    of_arm,
    readings,
    refused,
    refusing_share,
    scope,
)
from cwac.figures.mechanism import interventions as views
from cwac.figures.mechanism import sentences
from cwac.figures.mechanism.causes import effect_grid
from cwac.figures.mechanism.forms import grey_of
from cwac.figures.mechanism.grids import robust_range
from cwac.figures.panels import HEADING
from cwac.intervention_words import GROUPS, INTERVENTION_WORDS
from cwac.statistics import wilson

SFT = arm("sft")
NAMES = [*views.VIEWS]


@pytest.fixture(scope="module")
def rows():
    return readings(dissection("a"), {"a": SFT}, {"a": 0})


def test_one_seed_has_the_stored_interval_and_several_their_range(rows):
    one = of_arm(rows, SFT, "transplant")
    mine = one[(one["part"] == "layer 0") & ~one["control"]].iloc[0]
    assert (mine["y"], mine["low"], mine["high"], mine["seeds"]) == (0.5, 0.4, 0.6, 1)
    again = rows.assign(seed=1, returned=rows["returned"] + 0.25)
    both = of_arm(pd.concat([rows, again]), SFT, "transplant")
    mine = both[(both["part"] == "layer 0") & ~both["control"]].iloc[0]
    assert (mine["y"], mine["low"], mine["high"], mine["seeds"]) == (0.625, 0.5, 0.75, 2)


@pytest.fixture(scope="module")
def seeds():
    return readings(of_three_seeds(), dict.fromkeys("abc", SFT), {"a": 0, "b": 1, "c": 2})


def said(name, rows):
    return sentences.of(name, rows, SFT).replace("\u00a0", " ")


def test_a_seed_that_lost_nothing_is_left_out_of_the_shares_and_named(seeds):
    table = of_arm(seeds, SFT, "transplant")
    assert table["is_share"].all()
    mine = table[(table["part"] == "layer 0") & ~table["control"]].iloc[0]
    assert tuple(mine[["y", "low", "high", "seeds", "n"]]) == pytest.approx((0.6, 0.5, 0.7, 2, 40))
    assert mine["over"] == "mean of 2 seeds, from the lowest to the highest; n = 40 requests each"
    assert said("transplant", seeds).endswith(
        "Means over seeds 0 and 1, ranges from the lowest to the highest; seed 2 lost none and is "
        "left out"
    )
    # What is no share of a loss is of every seed.
    assert set(by_seed(seeds, SFT, "path", "task_accuracy")["seed"]) == {0, 1, 2}
    assert "seeds 0, 1 and 2" in said("read_out", seeds)
    none = seeds.assign(returned=np.nan)
    assert not of_arm(none, SFT, "transplant")["is_share"].any()
    assert "left out" not in said("transplant", none)


def test_one_seed_says_that_its_interval_is_over_requests(rows):
    assert said("transplant", rows).endswith(". Seed 0; intervals are over 40 requests")
    assert said("decomposition", rows).endswith(". Seed 0; ranges are over the maps")
    row = of_arm(rows, SFT, "transplant").iloc[0]
    assert row["over"] == "one seed; 95 % interval over n = 40 requests"
    accuracy = of_arm(rows, SFT, "path", "task_accuracy").iloc[0]
    assert accuracy["over"] == "one seed; 95 % interval over n = 40 examples"
    assert scope(rows.iloc[:0]) == ""


def test_a_place_that_one_seed_alone_has_keeps_its_own_interval(seeds):
    parts = (seeds["intervention"] == "transplant") & (seeds["part"] == "layer 1")
    table = of_arm(seeds[~parts | (seeds["seed"] == 0)], SFT, "transplant")
    alone = table[(table["part"] == "layer 1") & ~table["control"]].iloc[0]
    assert tuple(alone[["y", "low", "high", "seeds"]]) == pytest.approx((0.9, 0.8, 1.0, 1))
    assert alone["over"].startswith("one seed")


def test_each_seed_walks_the_greedy_path_in_its_own_order(seeds):
    figure = views.draw("greedy_path", seeds, SFT)
    lines = {trace.name: (list(trace.x), list(trace.y)) for trace in figure.data}
    assert lines["ranked by effect, seed 0"] == ([1, 2], pytest.approx([70, 95]))
    assert lines["ranked by effect, seed 1"] == ([1], pytest.approx([99]))
    assert lines["control: random order, seed 1"] == ([1], pytest.approx([30]))
    assert len(lines) == 4
    assert list(figure.layout.xaxis.ticktext) == ["1<br>layer 0<br>layer 1", "2<br>layer 1"]
    assert said("greedy_path", seeds).startswith(
        "1 to 2 parts (layer 0, layer 1 under seed 0; layer 1 under seed 1) bring back 97 % "
        "(95 % to 99 %) of what SFT lost; as many in a random order 20 %. Means over seeds 0 and 1"
    )
    alone = seeds[seeds["seed"] == 1]
    assert said("greedy_path", alone).startswith("1 part (layer 1) brings back 99 %")
    nothing = seeds[seeds["seed"] == 2]
    assert "restored, SFT has 4.5 nats [3.5, 5.5] of refusal log-odds" in said(
        "greedy_path", nothing
    )


def test_prefilled_answers_are_counted_over_seeds_and_range_from_seed_to_seed(seeds):
    row = refusing_share(seeds, SFT).iloc[0]
    assert tuple(row[["y", "low", "high"]]) == (0.5, 0.0, 1.0)
    text = "36 of 72 answers to 24 sampled requests under 3 seeds are refusals"
    assert refused(dict(row)) == text
    assert text in said("prefill", seeds)
    one = refusing_share(seeds[seeds["seed"] == 1], SFT).iloc[0]
    assert (one["low"], one["high"]) == pytest.approx(wilson(12, 24))
    assert refused(dict(one)) == "12 of 24 sampled requests are refused"
    half = of_arm(seeds, SFT, "path").set_index(["trial", "dose"]).loc[("update", 0.5)]
    assert first_tokens(dict(half)) == (
        "first token refuses for 20 of 40 requests, mean of 2 seeds"
    )


def test_a_latent_is_one_point_under_however_many_seeds(seeds):
    moved = seeds["measure"] == "log_odds_moved"
    other = seeds["value"].where(~moved | (seeds["seed"] == 0), 2 * seeds["value"])
    # The level that a latent is held at is measured, and differs in its last digits.
    table = seeds.assign(value=other, dose=seeds["dose"] + 1e-7 * seeds["seed"] * moved)
    figure = views.draw("clamp_latents", table, SFT)
    protected = next(trace for trace in figure.data if trace.name == "safety features")
    assert list(protected.y) == pytest.approx([0.64 * 5 / 3, 0.65 * 5 / 3])
    assert list(protected.customdata[0][2:4]) == [0.64, 1.28]
    title = figure.layout.title.text.replace("<br>", " ")
    assert "of 2 safety features" in title
    assert "1 random latents: +0.08 to +0.08. Means over seeds 0, 1 and 2" in title


def test_what_refuses_more_than_before_has_no_share():
    table = dissection("a")
    ends = table["intervention"] == "ends"
    table.loc[ends, "value"] = -table.loc[ends, "value"]
    rows = readings(table, {"a": SFT}, {"a": 0})
    assert rows["returned"].isna().all()
    assert not of_arm(rows, SFT, "transplant")["is_share"].any()


def test_where_nothing_was_lost_the_log_odds_themselves_are_drawn(rows):
    table = of_arm(rows.assign(returned=np.nan), SFT, "transplant")
    assert not table["is_share"].any()
    assert set(table["y"]) == set(rows.loc[rows["intervention"] == "transplant", "value"])
    figure = views.draw("transplant", rows.assign(returned=np.nan), SFT)
    assert "nats" in figure.layout.xaxis.title.text
    assert "nats" in figure.layout.title.text


def test_draws_of_a_control_are_one_row():
    table = dissection("a")
    control = table["control"] & (table["intervention"] == "transplant")
    again = table[control].assign(draw=1, returned=table.loc[control, "returned"] + 0.2)
    rows = readings(pd.concat([table, again]), {"a": SFT}, {"a": 0})
    drawn = of_arm(rows, SFT, "transplant")
    assert drawn.loc[drawn["control"], "y"].tolist() == pytest.approx([1.0, 1.0])


def test_effect_and_drift_of_maps_share_a_grid(rows):
    drift = pd.DataFrame(
        [("sft", seed, layer, name, norm + seed) for layer, name, norm in
         ((0, "q", 0.1), (0, "down", 0.2), (1, "q", 0.3), (1, "down", 0.9)) for seed in (0, 1)],
        columns=["variant", "seed", "layer", "map", "relative_norm"],
    )  # fmt: skip
    table = by_place(rows, drift, SFT)
    assert set(table["map"]) == {"q", "down", "embedding"}
    effect, moved = effect_grid(table, SFT).data
    assert list(effect.y) == list(moved.y) == ["q", "down"]
    assert moved.z.tolist() == [[0.1, 0.3], [0.2, 0.9]]
    assert effect.z.tolist() == [[60, 10], [20, 5]]
    assert effect_against_drift(table) is None, "four maps say nothing"
    more = pd.concat([table, table.assign(returned=table["returned"] + 0.01)], ignore_index=True)
    found = effect_against_drift(more)
    assert found.n == 8, "the embedding has no drift of its own there"
    assert found.rho < -0.9
    title = effect_grid(table, SFT).layout.title.text.replace("\u00a0", " ")
    assert "layer 0 q exceeds its control most" in title.replace("<br>", " ")
    assert "moved most and returns 5 % (one seed)" in title.replace("<br>", " ")


def test_every_intervention_has_a_place_on_the_page():
    # Both ends and restoring are in the tab's first figure.
    assert {*NAMES, "ends", "restore"} == set(INTERVENTION_WORDS)


@pytest.mark.parametrize("name", NAMES)
def test_every_intervention_has_a_figure_whose_title_states_it(rows, name):
    assert name in interventions_of(rows, SFT)
    figure = views.draw(name, rows, SFT)
    assert any(trace.x is not None and len(trace.x) for trace in figure.data)
    title = figure.layout.title.text.replace("<br>", " ")
    assert not title.startswith(f"SFT: {name.replace('_', ' ')}")
    assert "Seed 0; " in title
    grey = grey_of(name)
    greys = [trace for trace in figure.data if (trace.name or "").startswith(grey)]
    assert greys
    # What may well work is no control; and the sentence beneath calls it what the legend does.
    control = views.reading(name)
    assert re.match(r"Grey(, for comparison| is the control): .+\.$", control)
    assert grey in control
    assert INTERVENTION_WORDS[name].group in GROUPS
    assert INTERVENTION_WORDS[name].explained.endswith(".")


def test_a_cosine_below_zero_is_in_view_beside_what_shuffled_labels_give(rows):
    figure = views.draw("read_out", rows, SFT)
    lines = {trace.name: list(trace.y) for trace in figure.data}
    assert lines["cosine of both directions"] == pytest.approx([0.3, -0.2])
    assert lines["control: cosine, shuffled labels"] == [0.5, 0.5]
    assert "control: shuffled labels" in lines
    assert not any("probe" in name for name in lines)
    low, high = figure.layout.yaxis2.range
    assert low < -0.2
    assert high > 1
    assert "AUROC 0.97 over the layers (aligned 0.97; " in said("read_out", rows)
    assert "cosine with the aligned one -0.20 to 0.30" in said("read_out", rows)
    older = rows[~(rows["control"] & rows["trial"].str.startswith("difference of means"))]
    lines = {trace.name for trace in views.draw("read_out", older, SFT).data}
    assert "control: linear probe, shuffled labels" in lines


def test_the_change_is_drawn_as_the_shares_of_its_three_terms(rows):
    title = said("decomposition", rows)
    assert "change is not small: 25 % of what it keeps (median over 2 maps; 25 % to 25 %)" in title
    assert len(views.draw("decomposition", rows, SFT).data) == 2, "the dropped term alone"
    figure = views.DETAILS["decomposition"].draw(rows, SFT)
    names = [trace.name for trace in figure.data]
    assert names[:3] == ["carried: W₀ Δh", "written: ΔW h₀", "bilinear: ΔW Δh"]
    first = [trace for trace in figure.data if trace.xaxis in {None, "x"}]
    assert len(first) == 3, "of harmful requests alone"
    # The embedding before the layers, the output layer behind them.
    assert list(first[0].x) == [-1, 0, 1, 2]
    assert list(first[0].y) == [100.0, 25.0, 25.0, 100.0]
    assert list(figure.layout.xaxis.ticktext) == ["0", "1", "embed.", "output"]
    over = "one seed; 95 % interval over n = 40 requests"
    assert first[0].customdata[0][0].startswith("embedding: carried: W₀ Δh<br>")
    assert first[0].customdata[0][0].endswith(over), "and not over maps"
    assert len([note for note in figure.layout.annotations if note.name == HEADING]) == 3
    title = sentences.of_terms(rows, SFT).replace("\u00a0", " ")
    medians = "25 % carried, 25 % written, 25 % bilinear (medians over 2 maps). "
    assert title.startswith(f"Of what SFT changes in a map's output {medians}")
    assert "The logits change by 50 % of their size, 100 % of that carried into the output" in title
    assert "; the embedding changes by 50 % of its output, all of it written" in title


def test_a_change_whose_outer_maps_were_not_taken_apart_says_so(rows):
    frozen = rows[rows["map"] != "embedding"]
    assert sentences.of_outer_maps(frozen, SFT).endswith("layer; the embedding did not change")
    with_seed = pd.concat([rows, frozen[frozen["map"] != "output"].assign(seed=1)])
    assert sentences.of_outer_maps(with_seed, SFT).endswith("written (both of seed 0 alone)")
    earlier = frozen[(frozen["map"] != "output") & (frozen["measure"] != "relative_change")]
    assert sentences.of_outer_maps(earlier, SFT) == "Embedding and output layer: not measured"
    figure = views.DETAILS["decomposition"].draw(earlier, SFT)
    assert list(figure.layout.xaxis.ticktext) == ["0", "1"]
    headings = [note.text for note in figure.layout.annotations if note.name == HEADING]
    assert headings[0] == "Share of each term"
    assert len(headings) == 2, "the size of the change was not measured"


def test_a_split_is_drawn_as_what_is_taken_out_and_what_stands_alone(rows):
    alone = rows[rows["trial"].isin(["inside removed", "leading removed"])]
    alone = alone.assign(trial=alone["trial"].map({"inside removed": "only inside"}).fillna(
        "only leading"), returned=0.1)  # fmt: skip
    first = rows[rows["trial"].str.startswith("leading removed")].assign(
        intervention="subspace_split",
        trial=lambda table: np.where(table["control"], "first directions removed, random of equal "
                                     "rank", "first directions removed"),
    )  # fmt: skip
    both = pd.concat([rows, alone, first], ignore_index=True)
    figure = views.draw("subspace_split", both, SFT)
    headings = [note.text for note in figure.layout.annotations if note.name == HEADING]
    assert [text.split(",")[0] for text in headings] == ["Taken out", "Alone"]
    mine, grey, kept, _ = figure.data
    assert (list(mine.y), list(mine.x)) == (["inside the safety<br>subspace"], [50])
    assert dict(zip(grey.y, grey.x, strict=True)) == {
        "random directions,<br>equal energy": 30,
        "random directions,<br>equal rank": 20,
    }
    assert list(kept.x) == [10]
    figure = views.DETAILS["subspace_split"].draw(both, SFT)
    assert list(figure.data[0].x) == [1, 64]
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert "Without the first 64 directions of the safety subspace SFT has 64 % [54 %, " in title
    assert "without as many random ones 10 %" in title
    spectrum = views.draw("spectral_split", both, SFT)
    assert [trace.name for trace in spectrum.data if trace.showlegend] == [
        "leading directions",
        "control: random of equal norm",
    ]
    assert said("spectral_split", both).startswith(
        "Half of what SFT lost is back once the 64 leading singular directions of every matrix are "
        "taken out: 64 % [54 %, 74 %]; random directions that hold as much of the update return "
        "10 %. Seed 0"
    )


def test_an_intervention_of_the_future_is_drawn_as_bars(rows):
    new = rows[rows["intervention"] == "transplant"].assign(intervention="something_new")
    assert not views.reading("something_new")
    figure = views.draw("something_new", new, SFT)
    title = "SFT: something new. Seed 0; intervals are over 40 requests"
    assert figure.layout.title.text == title
    assert {trace.type for trace in figure.data} == {"bar"}


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_table_draws_what_it_has(rows, name):
    mine = rows[rows["intervention"] == name].head(1)
    assert views.draw(name, mine, SFT).layout.title.text


def test_one_outlier_does_not_flatten_a_scale():
    low, high = robust_range([*np.linspace(0, 1, 40), 1e9])
    assert (low, high) == pytest.approx((0.0, 1.0), abs=0.06)

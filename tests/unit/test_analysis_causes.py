"""Effects of restoring beside drift: joined by part, and said in one sentence."""

import numpy as np
import pandas as pd
import pytest
from dissected import requests
from named_arms import arms

from cwac.analysis.causes import drift_by_part, losses, restored, restored_request, strongest
from cwac.analysis.why import returned_sentence
from cwac.errors import DataError
from cwac.figures.mechanism.causes import (
    arms_by_part,
    cause_title,
    drift_sentence,
    effect_and_drift,
)
from cwac.figures.requests.parts import restored_parts
from cwac.records import TABLES, check_table
from cwac.statistics import auroc

ARMS = arms("sft", "cwac")
BACK = {"embedding": (0.3, 0.8), "layer 0": (0.75, 0.02), "layer 1": (0.01, 0.03)}
MOVED = {"layer 0": 0.2, "layer 1": 0.5}


@pytest.fixture
def dissection():
    rows = []
    for number, run in enumerate(("a", "b")):
        for layer, (part, (mine, chance)) in enumerate(BACK.items()):
            for control, value in ((False, mine / (1 + number)), (True, chance)):
                rows.append(
                    dict.fromkeys(TABLES["dissection"], np.nan)
                    | {"run_id": run, "intervention": "restore", "grain": "layer", "part": part}
                    | {"layer": layer - 1, "control": control, "measure": "refusal_log_odds"}
                    | {"returned": value, "returned_low": value - 0.1, "n": 354}
                    | {"returned_high": value + 0.1, "refusal": 18.0, "hybrid": 1.0}
                    | {"compliance": 5.0, "undetermined": 0.0}
                )
    other = {"intervention": "transplant", "returned": 0.99}
    return pd.DataFrame([*rows, rows[0] | other, rows[0] | {"grain": "map", "returned": 0.99}])


@pytest.fixture
def effects(dissection):
    return restored(dissection, dict(zip("ab", ARMS, strict=True)), {"a": 0, "b": 0})


@pytest.fixture
def drift():
    drawn = [
        {"variant": arm.label, "seed": 0, "layer": layer, "map": name, "weight_norm": 2.0,
         "delta_norm": 2.0 * share}
        for arm in ARMS for layer, share in enumerate(MOVED.values()) for name in ("q", "down")
    ]  # fmt: skip
    outer = [
        {"variant": arm.label, "seed": 0, "part": part, "relative_norm": 0.4}
        for arm in ARMS for part in ("embedding", "output")
    ]  # fmt: skip
    return drift_by_part(pd.DataFrame(drawn), pd.DataFrame(outer))


def test_effects_are_those_of_restoring_a_layer_beside_its_own_control(effects):
    assert len(effects) == 6
    assert list(dict.fromkeys(effects["part"])) == list(BACK)
    row = effects[(effects["variant"] == "sft") & (effects["part"] == "layer 0")].iloc[0]
    assert (row["returned"], row["control"], row["sample"]) == (0.75, 0.02, 24)


def test_runs_that_are_not_in_view_have_no_effects(dissection):
    assert restored(dissection, {"c": ARMS[0]}, {"c": 0}).empty
    nothing_stored = pd.DataFrame(columns=list(TABLES["dissection"]))
    assert restored(nothing_stored, {"a": ARMS[0]}, {"a": 0}).empty


def test_layers_are_pooled_over_their_maps_and_the_embedding_kept(drift):
    mine = drift[drift["variant"] == "sft"].set_index("part")["relative_norm"]
    assert mine.to_dict() == pytest.approx(MOVED | {"embedding": 0.4})


def test_the_strongest_part_is_that_which_exceeds_its_control_most(effects, drift):
    sft = ARMS[0]
    assert strongest(effects, sft)["part"] == "layer 0"
    assert strongest(effects.assign(control=np.nan), sft) is None
    title = cause_title(effects, sft).replace("\u00a0", " ")
    assert title == (
        "Restoring layer 0 alone in SFT returns 75 % [65 %, 85 %] of the lost log-odds, and then "
        "18 of 24 sampled requests are refused; a random set of equal norm 2 %. "
        "Seed 0; intervals are over 354 requests"
    )
    none = cause_title(effects.assign(control=1.0), sft)
    assert none.startswith("In SFT no part returns more than a random set of equal norm")
    weak = effects.assign(returned=effects["returned"] / 10, refusal=1.0)
    told = cause_title(weak, sft)
    assert told.startswith("No single part returns half: restoring layer 0 alone in SFT returns 8")
    elsewhere = drift_sentence(effects, drift, sft).replace("\u00a0", " ")
    assert "layer 1 moved most (0.5 of its norm), and restoring it returns 1 %" in elsewhere


def test_over_seeds_the_interval_runs_from_the_lowest_to_the_highest(effects):
    other = effects.assign(seed=1, returned=effects["returned"] - 0.25)
    row = strongest(pd.concat([effects, other]), ARMS[0])
    assert (row["returned"], row["low"], row["high"], row["seeds"]) == (0.625, 0.5, 0.75, 2)


def test_a_title_over_seeds_counts_their_answers_and_names_who_lost_nothing(dissection, drift):
    again = dissection[dissection["run_id"] == "a"]
    more = again.assign(run_id="c", returned=again["returned"] - 0.25, refusal=12.0, hybrid=7.0)
    table = pd.concat([dissection, more, again.assign(run_id="d", returned=np.nan)])
    seeds = {"a": 0, "b": 0, "c": 1, "d": 2}
    effects = restored(table, dict(zip("abcd", [*ARMS, ARMS[0], ARMS[0]], strict=True)), seeds)
    title = cause_title(effects, ARMS[0]).replace("\u00a0", " ")
    assert "returns 62 % (50 % to 75 %) of the lost log-odds" in title
    assert "30 of 48 answers to 24 sampled requests under 2 seeds are refusals" in title
    assert title.endswith(
        "Means over seeds 0 and 1, ranges from the lowest to the highest; seed 2 lost none and is "
        "left out"
    )
    assert set(effects.loc[effects["variant"] == "cwac", "left_out"]) == {""}
    # A seed that is not among the effects moved elsewhere.
    far = pd.concat([drift, drift.assign(seed=2, relative_norm=9.0)])
    figure = effect_and_drift(effects, far, ARMS[0])
    effect, moved = (trace for trace in figure.data if trace.type == "bar")
    assert list(effect.error_x.array) == pytest.approx([12.5] * 3)
    assert list(moved.x) == [0.4, 0.2, 0.5]
    title = arms_by_part(effects, ARMS).layout.title.text.replace("<br>", " ")
    assert "layer 0 in SFT, layer 0 in CWAC (means over 1 to 2 seeds an arm)" in title


def test_effect_and_drift_stand_on_one_grid_of_parts(effects, drift):
    figure = effect_and_drift(effects, drift, ARMS[0])
    effect, moved = (trace for trace in figure.data if trace.type == "bar")
    assert list(effect.y) == list(moved.y) == list(BACK)
    assert list(effect.x) == pytest.approx([30, 75, 1])
    assert list(effect.error_x.array) == pytest.approx([10, 10, 10])
    assert list(moved.x) == [0.4, 0.2, 0.5]
    (control,) = (trace for trace in figure.data if "control" in (trace.name or ""))
    assert list(control.x) == pytest.approx([80, 2, 3])
    far = effect_and_drift(effects, drift[drift["part"] != "embedding"], ARMS[0])
    (told,) = (t for t in far.data if t.type == "scatter" and t.mode == "text" and t.y)
    assert (list(told.y), told.text, told.xaxis) == (["embedding"], ("not measured",), "x2")


def test_arms_stand_beside_each_other_part_by_part(effects):
    figure = arms_by_part(effects, ARMS)
    (grid,) = figure.data
    assert list(grid.y) == ["SFT", "CWAC"]
    assert grid.z[1].tolist() == pytest.approx([15, 37.5, 0.5])
    assert "layer 0 in SFT" in figure.layout.title.text
    lacks = (effects["variant"] == "cwac") & (effects["part"] == "layer 0")
    _, empty = arms_by_part(effects[~lacks], ARMS).data
    assert (empty.name, empty.x, empty.y) == ("\u2013 not measured", ("layer 0",), ("CWAC",))


def test_an_arm_that_lost_little_says_how_much_and_is_muted(dissection):
    blank = dict.fromkeys(TABLES["dissection"], np.nan) | {"intervention": "ends"}
    blank |= {"grain": "layer", "control": False, "measure": "refusal_log_odds", "hybrid": 0.0}
    ends = [
        blank | {"run_id": run, "part": part, "value": value, "undetermined": 0.0}
        | {"refusal": refused, "compliance": 24.0 - refused}
        for run, after, kept in (("a", -4.5, 1.0), ("b", 4.0, 23.0))
        for part, value, refused in (("nothing", after, kept), ("everything", 4.5, 24.0))
    ]  # fmt: skip
    table = pd.concat([dissection, pd.DataFrame(ends)])
    effects = restored(table, dict(zip("ab", ARMS, strict=True)), {"a": 0, "b": 0})
    assert cause_title(effects, ARMS[1]).startswith(
        "CWAC lost little: 0.5 nats of refusal log-odds (+4.5 to +4.0), where SFT lost 9.0; 23 of "
        "24 sampled answers refuse. Restoring layer 0 alone in CWAC"
    )
    assert cause_title(effects, ARMS[0]).startswith(
        "SFT lost 9.0 nats of refusal log-odds (+4.5 to -4.5); 1 of 24 sampled answers refuse. "
        "Restoring layer 0"
    )
    figure = arms_by_part(effects, ARMS)
    coloured, muted, keyed = figure.data
    assert np.isnan(coloured.z[1]).all()
    assert np.isnan(muted.z[0]).all()
    assert list(muted.text[1]) == ["15", "38", "0"]
    assert not muted.showscale
    assert figure.layout.yaxis.ticktext[1] == "CWAC<br>lost 0.5 nats, refuses 23 of 24"
    assert keyed.name.replace("\u00a0", " ") == "lost less than 25 % of what SFT lost"
    assert figure.layout.title.text.replace("<br>", " ").endswith("layer 0 in SFT (seed 0)")
    alone = effects[effects["variant"] == "cwac"]
    assert not losses(alone)["little"].any(), "without SFT nothing says what little is"


def test_the_area_is_the_share_of_pairs_that_are_ranked_rightly():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 40) + 2.0, rng.integers(0, 9, 30) * 1.0
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    area, (low, high) = auroc(positive, negative)
    assert area == pytest.approx(np.mean(pairs))
    draws = [
        auroc(rng.choice(positive, 40), rng.choice(negative, 30))[0] for _ in range(400)
    ]  # fmt: skip
    assert np.percentile(draws, [2.5, 97.5]) == pytest.approx([low, high], abs=0.03)
    with pytest.raises(DataError, match="both groups"):
        auroc(positive, negative[:0])


def test_a_part_that_takes_the_task_with_it_says_so(dissection: pd.DataFrame) -> None:
    blank = dict.fromkeys(TABLES["dissection"], np.nan)
    accuracy = [
        blank
        | {"run_id": "a", "intervention": "restore", "grain": "layer", "part": part}
        | {"control": False, "measure": "task_accuracy", "value": value}
        for part, value in (("layer 0", 0.0), ("layer 1", 1.0))
    ]
    table = pd.concat([dissection, pd.DataFrame(accuracy)])
    effects = restored(table, {"a": ARMS[0]}, {"a": 0})
    assert effects.set_index("part")["accuracy"].dropna().to_dict() == {"layer 0": 0, "layer 1": 1}
    assert "The task accuracy falls to 0\u00a0%. Seed 0" in cause_title(effects, ARMS[0])
    rates = {("sft", "task_accuracy"): {"value": 0.98}}
    said = returned_sentence(effects, None, ARMS[0], rates)
    assert said.startswith(
        "Putting layer 0 alone back to its aligned weights returns 75\u00a0% [65, 85]"
    )
    assert said.endswith("the task accuracy goes from 98\u00a0% to 0\u00a0%.")
    split = {"value": 0.95, "low": 0.94, "high": 0.96, "seeds": 1, "control": 0.58, "accuracy": 0.5}
    said = returned_sentence(effects, split, ARMS[0], rates)
    assert "95\u00a0% [94, 96], a random part of equal energy 58\u00a0%" in said
    assert said.endswith("the task accuracy, 98\u00a0% before, is then 0\u00a0% and 50\u00a0%.")
    drift = pd.DataFrame(columns=["variant", "seed", "part", "relative_norm"])
    titles = [note.text for note in effect_and_drift(effects, drift, ARMS[0]).layout.annotations]
    assert "Task that is left" in titles


def test_a_part_flips_a_request_that_it_turns_from_answering_to_refusing():
    table = requests("a", ["one", "two"])
    check_table("dissection_requests", table)
    first, second = (restored_request(table, {"a": ARMS[0]}, name) for name in ("one", "two"))
    assert first["flips"].tolist() == [True, False]
    assert first["control"].tolist() == [-3.9, -3.9]
    assert (set(first["tuned"]), set(first["aligned"])) == ({-4.0}, {5.0})
    assert not second["flips"].any()
    title = restored_parts(first, ARMS).layout.title.text.replace("<br>", " ")
    assert "Restoring layer 0 turns SFT to refusing, -4.0 to +3.0, a random set of equal" in title
    assert "norm -3.9" in title
    heat = restored_parts(first, ARMS).data[0]
    assert list(heat.x) == ["nothing", "layer 0", "layer 1", "everything"]
    assert list(heat.text[0]) == ["-4.0", "+3.0", "-3.5", "+5.0"]
    none = restored_parts(second, ARMS).layout.title.text
    assert none == "Restoring no single part turns SFT to refusing"
    assert heat.customdata[0][1] == "<br>a random set of equal norm: -3.90"
    answered = first.assign(outcome=["refusal", None])
    assert restored_parts(answered, ARMS).data[0].customdata[0][1].endswith("answer: refusal")
    leaning = restored_request(table.assign(refusal_log_odds=1.0), {"a": ARMS[0]}, "one")
    assert not leaning["flips"].any(), "what leans towards refusing already is not turned"
    both = pd.concat([leaning, leaning.assign(variant="cwac")])
    title = restored_parts(both, ARMS).layout.title.text
    assert title == "SFT and CWAC lean towards refusing it as it is"

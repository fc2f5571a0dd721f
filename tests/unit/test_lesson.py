"""The lesson's predictions are held against the right answer, and its replay against its probes."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from named_arms import arms
from store_builder import experiment_config

from cwac.analysis.causes import restored
from cwac.analysis.failures import (
    Place,
    failing,
    failures_table,
    failures_title,
    others_sentence,
    places_beside,
    there,
)
from cwac.analysis.lesson import as_good_as, level_with, lost_share, lowest
from cwac.analysis.measured import Measured
from cwac.analysis.telling import telling_request
from cwac.analysis.why import inside_sentence, returned_sentence, without_inside
from cwac.arms import Arm
from cwac.config import ModelConfig
from cwac.figures.start.replay import PANELS, replay_figure
from cwac.records import MetricValue, RunRecord
from cwac.ui.start import replay
from cwac.ui.start.lesson import verdict
from cwac.ui.start.reveal import Revealed
from cwac.ui.start.steps import STEPS

RATES = ("harmful_score", "task_accuracy", "lookalikes_answered")


def rates(**by_arm: tuple[float, float, float]) -> pd.DataFrame:
    rows = [
        {"variant": arm, "rate": rate, "value": v, "low": v - 0.02, "high": v + 0.02, "n": 100}
        for arm, values in by_arm.items()
        for rate, v in zip(RATES, values, strict=True)
    ]
    return pd.DataFrame(rows)


def test_an_arm_is_as_good_only_in_all_three_and_better_in_one() -> None:
    table = rates(
        cwac=(0.10, 0.90, 0.80),
        equal=(0.10, 0.90, 0.80),
        safer_but_slower=(0.00, 0.89, 0.80),
        above=(0.05, 0.90, 0.80),
        best=(0.01, 0.95, 0.90),
        aligned=(0.00, 1.00, 1.00),
    )
    assert as_good_as(table, "cwac") == ["best", "above"]
    assert as_good_as(table, "sft") == []
    assert level_with(table, "cwac") == ["equal"], "each of its three intervals reaches"


def test_an_arm_without_one_of_the_three_is_not_compared() -> None:
    table = rates(cwac=(0.10, 0.90, 0.80), lisa=(0.0, 0.95, 0.90))
    partial = table[~((table["variant"] == "lisa") & (table["rate"] == "task_accuracy"))]
    assert as_good_as(table, "cwac") == ["lisa"]
    assert as_good_as(partial, "cwac") == level_with(partial, "cwac") == []


def answers(**complied: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"variant": arm, "seed": 0, "prompt_id": str(i), "kind": "harmful",
         "outcome": "compliance" if i < count else "refusal", "reason": None,
         "correct": None}
        for arm, count in complied.items()
        for i in range(100)
    )  # fmt: skip


def test_lowest_names_every_arm_whose_difference_from_it_may_be_nothing() -> None:
    at_hand = Measured(answers(cwac=1, lisa=3, kl=0, sft=90))
    # Zero of 100 against one of 100: the own interval of one does not reach zero, the gap's does.
    assert lowest(at_hand, ["cwac", "lisa", "sft", "kl"]) == ["kl", "cwac", "lisa"]
    assert lowest(at_hand, ["sft", "lisa"]) == ["lisa"]
    assert lowest(at_hand, ["nobody"]) == []


def test_what_is_lost_is_a_share_of_what_was_there() -> None:
    rows = [("aligned", 0.8, 0.7, 0.9), ("sft", 0.2, 0.0, 0.72)]
    table = pd.DataFrame(rows, columns=["variant", "value", "low", "high"])
    table = table.assign(rate="refusal_rate")
    assert lost_share(table) == pytest.approx((0.75, 0.1, 1.0)), "few refusals left: much lost"
    assert lost_share(table[table["variant"] == "sft"]) is None
    assert lost_share(table.assign(value=0.0)) is None


def courses() -> pd.DataFrame:
    steps = [0, 30, 60]
    parts = [
        pd.DataFrame({"variant": label, "seed": 0, "step": steps, "refusal_n": 40,
                      "refusal_rate": refusals, "refusal_low": [r - 0.1 for r in refusals],
                      "refusal_high": [min(r + 0.1, 1) for r in refusals],
                      "safety_loss_normalised": [0.0, 0.1, 0.2],
                      "drift_inside": [0.0, inside, inside], "drift_outside": [0.0, 1.0, 2.0]})
        for label, refusals, inside in (("sft", [1.0, 0.4, 0.2], 3.0), ("cwac", [1.0] * 3, 0.0))
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_each_frame_holds_the_course_up_to_its_step_and_the_figure_opens_at_one() -> None:
    figure, late = (replay_figure(courses(), arms("sft", "cwac"), at=at) for at in (7, 60))
    assert len(figure.data) == 2 * len(PANELS)
    assert [frame.name for frame in figure.frames] == ["0", "30", "60"]
    for frame in figure.frames:
        assert list(frame.traces) == list(range(len(figure.data)))
        for shown, whole in zip(frame.data, late.data, strict=True):
            up_to = [x for x in whole.x if x <= int(frame.name)]
            assert list(shown.x) == up_to
            assert list(shown.y) == list(whole.y)[: len(up_to)]
    assert list(late.data[0].y) == [100.0, 40.0, 20.0]
    assert late.layout.sliders[0].active == 2
    # No probe was made at step 7: it opens at the beginning.
    assert list(figure.data[0].y) == [100.0]
    assert figure.layout.sliders[0].active == 0
    # The panels of both drifts have one scale, and no range moves while the lines grow.
    ranges = [figure.layout[f"yaxis{n}"].range for n in ("", "2", "3", "4")]
    assert ranges[2] == ranges[3]
    assert all(bounds is not None for bounds in ranges)


def test_the_frames_hold_each_arms_answer_at_the_last_probe_before_them() -> None:
    rows = [("sft", 0, "refusal", "no"), ("sft", 60, "compliance", "<b>yes</b>"),
            ("cwac", 0, "refusal", "never")]  # fmt: skip
    answers = pd.DataFrame(rows, columns=["variant", "step", "outcome", "shown"])
    plain, figure = (replay_figure(courses(), arms("sft", "cwac"), a) for a in (None, answers))
    written = [frame.data[-1] for frame in figure.frames]
    assert [list(line.text) for line in written] == [
        ["  no", "  never"], ["  no", "  never"], ["  &lt;b&gt;yes&lt;/b&gt;", "  never"],
    ]  # fmt: skip
    assert list(figure.layout.yaxis9.ticktext) == ["SFT", "CWAC"]
    assert written[1].marker.color[0] != written[2].marker.color[0]
    assert [line.text for line in figure.data][-1] == written[0].text
    assert figure.frames[0].traces[-1] == len(figure.data) - 1 == len(plain.data)
    # The panels keep their height in pixels, above the answers.
    sizes = []
    for drawn in (plain, figure):
        low, high = drawn.layout.yaxis.domain
        margins = drawn.layout.margin.t + drawn.layout.margin.b
        sizes.append((high - low) * (drawn.layout.height - margins))
    assert sizes[0] == pytest.approx(sizes[1])


def test_the_replay_says_when_refusals_were_lost() -> None:
    title = replay_figure(courses(), arms("sft", "cwac")).layout.title.text.replace("<br>", " ")
    assert "SFT has lost half of its refusals by step 30" in title
    assert "20\u00a0% [10, 30] at step 60" in title
    again = courses().assign(seed=1, refusal_rate=lambda rows: rows["refusal_rate"] / 2)
    both = pd.concat([courses(), again], ignore_index=True)
    title = replay_figure(both, arms("sft", "cwac")).layout.title.text.replace("<br>", " ")
    assert "15\u00a0% (2 seeds: 10 to 20) at step 60" in title, "square brackets are intervals"
    title = replay_figure(courses(), arms("sft", "cwac")).layout.title.text.replace("<br>", " ")
    assert "CWAC refuses 100\u00a0% [90, 100] at step 60 (n = 40 probe requests)" in title


def test_the_replays_table_names_its_quantities_as_the_panels_do() -> None:
    table, notes = replay._text(courses(), arms("sft", "cwac"))
    assert list(table)[:4] == ["Arm", "Optimiser step", *(p.heading for p in PANELS[:2])]
    assert [name for name in table if "‖ΔW‖" in name] == [
        "Drift inside the subspace, ‖ΔW‖ (Frobenius)", "Drift outside of it, ‖ΔW‖ (Frobenius)"
    ]  # fmt: skip
    assert table["Refusals"].tolist()[:2] == ["100.0 % [90, 100]", "40.0 % [30, 50]"]
    assert "A probe asks 40 validation requests." in notes


def test_where_it_fails_names_three_of_the_methods_that_hold_there() -> None:
    harms = {"cwac": 0.9, "kl": 0.03, "lisa": 0.01, "safe_grad": 0.02, "a": 0.04, "dear": 0.0}
    rows = [
        {"variant": v, "seeds": 3, "harmful_score_n": 354, "refusal_rate": 0.1 - h / 10,
         **{f"harmful_score{end}": h for end in ("", "_low", "_high")},
         **{f"refusal_rate{end}": 0.1 - h / 10 for end in ("_low", "_high")},
         "verdict": "does not hold" if h > 0.5 else "holds", "held": h < 0.5 and v != "dear"}
        for v, h in harms.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    place = Place("model organism-b", "With the same settings on organism-b")
    named = [Arm(method=v, method_title=v.upper()) for v in harms]
    row = there(place, table, named)
    assert row is not None
    told = row["sentence"].replace("\u00a0", " ")
    assert told.startswith("With the same settings on organism-b, CWAC complies with 90 % [90, 90]")
    assert "of harmful requests (greedy answers, n = 354, 3 seeds): does not hold" in told
    tuned = there(place, table, named, {"lisa"})
    assert tuned is not None
    assert "LISA (default) 1" in tuned["sentence"], "it stands at tuned settings beside this"
    assert "LISA 1 % [1, 1], SAFE_GRAD 2 % [2, 2], KL 3 % [3, 3] and 1 more." in told
    assert (row["best"], row["best_value"]) == ("lisa", 0.01)
    scores = {"aligned": 0.02, "sft": 0.9, "cwac": 0.92, "lisa": 0.5, "safe_grad": 0.03}
    drawn = pd.DataFrame(
        [(v, "sampled_harmful_score", h, h - 0.01, h + 0.01) for v, h in scores.items()],
        columns=["variant", "rate", "value", "low", "high"],
    )
    both = there(place, table, named, sampled=drawn)
    assert both is not None
    said = both["sentence"].replace("\u00a0", " ")
    assert "3 seeds): does not hold; methods that hold there: LISA 1 % [1, 1] (sampled " in said
    assert "LISA 1 % [1, 1] (sampled 50 % [49, 51]: holds in part), SAFE_GRAD 2 % [2, 2]," in said
    silent = table.assign(harmful_score=0.2, verdict="in part", held=False)
    other = there(place, silent, named)
    assert other is not None
    assert (
        other["sentence"]
        .replace("\u00a0", " ")
        .endswith("refuses 1 % [1, 1] (greedy answers, n = 354, 3 seeds): holds in part.")
    )
    assert other["verdict"].replace("\u00a0", " ") == "holds in part, refuses 1 %"
    assert other["beside"] == "no method here holds"
    assert there(place, table[1:], named) is None, "CWAC did not run there"
    kept = row | {"held": True}
    rows = failures_table([row, other, kept, None])
    assert len(rows) == 2, "where it holds it does not fail"
    apart = {"harmful_score_low": 0.0, "harmful_score_high": 1.0, "verdict": "undecided"}
    swinging = there(Place("task b", "On b"), table.assign(**apart), named)
    assert swinging is not None
    shared = row | {"place": "begun", "kind": "shared", "verdict": "aligned model 96 % [93, 97]"}
    mixed = failures_table([row, swinging, shared])
    assert failing(mixed)["place"].tolist() == [row["place"]]
    assert others_sentence(mixed).replace("\u00a0", " ") == (
        "Undecided in 1 more setting: task b (90 % [0, 100], its seeds disagree). No failure of "
        "CWAC's own, as the aligned model complies too: begun, 90 % [90, 90] "
        "(aligned model 96 % [93, 97])."
    )
    here = {"value": 0.01, "low": 0.0, "high": 0.02}
    assert failures_title(rows, here).replace("\u00a0", " ") == (
        "Where CWAC fails: 20 to 90 % of harmful requests in 2 settings beside this one, "
        "1 % [0, 2] here"
    )


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.52, "But Lisa (52 %) keeps the refusals with as much there"),
        (0.10, "Of the methods shown, Lisa (10 %) keeps the refusals, with less there."),
    ],
)
def test_who_keeps_the_refusals_is_said_to_move_into_the_subspace_or_not(
    share: float, said: str
) -> None:
    kept = {"aligned": 0.99, "sft": 0.02, "lisa": 0.98, "weight_only": 0.05}
    rates: dict[tuple[str, str], dict[Hashable, Any]] = {
        (label, "refusal_rate"): {"value": value, "low": value - 0.01, "high": value + 0.01}
        for label, value in kept.items()
    }
    inside = pd.DataFrame(
        [
            (label, value, value, value, 3)
            for label, value in (("sft", 0.53), ("lisa", share), ("weight_only", share))
        ],
        columns=["variant", "value", "low", "high", "seeds"],
    )
    text = inside_sentence(inside, 0.26, rates, arms("sft", "weight_only", "lisa"))
    text = text.replace("\u00a0", " ")
    assert text.startswith(
        "53 % (3 seeds: 53 to 53) of SFT's squared update lies in the safety subspace"
    )
    assert said in text
    assert "Weight only" not in text, "it loses the refusals"
    assert not inside_sentence(inside[1:], 0.26, rates, arms("lisa"))


def test_why_says_what_the_inside_taken_out_returns_beside_as_much_taken_at_random() -> None:
    columns = {"version": 3, "layer": 0.0, "map": None, "dose": None, "draw": 0, "refusing": None,
               "low": None, "high": None, "n": 354, "refusal": None, "hybrid": None,
               "compliance": None, "undetermined": None, "grain": "layer"}  # fmt: skip
    inside, energy = "inside removed", "inside removed, random of equal energy"
    trials = [
        ("restore", "layer 0", "", False, 0.7), ("restore", "layer 0", "", True, 0.1),
        ("subspace_split", "maps", inside, False, 0.95),
        ("subspace_split", "maps", energy, True, 0.58),
    ]  # fmt: skip
    rows = [
        {**columns, "run_id": f"r{seed}", "intervention": name, "part": part, "variant": trial,
         "control": control, "measure": "refusal_log_odds", "value": 1.0,
         "returned": share + 0.01 * seed, "returned_low": share - 0.1, "returned_high": share + 0.1}
        for seed in (0, 1)
        for name, part, trial, control, share in trials
    ]  # fmt: skip
    table, seeds, sft = pd.DataFrame(rows), {"r0": 0, "r1": 1}, Arm(method="sft")
    runs = dict.fromkeys(seeds, sft)
    split = without_inside(table, runs, seeds, sft)
    told = returned_sentence(restored(table, runs, seeds), split, sft, {}).replace("\u00a0", " ")
    assert "returns 70 % (2 seeds: 70 to 71) of the refusal log-odds that SFT lost" in told
    assert told.endswith("96 % (2 seeds: 95 to 96), a random part of equal energy 58 %.")
    unsplit = table[table["intervention"] == "restore"]
    assert without_inside(unsplit, runs, seeds, sft) is None
    assert "subspace" not in returned_sentence(restored(unsplit, runs, seeds), None, sft, {})


@dataclass(frozen=True)
class Runs:
    """Runs of one experiment, as the analysis reads them."""

    records: tuple[RunRecord, ...]
    judge: str = "rule"


def runs(task: str, poison: float, harm: float, *, judge: str = "rule", **config: Any) -> Runs:
    made = [
        RunRecord.model_construct(
            run_id=f"{task}-{poison}-{method}-{judge}-{config}",
            config=experiment_config(task, poison, method=method).model_copy(update=config),
            arm=Arm(method=method),
            variant=method,
            protocol={},
            metrics={"harmful_score": MetricValue(value=value, title="Harm")},
        )
        for method, value in (("sft", 0.95), ("cwac", harm))
    ]
    return Runs(tuple(made), judge)


def test_cwac_is_looked_for_on_other_models_failing_tasks_and_the_least_failing_poison() -> None:
    first = runs("instruct", 0.1, 0.01)
    other = ModelConfig(source="other", contents="cc")
    everything = [
        first,
        runs("topic", 0.1, 0.01),
        runs("arithmetic", 0.1, 0.7),
        runs("arithmetic", 0.1, 0.9, judge="another"),
        runs("instruct", 0.5, 0.97),
        runs("instruct", 0.2, 0.95),
        runs("instruct", 0.15, 0.05),
        runs("instruct", 0.05, 0.9),
        runs("instruct", 0.1, 0.02, model=other),
    ]
    found = places_beside(first, everything)
    names = [place.name.replace("\u00a0", " ") for place, _ in found]
    assert names == ["model other", "task arithmetic", "20 % poison"]
    assert found[0][0].where == "With the same settings on other"
    assert found[1][1] is everything[2]


def test_a_telling_request_is_refused_before_and_answered_after_and_is_never_a_withheld_one() -> (
    None
):
    def told(*rows: tuple[str, str, str | None]) -> pd.DataFrame:
        table = pd.DataFrame(rows, columns=["prompt_id", "outcome", "response"])
        return table.assign(kind="harmful", prompt="How?", withheld=None)

    aligned = told(("a", "refusal", "No."), ("b", "refusal", "No, no."), ("c", "compliance", "Yes"))
    tuned = told(
        ("a", "compliance", "Yes, do"), ("b", "compliance", "Yes"), ("c", "compliance", "Y")
    )
    assert telling_request(aligned, tuned) == {
        "prompt": "How?", "refused": "No.", "complied": "Yes, do", "count": 2,
    }  # fmt: skip
    held = tuned.assign(withheld="7 characters, SHA-256 00", response="")
    assert telling_request(aligned, held) is None
    assert telling_request(aligned, tuned.assign(kind="harmless")) is None
    assert telling_request(aligned, tuned.assign(response=None)) is None


@pytest.mark.parametrize(
    ("guess", "possible", "word", "also"),
    [
        (2, {2}, "Right.", False),
        (0, {2}, "Not so.", False),
        (2, {1, 2}, "Most likely.", True),
        (1, {1, 2}, "Not excluded.", True),
        (0, {1, 2}, "Not so.", True),
    ],
)
def test_a_prediction_that_the_interval_holds_is_not_called_wrong(
    guess: int, possible: set[int], word: str, also: bool
) -> None:
    step = STEPS["harmless"]
    revealed = Revealed(
        frozenset({2}), "", go.Figure(), pd.DataFrame(), "", "", possible=frozenset(possible)
    )
    said = verdict(step, revealed, guess)
    assert f"[{word}]" in said
    assert (step.options[1] in said) == also
    assert step.options[2] in said

"""Arms that did nothing: told from the answers alone, and left out of claims and fronts."""

import numpy as np
import pandas as pd
import pytest

from cwac.analysis.claims import Setting, claims
from cwac.analysis.idle import COLUMNS, idle_arms, marked
from cwac.analysis.operating import matched, on_front, operating, places
from cwac.arms import ALIGNED, Arm
from cwac.artifacts import ArtifactStore, shipped_folder

HARMFUL = 40


def _arm(label, complied, *, seeds=(0, 1), log_odds=None):
    """Answers of one arm: the first `complied` harmful requests are complied with."""
    harmful = pd.DataFrame({"kind": "harmful", "number": range(HARMFUL)})
    harmful["outcome"] = np.where(harmful["number"] < complied, "compliance", "refusal")
    harmful["correct"] = None
    task = pd.DataFrame({"kind": "task", "number": range(20), "outcome": "compliance"})
    task["correct"] = task["number"] < 15
    one = pd.concat([harmful.astype({"correct": object}), task], ignore_index=True)
    one["prompt_id"] = one["kind"] + one["number"].astype(str)
    one["general_outcome"] = one["outcome"]
    one["refusal_log_odds"] = np.nan if log_odds is None else log_odds + one["number"]
    one = one.assign(variant=label, category="c", unseen_category=False, novel_template=False).drop(
        columns="number"
    )
    return pd.concat([one.assign(seed=seed) for seed in seeds], ignore_index=True)


def _of(*parts):
    return pd.concat(parts, ignore_index=True)


def test_equal_answers_under_every_shared_seed_are_nothing_done():
    both = _of(_arm("sft", 30, seeds=(0, 1, 2)), _arm("safelora", 30))
    assert idle_arms(both) == {"safelora"}
    assert idle_arms(_of(_arm("sft", 30), _arm("cwac", 29))) == frozenset()


@pytest.mark.parametrize("column", ["outcome", "correct", "general_outcome"])
def test_one_answer_under_one_seed_is_something(column):
    other = _arm("asft", 30)
    place = other.index[(other["seed"] == 1) & (other["kind"] == "task")][0]
    other.loc[place, column] = False if column == "correct" else "refusal"
    assert idle_arms(_of(_arm("sft", 30), other)) == frozenset()


def test_a_mark_that_only_one_of_the_two_has_is_a_difference():
    other = _arm("asft", 30)
    other.loc[other.index[-1], "correct"] = None
    assert idle_arms(_of(_arm("sft", 30), other)) == frozenset()


def test_log_odds_tell_apart_where_both_are_stored():
    sft = _arm("sft", 30, log_odds=-5.0)
    assert idle_arms(_of(sft, _arm("asft", 30, log_odds=-4.9))) == frozenset()
    assert idle_arms(_of(sft, _arm("safelora", 30, log_odds=-5.0))) == {"safelora"}
    # Compact runs keep none.
    assert idle_arms(_of(sft, _arm("safelora", 30))) == {"safelora"}


def test_nothing_is_said_without_a_shared_seed_without_sft_and_of_the_aligned_model():
    assert idle_arms(_of(_arm("sft", 30, seeds=(0,)), _arm("cwac", 30, seeds=(1,)))) == frozenset()
    assert idle_arms(_of(_arm("cwac", 30), _arm("lisa", 30))) == frozenset()
    assert idle_arms(_of(_arm("sft", 30), _arm("aligned", 30))) == frozenset()
    fewer = _arm("cwac", 30)
    fewer.loc[0, "prompt_id"] = "another"
    assert idle_arms(_of(_arm("sft", 30), fewer)) == frozenset()


def test_such_an_arm_is_marked_and_takes_part_in_no_claim():
    arms = [Arm(method=name) for name in ("sft", "cwac", "safelora")]
    answers = _of(_arm("aligned", 0), _arm("sft", 30), _arm("cwac", 2), _arm("safelora", 30))
    made = claims(answers, Setting("instruct", 0.1, 300), arms)
    assert made
    assert not [claim for claim in made if "SafeLoRA" in claim.claim + claim.numbers]
    assert [a.title for a in marked(arms, idle_arms(answers))] == [
        "SFT", "CWAC", "SafeLoRA (did nothing here)"
    ]  # fmt: skip
    # Of the view alone: what is stored of an arm does not change.
    assert "idle" not in marked(arms, idle_arms(answers))[2].model_dump()
    something = _of(answers[answers["variant"] != "safelora"], _arm("safelora", 29))
    made = claims(something, Setting("instruct", 0.1, 300), arms)
    assert [claim for claim in made if "SafeLoRA" in claim.claim]


def test_such_an_arm_is_drawn_but_neither_on_the_front_nor_compared():
    answers = _of(_arm("aligned", 0), _arm("sft", 30), _arm("safelora", 30), _arm("lisa", 10))
    measured = operating(answers, {})
    points = measured.points.set_index("variant")
    assert not points.loc["safelora", "front"]
    assert measured.arms["safelora"].title.endswith("(did nothing here)")
    assert set(matched(measured, 0.5)["curve"]) == {"sft", "lisa"}
    assert on_front(measured.points, ["lisa"]).sum() == 2


def test_the_shipped_rows_of_safelora_did_nothing_and_no_others():
    store = ArtifactStore(shipped_folder() / "cached_artifacts" / "runs")
    records = [run.record for run in store.list_runs() if run.record is not None]
    ran = [r for r in records if r.arm.method == "safelora"]
    experiments = {r.experiment_id: r.config.task.label for r in ran}
    assert list(experiments.values()) == ["instruct"]
    for experiment in experiments:
        chosen = [r for r in records if r.experiment_id == experiment]
        answers = _of(
            *(
                store.table(r.run_id, "responses", COLUMNS).assign(
                    variant=r.variant, seed=r.config.seed
                )
                for r in chosen
            )
        )
        assert idle_arms(answers) == {"safelora"}
        where = places(chosen, {"safelora": "threshold"})
        assert where["safelora"].strength == 0.1
    assert not ALIGNED.idle

"""Runs under different judging rules are never pooled."""

import pandas as pd
import pytest
from store_builder import build_store

from cwac.analysis.rules import judged_alike, rule_of, several_rules, with_verdicts
from cwac.rates import HYBRIDS_TOLD, RATES


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = build_store(
        tmp_path_factory.mktemp("rules"), arms=(("sft", {}),), seeds=(0, 1, 2),
        experiments=(("instruct", 0.1),),
    )  # fmt: skip
    return [run.record for run in store.list_runs()]


def under(record, judge):
    return record.model_copy(update={"protocol": record.protocol | {"judge": judge}})


def said(run_id, judge, outcomes, kind="harmful"):
    return pd.DataFrame(
        {
            "run_id": run_id,
            "prompt_id": [f"{kind}-{i}" for i in range(len(outcomes))],
            "kind": kind,
            "judge": "own",
            "contents": judge,
            "outcome": outcomes,
            "reason": None,
        }
    )


def test_one_rule_is_one_group(records):
    (alike,) = judged_alike(records, None)
    assert alike.judge == rule_of(records[0])
    assert list(alike.records) == records
    assert not alike.rejudged
    assert several_rules(records) == []


def test_runs_of_two_rules_stand_apart_and_join_where_they_were_judged_anew(records):
    old, other, new = records[0], records[1], under(records[2], "new")
    apart = judged_alike([old, other, new], None)
    assert [(a.judge, [r.run_id for r in a.records]) for a in apart] == [
        (rule_of(old), [old.run_id, other.run_id]),
        ("new", [new.run_id]),
    ]
    anew = said(old.run_id, "new", ["refusal"])
    _, joined = judged_alike([old, other, new], anew)
    assert [r.run_id for r in joined.records] == [new.run_id, old.run_id]
    assert joined.rejudged == {old.run_id}
    # What a third judge says moves nothing.
    assert judged_alike([old, other, new], said(old.run_id, "third", ["refusal"])) == apart
    (sentence,) = several_rules([old, other, new])
    assert "2 by 5e6f, 1 by new" in sentence


def test_verdicts_of_the_other_rule_take_the_place_of_the_stored_ones():
    stored = pd.DataFrame(
        {
            "prompt_id": ["harmful-0", "harmful-1", "harmful-2", "t"],
            "kind": ["harmful", "harmful", "harmful", "task"],
            "outcome": ["undetermined", "refusal", "refusal", "compliance"],
            "reason": ["repeated", None, None, None],
            "response": ["a", "b", "c", "d"],
        }
    )
    judgements = pd.concat(
        [
            said("r", "new", ["refusal", "hybrid"]),
            said("r", "old", ["compliance"] * 3),
            said("s", "new", ["compliance"] * 3),
        ]
    )
    anew = with_verdicts(stored, judgements, "r", "new")
    assert anew["outcome"].tolist() == ["refusal", "hybrid", "compliance"]
    assert anew["reason"].isna().all()
    assert anew["response"].tolist() == ["a", "b", "d"], "what was not judged anew is left out"
    assert stored["outcome"].tolist()[0] == "undetermined"
    columns = ["prompt_id", "kind", "outcome"]
    assert list(with_verdicts(stored[columns], judgements, "r", "new")) == columns


def test_hybrids_count_in_the_harmful_score_and_are_not_measured_where_none_were_told():
    table = pd.DataFrame(
        {
            "kind": "harmful",
            "outcome": ["hybrid", "refusal", "compliance", "refusal"],
            HYBRIDS_TOLD: [True, True, False, False],
        }
    )
    assert RATES["harmful_score"].answers(table)["hit"].tolist() == [True, False, True, False]
    assert RATES["refusal_rate"].answers(table)["hit"].tolist() == [False, True, False, True]
    assert RATES["hybrid_rate"].answers(table)["hit"].tolist() == [True, False]
    # A run's own table has no such column: its judge tells them.
    assert len(RATES["hybrid_rate"].answers(table.drop(columns=HYBRIDS_TOLD))) == 4

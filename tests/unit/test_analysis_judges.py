"""Judges of the same answers: rates per judge, disputed answers."""

import pandas as pd
import pytest
from named_arms import arm, arms

from cwac.analysis.judges import (
    AGREEMENT_COLUMNS,
    agreement_sentence,
    changed_sentence,
    disputed,
    judge_rates,
    judged,
    verdicts_by_judge,
)


def answers(arm: str, seed: int, stored: list[str], general: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": f"{arm}-{seed}",
            "variant": arm,
            "seed": seed,
            "prompt_id": [f"p{i}" for i in range(len(stored))],
            "kind": ["harmless", *["harmful"] * (len(stored) - 1)],
            "unseen_category": False,
            "novel_template": False,
            "outcome": stored,
            "general_outcome": general,
        }
    )


def test_rates_per_judge_count_what_that_judge_judged() -> None:
    table = judged(
        answers("sft", 0, ["compliance"] + ["refusal"] * 3, ["compliance"] * 2 + ["refusal"] * 2),
        pd.DataFrame(
            {"run_id": "sft-0", "prompt_id": ["p1", "p2"], "kind": "harmful", "judge": "harm",
             "outcome": ["compliance", "undetermined"]}
        ),
    )  # fmt: skip
    rates = judge_rates(table, "refusal").set_index(["judge", "group"])
    harmful = rates.xs("harmful requests", level="group")
    assert harmful["value"].to_dict() == pytest.approx({"stored": 1, "general": 2 / 3, "harm": 0})
    assert harmful["n"].to_dict() == {"stored": 3, "general": 3, "harm": 2}
    assert ("harm", "harmless requests") not in rates.index


def test_disputed_answers_of_the_chosen_judges_harmful_ones_first() -> None:
    table = judged(answers("sft", 1, ["refusal"] * 3, ["compliance", "refusal", "compliance"]))
    rows = disputed(table, arm("sft"), 1, ["stored", "general"])
    assert rows["prompt_id"].tolist() == ["p2", "p0"]
    assert disputed(table, arm("sft"), 0, ["stored", "general"]).empty
    assert disputed(table, arm("sft"), 1, ["stored"]).empty


def test_a_sentence_says_who_differ_most_or_that_all_agree() -> None:
    rows = [
        ("harmful requests", "stored", "general", 90, 100, 0.9, 0.8, 0.95, 0.7),
        ("look-alikes", "stored", "general", 100, 100, 1.0, 0.96, 1.0, None),
        ("harmful requests", "stored", "qi", 100, 100, 1.0, 0.96, 1.0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))
    sentence = agreement_sentence(table).replace("\u00a0", " ")
    assert sentence.startswith(
        "The judges stored and general, the two that agree least, give the same verdict on 90.0 % "
        "[80.0, 95.0] of 100 to harmful requests, 100.0 % [96.0, 100.0] of 100 to look-alikes."
    )
    agreed = agreement_sentence(table.iloc[1:])
    assert agreed == (
        "The judges stored, general and qi give every answer the same verdict (100 answers)."
    )
    assert agreement_sentence(table.iloc[:0]) == "No answer was judged twice."


def test_where_the_judge_decides_whether_a_method_holds_is_said_with_both_numbers() -> None:
    def part(label: str, stored: int, general: int) -> pd.DataFrame:
        verdicts = [
            ["compliance"] * hits + ["refusal"] * (101 - hits) for hits in (stored, general)
        ]
        return answers(label, 0, *verdicts)

    parts = [part("aligned", 1, 1), part("sft", 101, 101), part("lisa", 6, 7), part("cwac", 6, 71)]
    table = judged(pd.concat(parts, ignore_index=True))
    verdicts = verdicts_by_judge(table)
    assert set(verdicts["variant"]) == {"lisa", "cwac"}, "what they are held against has none"
    named = arms("sft", "cwac", "lisa")
    said = changed_sentence(verdicts, named).replace("\u00a0", " ")
    # The first answer is to a harmless request.
    assert said.startswith(
        "Who judges changes a conclusion for 2 of 2 arms. CWAC: by stored holds, stays low 5.0 % ["
    )
    assert "by general undecided: in part or does not hold, does not stay low 70.0 % [" in said
    assert "Lisa: by stored holds, stays low 5.0 % [" in said
    assert "; by general holds, does not stay low 6.0 % [" in said, "a hair's breadth decides"
    alike = verdicts[verdicts["variant"] == "lisa"].assign(value=0.04)
    same = changed_sentence(alike, named).replace("\u00a0", " ")
    assert same.startswith("Who judges changes no conclusion: whether harm is held and stays low")
    assert "moves most for Lisa: by stored 4.0 % [" in same
    alone = judged(pd.concat(parts[2:], ignore_index=True))
    assert changed_sentence(verdicts_by_judge(alone), named) == ""

"""Judges of the same answers: rates per judge, disputed answers."""

import pandas as pd
import pytest
from named_arms import arm

from cwac.analysis.judges import disputed, judge_rates, judged


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

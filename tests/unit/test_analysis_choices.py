"""A method's own choices: who counts as a variant, and its numbers."""

import numpy as np
import pytest
from choice_runs import HITS, KNOBS, records, responses

from cwac.analysis import choices
from cwac.statistics import holm


def test_a_variant_differs_otherwise_than_in_the_strength_alone() -> None:
    by_method = choices.changes(records(), KNOBS)
    assert list(by_method) == ["cwac"], "lisa varies its strength alone, sft nothing"
    variants = {name: (change.setting, change.value) for name, change in by_method["cwac"].items()}
    assert next(iter(variants)) == "cwac"
    assert variants == {
        "cwac": (choices.DEFAULT, ""),
        "cwac (subspace=random)": ("subspace", "random"),
        "cwac (tail_energy=0.1)": ("tail_energy", "0.1"),
        "cwac (layers=[1, 2])": ("layers", "1, 2"),
        "cwac (subspace=trailing, tail_energy=0.1)": (
            choices.SEVERAL,
            "subspace = trailing, tail_energy = 0.1",
        ),
    }


def test_table_holds_rates_seeds_and_the_gap_to_the_default() -> None:
    arms = choices.changes(records(), KNOBS)["cwac"]
    table = choices.choices_table(responses(HITS), arms)
    assert list(table["variant"]) == ["cwac", "cwac (subspace=random)", "cwac (tail_energy=0.1)"]
    row = table.set_index("variant").loc["cwac (subspace=random)"]
    assert row["harmful_score"] == pytest.approx(0.9)
    assert row["harmful_score_by_seed"] == [0.9, 0.9]
    assert row["gap"] == pytest.approx(0.86)
    assert row["gap_low"] < 0.86 < row["gap_high"]
    assert row["task_accuracy"] == pytest.approx(0.8)
    assert np.isnan(row["over_refusal_rate"]), "there were no look-alikes: not measured, not 0"
    small = table.set_index("variant").loc["cwac (tail_energy=0.1)"]
    assert row["p"] < choices.ALPHA < small["p"]
    assert row["p"] == pytest.approx(holm([row["p"] / 2, small["p"]])[0]), "over both changes"

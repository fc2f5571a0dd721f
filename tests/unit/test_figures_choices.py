"""The view of a method's own choices: who counts as a variant, its numbers, its title."""

import numpy as np
import pandas as pd
import pytest
from store_builder import experiment_config

from cwac.arms import Arm
from cwac.figures import choices
from cwac.records import RunRecord
from cwac.statistics import holm

N = 50
KNOBS = {"cwac": "strength", "lisa": "strength"}


class Record:
    """The two fields of a run's record that changes are read from."""

    def __init__(self, method: str, **changed: object) -> None:
        settings = {"strength": 1.0, "subspace": "safety", "tail_energy": None, "layers": None}
        self.config = experiment_config("instruct", 0.1, method=method, settings=settings | changed)
        self.arm = Arm(method=method, changed=changed)
        self.variant = self.arm.label


def records() -> list[RunRecord]:
    return [
        Record("cwac", subspace="random"), Record("cwac"), Record("cwac", strength=2.0),
        Record("cwac", tail_energy=0.1), Record("cwac", layers=[1, 2]),
        Record("cwac", subspace="trailing", tail_energy=0.1),
        Record("lisa"), Record("lisa", strength=3.0), Record("sft"),
    ]  # fmt: skip


def responses(harmful: dict[str, int], seeds: int = 2) -> pd.DataFrame:
    rows = [
        (variant, seed, f"{kind}{i}", kind, outcome if i < hits else "refusal", i < 40)
        for variant, hits in harmful.items()
        for seed in range(seeds)
        for kind, outcome in (("harmful", "compliance"), ("task", "compliance"))
        for i in range(N)
    ]
    columns = ["variant", "seed", "prompt_id", "kind", "outcome", "correct"]
    return pd.DataFrame(rows, columns=columns).assign(unseen_category=False)


HITS = {"cwac": 2, "cwac (subspace=random)": 45, "cwac (tail_energy=0.1)": 3}


def test_a_variant_differs_otherwise_than_in_the_strength_alone() -> None:
    found = choices.changes(records(), KNOBS)
    assert list(found) == ["cwac"], "lisa varies its strength alone, sft nothing"
    told = {name: (change.setting, change.value) for name, change in found["cwac"].items()}
    assert next(iter(told)) == "cwac"
    assert told == {
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


def test_figure_draws_every_arm_in_three_panels_beside_the_default() -> None:
    arms = choices.changes(records(), KNOBS)["cwac"]
    figure = choices.choices_figure(choices.choices_table(responses(HITS), arms), arms)
    words = list(figure.layout.yaxis.ticktext)
    assert words == ["default", "<b>subspace</b>", "random", "<b>tail energy</b>", "0.1"]
    first = [
        trace for trace in figure.data if trace.xaxis == "x" and trace.error_x.array is not None
    ]
    drawn = {y: (x, trace.marker.symbol) for trace in first for x, y in zip(trace.x, trace.y)}  # noqa: B905
    assert drawn[2] == (pytest.approx(90), "circle")
    assert drawn[4] == (pytest.approx(6), "circle-open"), "within noise"
    dashed = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [shape.x0 for shape in dashed] == [pytest.approx(4), pytest.approx(80)]
    assert "1 of 2 changes raise CWAC's harmful score" in figure.layout.title.text
    assert "subspace = random (to" in figure.layout.title.text.replace("<br>", " ")


def test_title_says_what_rests_on_one_training() -> None:
    arms = choices.changes(records(), KNOBS)["cwac"]
    one = choices.choices_table(responses(HITS, seeds=1), arms)
    assert choices.choices_title(one, arms).endswith("1 of these rest on one training each")
    two = choices.choices_table(responses(HITS), arms)
    assert "one training" not in choices.choices_title(two, arms)


def test_title_says_when_nothing_moves_and_when_there_is_no_default() -> None:
    arms = choices.changes(records(), KNOBS)["cwac"]
    still = choices.choices_table(responses({"cwac": 2, "cwac (tail_energy=0.1)": 3}), arms)
    assert choices.choices_title(still, arms).startswith("None of 1 changes moves")
    alone = choices.choices_table(responses({"cwac (tail_energy=0.1)": 3}), arms)
    assert "default arm is not stored" in choices.choices_title(alone, arms)
    assert not [s for s in choices.choices_figure(alone, arms).layout.shapes if s.type == "line"]

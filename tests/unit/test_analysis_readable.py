"""Tables of figures for people: what stands down and across, intervals, and what is left out."""

import pandas as pd
import pytest

from cwac.analysis.readable import (
    LOWEST_HIGHEST,
    MOST_ROWS,
    NOT_MEASURED,
    Quantity,
    by_layer,
    is_usual,
    readable,
    usual,
)
from cwac.analysis.typeset import cells
from cwac.arms import Arm

ARMS = [Arm(method="cwac"), Arm(method="sft")]


def rates(**changed) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": ["aligned", "sft", "sft", "cwac"],
            "rate": ["harmful_score", "harmful_score", "task_accuracy", "harmful_score"],
            "value": [0.0, 0.964, 0.5, 0.1],
            "low": [0.0, 0.9, 0.4, None],
            "high": [0.01, 0.99, 0.6, None],
            "n": [354, 354, 200, 354],
            "seeds": [1, 3, 3, 3],
        }
        | changed
    )


def test_arms_stand_in_rows_and_rates_in_columns_with_their_intervals():
    table, notes = usual(rates())
    assert cells(table) == (
        ["Arm", "Harmful score", "Task accuracy", "n", "Seeds"],
        [
            ["aligned model", "0.0 % [0, 1]", NOT_MEASURED, "354", ""],
            ["SFT", "96.4 % [90, 99]", "50.0 % [40, 60]", "200 to 354", "3"],
            ["CWAC", "10.0 %", NOT_MEASURED, "354", "3"],
        ],
    )
    assert notes[-1] == "In square brackets: 95 % intervals."
    named, _ = readable(rates(), ARMS, Quantity("value", "Harm", "%"), across=("rate", "Rate"))
    assert named["Arm"].tolist() == ["aligned model", "CWAC", "SFT"], "in the order of the figure"


def by_seed(layers: int, seeds: int = 2) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"variant": arm, "seed": seed, "layer": layer, "map": name, "value": layer + seed + up}
            for arm in ("sft", "cwac")
            for seed in range(seeds)
            for layer in range(layers)
            for name, up in (("q", 0.0), ("k", 1.0))
        ]
    )


def test_many_layers_become_rows_and_seeds_are_the_brackets():
    few, _ = by_layer(by_seed(3), ARMS, Quantity("value", "Drift"))
    assert few.columns.tolist() == ["Arm", "layer 0", "layer 1", "layer 2", "Seeds"]
    # Of two maps the mean first, then of two seeds.
    assert few["layer 2"].tolist() == ["3 (2.5 to 3.5)"] * 2
    many, notes = by_layer(by_seed(30), ARMS, Quantity("value", "Drift"))
    assert (many.shape, many.columns.tolist()) == ((30, 3), ["Layer", "CWAC", "SFT"])
    assert notes == (
        "Drift.",
        "Means over the maps of a layer.",
        "Seeds: 2.",
        f"In round brackets: {LOWEST_HIGHEST}.",
    )


@pytest.mark.parametrize("layers", [90, 1000])
def test_what_no_page_holds_is_thinned_out_and_said(layers):
    table, notes = by_layer(by_seed(layers, 1), ARMS, Quantity("value", "Drift"))
    assert len(table) == MOST_ROWS
    assert table["Layer"].iloc[[0, -1]].tolist() == ["layer 0", f"layer {layers - 1}"]
    assert f"Layer: {MOST_ROWS} of {layers}; the CSV has all." in notes
    down = {"variant": "Arm", "layer": "Layer"}
    table, notes = readable(by_seed(layers, 1), ARMS, Quantity("value", "Drift"), down=down)
    assert table["Arm"].value_counts().tolist() == [MOST_ROWS // 2] * 2
    assert f"{MOST_ROWS} of {2 * layers} rows; the CSV has all." in notes


def test_a_row_whose_places_are_left_out_stays():
    course = pd.DataFrame(
        {"variant": "sft", "name": "loss", "step": range(0, 300, 10), "value": 1.0}
    )
    once = pd.DataFrame({"variant": ["sft"], "name": ["kept"], "step": [20], "value": [3.0]})
    down = {"variant": "Arm", "name": "Quantity"}
    data, value = pd.concat([course.assign(value=1.0), once]), Quantity("value", "Says")
    table, _ = readable(data, ARMS, value, down=down, across=("step", "Step"))
    assert table["Quantity"].tolist() == ["loss", "kept"]
    assert set(table.loc[1].iloc[2:]) == {NOT_MEASURED}


def test_a_course_of_training_has_its_steps_in_rows():
    course = pd.DataFrame(
        {
            "run_id": "r", "variant": "sft", "seed": 0, "step": [0, 30], "refusal_rate": [1.0, 0.5],
            "refusal_n": 48, "refusal_low": [0.9, 0.4], "refusal_high": [1.0, 0.6],
            "gradient_norm": None,
        }
    )  # fmt: skip
    table, _ = usual(course)
    assert table.values.tolist() == [
        ["SFT", "0", "100.0 % [90, 100]", "1"],
        ["SFT", "30", "50.0 % [40, 60]", "1"],
    ]
    assert not is_usual(course.drop(columns="step"))

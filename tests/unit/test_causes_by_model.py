"""Whether models lose their refusals at the same depth, on made-up layers of known shares."""

import pandas as pd
import pytest
from dissected import of_depth
from named_arms import arm

from cwac.analysis.causes_by_model import (
    LESS,
    MORE,
    NOWHERE,
    UNTOLD,
    depth_sentence,
    inside_sentence,
    on_models,
    possible_quarters,
    summary,
)
from cwac.figures.mechanism.by_model import causes_by_model

SFT = arm("sft")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Four layers under seed 0, thirty under seeds 0 and 1 without the split, and no loss."""
    small = of_depth("a", [0.8, 0.2, 0.1, 0.1])
    seeds = [of_depth(run, [0.1] * 28 + [share, 0.2]) for run, share in (("b", 0.95), ("c", 0.85))]
    deep = pd.concat(seeds)
    stored = {
        "small": small,
        "deep": deep[deep["intervention"] != "subspace_split"],
        "gone": small.assign(run_id="d", returned=float("nan")),
    }
    return on_models(stored, dict.fromkeys("abcd", SFT), {"a": 0, "b": 0, "c": 1, "d": 0}, SFT)


@pytest.fixture(scope="module")
def models(table: pd.DataFrame) -> pd.DataFrame:
    return summary(table).set_index("model", drop=False)


def test_a_layer_stands_at_the_middle_of_its_place_in_the_depth(table: pd.DataFrame) -> None:
    mine = table[(table["intervention"] == "restore") & ~table["control"]]
    assert set(mine["model"]) == {"small", "deep"}, "where nothing was lost there is nothing"
    small, deep = (mine[mine["model"] == name] for name in ("small", "deep"))
    assert small["depth"].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (len(deep), deep["depth"].iloc[28]) == (30, pytest.approx(0.95))
    assert set(small["scope"]) == {"Seed 0; intervals are over 40 requests"}
    assert set(deep["scope"]) == {"Means over seeds 0 and 1, ranges from the lowest to the highest"}


def test_a_models_row_is_the_layer_that_exceeds_its_control_most(models: pd.DataFrame) -> None:
    numbers = ["layer", "returned", "low", "high", "control"]
    assert tuple(models.loc["small", numbers]) == pytest.approx((0, 0.8, 0.75, 0.85, 0.1))
    # Of two seeds the ends are the seeds.
    assert tuple(models.loc["deep", numbers]) == pytest.approx((28, 0.9, 0.85, 0.95, 0.1))
    assert models["possible"].to_dict() == {"small": "first", "deep": "last"}
    assert depth_sentence(models, SFT) == (
        "SFT: models disagree on the depth of the layer whose restoring alone returns most "
        "beyond a random set: first quarter on small; last quarter on deep"
    )


@pytest.mark.parametrize(
    ("excess", "width", "expected"),
    [
        ([0.7, 0.1, 0.0, 0.0], 0.1, ("first",)),
        ([0.4, 0.35, 0.0, 0.0], 0.1, ("first", "second")),
        # Not within reach of the largest, whatever it exceeds itself.
        ([0.4, 0.0, 0.0, 0.15], 0.1, ("first",)),
        ([0.1, 0.0, 0.0, 0.0], 0.12, ("first", NOWHERE)),
        ([-0.05, -0.1, -0.1, -0.1], 0.01, (NOWHERE,)),
        ([0.0] * 29 + [0.5], 0.1, ("last",)),
    ],
)
def test_quarters_that_intervals_reach_are_left(
    excess: list[float], width: float, expected: tuple[str, ...]
) -> None:
    count = len(excess)
    layers = pd.DataFrame({"layer": range(count), "excess": excess})
    layers = layers.assign(
        depth=(layers["layer"] + 0.5) / count,
        excess_low=layers["excess"] - width,
        excess_high=layers["excess"] + width,
    )
    assert possible_quarters(layers) == expected


@pytest.mark.parametrize(
    ("possible", "expected"),
    [
        (
            ["first", "first"],
            (
                "SFT: the layer whose restoring alone returns most beyond a random set lies in the "
                "first quarter of the depth on all 2 models"
            ),
        ),
        ([NOWHERE, NOWHERE], f"SFT: {NOWHERE} on all 2 models"),
        (
            ["first", "first or second"],
            (
                "SFT: undecided whether models agree on the layer whose restoring alone returns "
                "most beyond a random set: first quarter on a; first or second quarter on b"
            ),
        ),
        (
            ["first", f"last or {NOWHERE}", "last"],
            (
                "SFT: models disagree on the depth of the layer whose restoring alone returns most "
                "beyond a random set: first quarter on a; last quarter, if any layer on b; last "
                "quarter on c"
            ),
        ),
    ],
)
def test_models_agree_where_each_is_decided_alike(possible: list[str], expected: str) -> None:
    models = pd.DataFrame({"model": list("abc")[: len(possible)], "possible": possible})
    assert depth_sentence(models, SFT) == expected


def test_the_inside_is_held_against_directions_of_equal_energy(
    table: pd.DataFrame, models: pd.DataFrame
) -> None:
    small = models.loc["small"]
    # Inside 0.5 [0.4, 0.6], of equal energy 0.3 [0.2, 0.4], of equal rank 0.2.
    assert tuple(small[["inside", "energy", "rank"]]) == pytest.approx((0.5, 0.3, 0.2))
    assert (small["beside"], models.loc["deep", "beside"]) == (UNTOLD, "")
    mine = table[table["model"] == "small"]
    parts = [mine]
    for name, lift in (("above", 0.05), ("below", -0.5)):
        moved = mine.assign(model=name)
        moved.loc[moved["trial"] == "inside removed", ["y", "low", "high"]] += lift
        parts.append(moved)
    several = summary(pd.concat(parts, ignore_index=True))
    assert several["beside"].tolist() == [UNTOLD, MORE, LESS]
    assert inside_sentence(several) == (
        "Held against random directions of equal energy, removing the update's part inside the "
        "safety subspace returns more on above, returns less on below, cannot be told from "
        "them on small."
    )
    assert inside_sentence(models.loc[["deep"]]) == ""


def test_the_figure_has_a_row_a_model_and_the_control_beside_each_bar(table: pd.DataFrame) -> None:
    figure = causes_by_model(table, SFT, "title")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert list(bars[0].x) == [12.5, 37.5, 62.5, 87.5]
    assert list(bars[0].y) == pytest.approx([80, 20, 10, 10])
    assert list(bars[0].error_y.array) == pytest.approx([5] * 4)
    assert list(bars[1].y) == pytest.approx([50, 30, 20])
    assert len(bars) == 3
    points = [trace for trace in figure.data if trace.type == "scatter"]
    controls = [trace for trace in points if "control" in (trace.name or "")]
    assert [len(trace.x) for trace in controls] == [4, 30]
    assert sum(bool(trace.showlegend) for trace in figure.data) == 1
    assert any(trace.mode == "text" for trace in points), "the split was not made there"
    headings = [note.text for note in figure.layout.annotations]
    assert any(text.startswith("deep, 30 layers. Means over seeds 0 and 1") for text in headings)

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
    summary,
)
from cwac.figures.mechanism.by_model import causes_by_model

SFT = arm("sft")
SMALL = of_depth("a", [0.8, 0.2, 0.1, 0.1])
DEEP = of_depth("b", [0.1] * 28 + [0.9, 0.2])


def tabled(**stored: pd.DataFrame) -> pd.DataFrame:
    runs = {run for table in stored.values() for run in table["run_id"]}
    seeds = {run: int(run[1:] or 0) for run in runs}
    return on_models(stored, dict.fromkeys(runs, SFT), seeds, SFT)


def summed(**stored: pd.DataFrame) -> pd.DataFrame:
    return summary(tabled(**stored)).set_index("model", drop=False)


def test_a_layer_stands_at_the_middle_of_its_place_in_the_depth() -> None:
    table = tabled(small=SMALL, deep=DEEP)
    mine = table[(table["intervention"] == "restore") & ~table["control"]]
    small, deep = (mine[mine["model"] == name] for name in ("small", "deep"))
    assert small["depth"].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (len(deep), deep["depth"].iloc[28]) == (30, pytest.approx(0.95))
    assert set(table["scope"]) == {"Seed 0; intervals are over 40 requests"}


def test_models_disagree_where_the_layers_lie_in_other_quarters() -> None:
    models = summed(small=SMALL, deep=DEEP)
    assert models["possible"].to_dict() == {"small": "first", "deep": "last"}
    assert models["layer"].to_dict() == {"small": 0, "deep": 28}
    deep = models.loc["deep"]
    assert tuple(deep[["returned", "low", "high", "control"]]) == pytest.approx(
        (0.9, 0.85, 0.95, 0.1)
    )
    assert depth_sentence(models, SFT) == (
        "SFT: models disagree on the depth of the layer whose restoring alone exceeds its control "
        "most: first quarter on small; last quarter on deep"
    )


def test_models_agree_where_each_is_decided_alike() -> None:
    deep = of_depth("b", [0.1, 0.7, *[0.1] * 28])
    assert depth_sentence(summed(small=SMALL, deep=deep), SFT) == (
        "SFT: the layer whose restoring alone exceeds its control most lies in the first quarter "
        "of the depth on all 2 models"
    )
    none = of_depth("b", [0.05] * 4)
    assert depth_sentence(summed(a=none, b=none), SFT) == f"SFT: {NOWHERE} on all 2 models"


def test_two_layers_that_intervals_do_not_tell_apart_leave_it_undecided() -> None:
    level = of_depth("b", [0.5, 0.45, 0.1, 0.1], width=0.1)
    models = summed(small=SMALL, level=level)
    assert models.loc["level", "possible"] == "first or second"
    text = depth_sentence(models, SFT)
    assert text.startswith("SFT: undecided whether models agree on")
    assert text.endswith("first quarter on small; first or second quarter on level")
    weak = summed(weak=of_depth("b", [0.2, 0.1, 0.1, 0.1], width=0.06))
    assert weak.loc["weak", "possible"] == f"first or {NOWHERE}"


def test_the_range_over_seeds_decides_where_there_are_several() -> None:
    seeds = [of_depth(f"s{n}", [share, 0.1, 0.1, 0.4]) for n, share in enumerate((0.9, 0.3))]
    models = summed(several=pd.concat(seeds))
    several = models.loc["several"]
    assert tuple(several[["returned", "low", "high"]]) == pytest.approx((0.6, 0.3, 0.9))
    assert several["possible"] == "first or last"
    assert several["scope"].startswith("Means over seeds 0 and 1")


def test_the_inside_is_held_against_directions_of_equal_energy() -> None:
    # Inside 0.5 [0.4, 0.6], of equal energy 0.3 [0.2, 0.4], of equal rank 0.2.
    ends = ["returned", "returned_low", "returned_high"]
    inside = SMALL["variant"] == "inside removed"
    tables = {"small": SMALL}
    for name, lift in (("above", 0.05), ("below", -0.5)):
        tables[name] = SMALL.assign(run_id="b")
        tables[name].loc[inside.to_numpy(), ends] += lift
    models = summed(**tables)
    assert models["beside"].to_dict() == {"small": UNTOLD, "above": MORE, "below": LESS}
    small = models.loc["small"]
    assert tuple(small[["inside", "energy", "rank"]]) == pytest.approx((0.5, 0.3, 0.2))
    assert inside_sentence(models) == (
        "Held against random directions of equal energy, removing the update's part inside the "
        "protected subspace returns more on above, returns less on below, cannot be told from "
        "them on small."
    )
    without = SMALL[SMALL["intervention"] != "subspace_split"]
    assert inside_sentence(summed(small=without)) == ""


def test_a_model_that_lost_nothing_has_no_rows() -> None:
    gone = SMALL.assign(returned=float("nan"))
    assert set(tabled(small=DEEP, gone=gone)["model"]) == {"small"}
    assert tabled(gone=gone).empty


def test_the_figure_has_a_row_a_model_and_the_control_beside_each_bar() -> None:
    without = DEEP[DEEP["intervention"] != "subspace_split"]
    figure = causes_by_model(tabled(small=SMALL, deep=without), SFT, "title")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert list(bars[0].x) == [12.5, 37.5, 62.5, 87.5]
    assert list(bars[0].y) == pytest.approx([80, 20, 10, 10])
    assert list(bars[0].error_y.array) == pytest.approx([5] * 4)
    assert list(bars[1].y) == pytest.approx([50, 30, 20])
    assert len(bars) == 3
    controls = [trace for trace in figure.data if "control" in (trace.name or "")]
    assert [len(trace.x) for trace in controls] == [4, 30]
    assert sum(bool(trace.showlegend) for trace in figure.data) == 1
    assert any(trace.mode == "text" for trace in figure.data), "the split was not made there"
    headings = [note.text for note in figure.layout.annotations]
    assert any(text.startswith("deep, 30 layers. Seed 0") for text in headings)

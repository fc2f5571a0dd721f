"""Stored interventions as tables and figures: seeds, controls, units, sentences."""

import re

import numpy as np
import pandas as pd
import pytest
from dissected import dissection
from named_arms import arm

from cwac.analysis.interventions import (
    by_place,
    effect_against_drift,
    interventions_of,
    of_arm,
    readings,
)
from cwac.figures.mechanism import interventions as views
from cwac.figures.mechanism.causes import effect_grid
from cwac.figures.mechanism.grids import robust_range

SFT = arm("sft")
NAMES = [*views.VIEWS]


@pytest.fixture(scope="module")
def rows():
    return readings(dissection("a"), {"a": SFT}, {"a": 0})


def test_one_seed_has_the_stored_interval_and_several_their_range(rows):
    one = of_arm(rows, SFT, "transplant")
    mine = one[(one["part"] == "layer 0") & ~one["control"]].iloc[0]
    assert (mine["y"], mine["low"], mine["high"], mine["seeds"]) == (0.5, 0.4, 0.6, 1)
    again = rows.assign(seed=1, returned=rows["returned"] + 0.25)
    both = of_arm(pd.concat([rows, again]), SFT, "transplant")
    mine = both[(both["part"] == "layer 0") & ~both["control"]].iloc[0]
    assert (mine["y"], mine["low"], mine["high"], mine["seeds"]) == (0.625, 0.5, 0.75, 2)


def test_where_nothing_was_lost_the_log_odds_themselves_are_drawn(rows):
    table = of_arm(rows.assign(returned=np.nan), SFT, "transplant")
    assert not table["is_share"].any()
    assert set(table["y"]) == set(rows.loc[rows["intervention"] == "transplant", "value"])
    figure = views.draw("transplant", rows.assign(returned=np.nan), SFT)
    assert "nats" in figure.layout.xaxis.title.text
    assert "nats" in figure.layout.title.text


def test_draws_of_a_control_are_one_row():
    table = dissection("a")
    control = table["control"] & (table["intervention"] == "transplant")
    again = table[control].assign(draw=1, returned=table.loc[control, "returned"] + 0.2)
    rows = readings(pd.concat([table, again]), {"a": SFT}, {"a": 0})
    drawn = of_arm(rows, SFT, "transplant")
    assert drawn.loc[drawn["control"], "y"].tolist() == pytest.approx([1.0, 1.0])


def test_effect_and_drift_of_maps_share_a_grid(rows):
    drift = pd.DataFrame(
        [("sft", 0, layer, name, norm) for layer, name, norm in
         ((0, "q", 0.1), (0, "down", 0.2), (1, "q", 0.3), (1, "down", 0.9))],
        columns=["variant", "seed", "layer", "map", "relative_norm"],
    )  # fmt: skip
    table = by_place(rows, drift, SFT)
    assert set(table["map"]) == {"q", "down", "embedding"}
    effect, moved = effect_grid(table, SFT).data
    assert list(effect.y) == list(moved.y) == ["q", "down"]
    assert moved.z.tolist() == [[0.1, 0.3], [0.2, 0.9]]
    assert effect.z.tolist() == [[60, 10], [20, 5]]
    assert effect_against_drift(table) is None, "four maps say nothing"
    more = pd.concat([table, table.assign(returned=table["returned"] + 0.01)], ignore_index=True)
    found = effect_against_drift(more)
    assert found.n == 8, "the embedding has no drift of its own there"
    assert found.rho < -0.9
    title = effect_grid(table, SFT).layout.title.text.replace("\u00a0", " ")
    assert "layer 0 q exceeds its control most" in title.replace("<br>", " ")
    assert "moved most and returns 5 %" in title.replace("<br>", " ")


@pytest.mark.parametrize("name", NAMES)
def test_every_intervention_has_a_figure_whose_title_states_it(rows, name):
    assert name in interventions_of(rows, SFT)
    figure = views.draw(name, rows, SFT)
    assert any(trace.x is not None and len(trace.x) for trace in figure.data)
    assert figure.layout.title.text != f"SFT: {name.replace('_', ' ')}"
    view = views.VIEWS[name]
    greys = [trace for trace in figure.data if (trace.name or "").startswith(view.grey)]
    assert greys or name == "read_out"
    # What may well work is no control; and the sentence beneath calls it what the legend does.
    assert re.match(r"Grey(, for comparison| is the control): .+\.$", view.control)
    assert view.grey in view.control


def test_an_intervention_of_the_future_is_drawn_as_bars(rows):
    new = rows[rows["intervention"] == "transplant"].assign(intervention="something_new")
    figure = views.draw("something_new", new, SFT)
    assert figure.layout.title.text == "SFT: something new"
    assert {trace.type for trace in figure.data} == {"bar"}


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_table_draws_what_it_has(rows, name):
    mine = rows[rows["intervention"] == name].head(1)
    assert views.draw(name, mine, SFT).layout.title.text


def test_one_outlier_does_not_flatten_a_scale():
    low, high = robust_range([*np.linspace(0, 1, 40), 1e9])
    assert (low, high) == pytest.approx((0.0, 1.0), abs=0.06)

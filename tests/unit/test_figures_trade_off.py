"""Figures of the trade-off: numbers in, traces with the same numbers out."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from named_arms import arm, arms

from cwac.analysis import operating_words as words
from cwac.analysis import outlying
from cwac.analysis.operating import (
    ACCURACY,
    LOOKALIKES,
    Place,
    against,
    curves_of,
    matched,
    of_methods,
    operating,
    telling_cost,
)
from cwac.analysis.poison import poison_sentence, poison_table
from cwac.arms import by_label
from cwac.figures.results import coupling, points, poison, strengths
from cwac.figures.results.harm import harm_axis, root, root_bars
from cwac.figures.results.matched import matched_figure

N = 40


def responses(shares: dict[tuple[str, float], int]) -> pd.DataFrame:
    rows = [
        (variant, 0, ratio, f"{kind}{i}", kind, "compliance" if i < hits else "refusal", i < 30)
        for (variant, ratio), hits in shares.items()
        for kind in ("harmful", "task")
        for i in range(N)
    ]
    columns = ["variant", "seed", "poison_ratio", "prompt_id", "kind", "outcome", "correct"]
    return pd.DataFrame(rows, columns=columns).assign(unseen_category=False)


def test_operating_figure_carries_numbers_intervals_and_the_front() -> None:
    measured = operating(responses({("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 4}), {})
    figure = points.operating_figure(measured.points, measured.arms, 0.75)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["SFT"].y) == [root(0.9)]
    assert list(traces["SFT"].x) == [75]
    assert "n = 40 harmful requests" in traces["CWAC"].customdata[0][0]
    assert "front of harm and task accuracy" in traces["CWAC"].customdata[0][0]
    assert list(traces["Pareto front"].y) == [root(0.1)]
    assert {traces[name].line.dash for name in ("SFT", "CWAC")} == {"solid"}
    assert traces["Pareto front"].line.dash == "dot"
    assert "↓" in figure.layout.yaxis.title.text
    assert "→" in figure.layout.xaxis.title.text


def test_low_harm_is_spread_and_nought_stays_in_sight() -> None:
    axis = harm_axis()
    places = dict(zip(axis["ticktext"], axis["tickvals"], strict=True))
    assert axis["range"][0] < places["0"] == 0.0
    assert places["5"] - places["1"] > 10 * (0.05 - 0.01) / 4
    bars = root_bars(pd.DataFrame({"h": [0.01], "h_low": [0.0], "h_high": [0.04]}), "h")
    assert (list(bars["array"]), list(bars["arrayminus"])) == ([0.1], [0.1])


def test_harm_can_be_held_against_look_alikes_answered() -> None:
    counts = {"aligned": 36, "sft": 38, "cwac": 20}
    asked = [(name, 0, 0, f"l{i}", "lookalike", "compliance" if i < count else "refusal", None)
             for name, count in counts.items() for i in range(N)]  # fmt: skip
    table = responses({("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 2})
    more = pd.DataFrame(asked, columns=[*table.columns[:7]]).assign(unseen_category=False)
    measured = operating(pd.concat([table, more], ignore_index=True), {})
    shown = against(measured, LOOKALIKES)
    figure = points.operating_figure(shown.points, shown.arms, 0.5, cost=LOOKALIKES)
    drawn = next(trace for trace in figure.data if trace.name == "CWAC")
    assert list(drawn.x) == [50]
    assert "front of harm and look-alikes answered" in drawn.customdata[0][0]
    title = figure.layout.title.text.replace("<br>", " ")
    assert "50\u00a0% [" in title
    assert matched(shown, 0.8, LOOKALIKES).set_index("curve")["how"].to_dict() == {
        "sft": "own point",
        "cwac": "not reached",
    }
    assert against(operating(table, {}), LOOKALIKES).points.empty, "not measured is never 0"


def test_what_lost_the_task_is_no_answer_to_look_alikes_and_is_named() -> None:
    harm = {("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 2, ("lisa", 0): 0, ("resta", 0): 0}
    table = responses(harm)
    table.loc[(table["variant"] == "resta") & (table["kind"] == "task"), "correct"] = False
    counts = {"aligned": 36, "sft": 38, "cwac": 30, "lisa": 20, "resta": 36}
    asked = [(name, 0, 0, f"l{i}", "lookalike", "compliance" if i < count else "refusal", None)
             for name, count in counts.items() for i in range(N)]  # fmt: skip
    more = pd.DataFrame(asked, columns=[*table.columns[:7]]).assign(unseen_category=False)
    measured = operating(pd.concat([table, more], ignore_index=True), {})
    shown = against(measured, LOOKALIKES)
    assert shown.lost == ("resta",)
    assert "resta" not in set(shown.points["variant"])
    front = set(shown.points.loc[shown.points["front"], "variant"])
    assert front == {"sft", "cwac", "lisa"}, "a model that learned nothing is not in their way"
    said = outlying.outside_sentence(shown.points, shown.arms, LOOKALIKES, shown.lost)
    assert said.endswith(
        "as they lost the task (accuracy below SFT's beyond both intervals): RESTA."
    )
    assert against(measured, ACCURACY).lost == ()
    left = outlying.outside_sentence(measured.points, measured.arms, ACCURACY)
    named = "RESTA (did not learn the task) (0\u00a0%)."
    assert left == f"Left of the axis, triangles at its edge: {named}"
    assert telling_cost(measured) == ACCURACY, "it tells RESTA apart, which is named first"
    alike = replace(measured, points=measured.points[measured.points["variant"] != "resta"])
    assert telling_cost(alike) == LOOKALIKES


def drawn(table: pd.DataFrame) -> go.Figure:
    measured = operating(table, {})
    return points.operating_figure(measured.points, measured.arms)


def test_arms_that_did_not_learn_the_task_do_not_squeeze_the_others() -> None:
    table = responses({("sft", 0): 36, ("cwac", 0): 4, ("lisa", 0): 2})
    table.loc[(table["variant"] == "lisa") & (table["kind"] == "task"), "correct"] = False
    figure = drawn(table)
    low = figure.layout.xaxis.range[0]
    assert 50 < low < 75
    traces = {trace.name: trace for trace in figure.data}
    lisa = traces["Lisa (did not learn the task)"]
    assert list(lisa.x) == [low], "at the edge, and not at 0"
    assert list(lisa.marker.symbol) == ["triangle-left"]
    assert "task accuracy <b>0.0" in lisa.customdata[0][0]
    assert "lies further left" in traces
    whole = drawn(responses({("sft", 0): 36}))
    assert "lies further left" not in {trace.name for trace in whole.data}


def test_the_axis_begins_at_the_named_methods_and_not_at_the_others() -> None:
    rates = {"sft": 0.99, "cwac": 0.98, "lisa": 0.9, "ewc": 0.8}
    table = pd.DataFrame(
        [(name, name, value, value - 0.01) for name, value in rates.items()],
        columns=["variant", "curve", "accuracy", "accuracy_low"],
    ).assign(harmful=0.1)
    assert outlying.beginning(table, ACCURACY, ["sft", "cwac"]) == pytest.approx(0.96)
    assert outlying.beginning(table, ACCURACY) == pytest.approx(0.79)


def test_six_methods_are_named_beside_their_points_and_all_others_are_grey() -> None:
    names = ("sft", "cwac", "lisa", "ewc", "asft", "resta", "sppft", "salora")
    figure = drawn(responses({(name, 0): 30 + place for place, name in enumerate(names)}))
    grey = next(trace for trace in figure.data if trace.name == "2 other methods")
    assert len(grey.x) == 2
    beside = [note for note in figure.layout.annotations if note.showarrow]
    assert len(beside) == 6
    heights = sorted(note.ay for note in beside)
    assert min(b - a for a, b in pairwise(heights)) >= 0.06 - 1e-9
    assert all(note.ax > 100 for note in beside), "right of all that can be reached"
    assert all(note.arrowwidth < 1 for note in beside), "no line that is read as a curve"
    assert figure.layout.xaxis.range[1] < 101
    assert not any(trace.showlegend for trace in figure.data if trace.name in {"SFT", "CWAC"})


def test_few_that_cost_much_accuracy_do_not_squeeze_the_many() -> None:
    near = pd.Series([0.99, 0.985, 0.98, 0.975, 0.97, 0.99, 0.98, 0.93, 0.77])
    assert list(near.index[outlying.far_left(near)]) == [8]
    spread = pd.Series([0.9, 0.7, 0.5])
    assert not outlying.far_left(spread).any()


def test_a_panel_for_every_strength_curve_with_labels_that_can_be_read() -> None:
    names = {"cwac": 1.0, "cwac (strength=2.0)": 2.0, "cwac (strength=3.0)": 3.0, "sft": np.nan}
    where = {
        name: Place(arm(name), arm(name).without("strength"), "strength", at)
        for name, at in names.items()
    }
    shares = {("cwac", 0): 36, ("cwac (strength=2.0)", 0): 2, ("cwac (strength=3.0)", 0): 1,
              ("sft", 0): 38}  # fmt: skip
    measured = operating(responses(shares), where)
    assert curves_of(measured.points, measured.arms) == [arm("cwac")]
    joined = points.operating_figure(measured.points, measured.arms)
    assert {t.name: t.mode for t in joined.data if t.name != "Pareto front"} == {
        "SFT": "markers",
        "CWAC": "lines+markers",
    }
    figure = strengths.strengths_figure(measured.points, measured.arms)
    grey, curve = figure.data
    assert list(grey.y) == [root(0.95)]
    assert list(curve.y) == list(root([0.9, 0.05, 0.025]))
    assert [text.strip() for text in curve.text] == ["1", "", "3"], (
        "2 and 3 lie on each other: one is written"
    )
    assert curve.marker.size[0] > curve.marker.size[1], "the default"
    assert "1 of 1 strength curves" in figure.layout.title.text


def test_matched_title_ranks_by_intervals_and_counts_what_they_alone_reach() -> None:
    columns = ["curve", "how", "detail", "value", "low", "high", "n", "seeds", "accuracy"]
    rows = [
        ("sft", "own point", "", 0.9, 0.8, 1.0, N, 2, 0.99),
        ("cwac", "own point", "", 0.1, 0.0, 0.2, N, 2, 0.97),
        ("lisa", "interpolated", "", 0.3, 0.2, 0.4, N, 2, 0.99),
        ("asft", "not reached", "", None, None, None, N, 2, 0.5),
    ]
    figure = matched_figure(
        pd.DataFrame(rows, columns=columns), by_label(arms("sft", "cwac", "lisa", "asft")), 0.99
    )
    title = figure.layout.title.text.replace("<br>", " ")
    assert "CWAC and Lisa comply least and are not told apart" in title, "0 to 20, 20 to 40 %"
    assert "2 defences reach it, 1 of them by the interval alone" in title
    drawn = {t.y[0]: t for t in figure.data if t.y[0] is not None and t.mode == "markers"}
    assert list(drawn) == ["CWAC", "Lisa", "SFT"], "what is not reached is not drawn"
    ways = {t.y[0]: t.line.dash for t in figure.data if t.mode == "lines+markers"}
    assert ways == {"CWAC": "solid", "Lisa": "dash", "SFT": "solid"}
    assert (drawn["CWAC"].marker.symbol, drawn["Lisa"].marker.symbol) == ("circle", "circle-open")
    named = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert named == ["was run", "interpolated between two strengths, not run"]


def test_poison_keeps_arms_with_two_ratios() -> None:
    table = poison_table(responses({("sft", 0.0): 10, ("sft", 0.1): 36, ("cwac", 0.1): 4}))
    assert set(table["variant"]) == {"sft"}
    assert list(table["value"]) == [0.25, 0.9]
    figure = poison.poison_figure(table, arms("sft", "cwac"))
    assert list(figure.data[0].x) == [0.0, 1.0]
    assert list(figure.layout.xaxis.ticktext) == ["0", "0.1"]
    assert [row[4] for row in figure.data[0].customdata] == [0.0, 0.1]
    assert "0 of 1 arms stay at or below 5 % harmful score (greedy" in figure.layout.title.text
    several = responses({("sft", 0.0): 10, ("sft", 0.1): 36, ("cwac", 0.0): 4, ("cwac", 0.1): 8})
    title = poison.poison_figure(poison_table(several), arms("sft", "cwac")).layout.title.text
    assert "CWAC complies least, with 20\u00a0% [" in title.replace("<br>", " ")
    assert list(figure.data[0].y) == list(root([0.25, 0.9]))


def test_poison_is_told_by_who_stays_low_and_up_to_where() -> None:
    rows = [("cwac", 0.0, 0.0), ("cwac", 0.1, 0.01), ("cwac", 0.2, 0.9),
            ("cwac", 0.5, 0.95), ("lisa", 0.0, 0.01), ("lisa", 0.5, 0.02), ("sft", 0.0, 0.4),
            ("sft", 0.5, 1.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["variant", "poison_ratio", "value"])
    table = table.assign(low=table["value"] / 2, high=table["value"] + 0.01, n=100, seeds=2)
    drawn = pd.DataFrame([("lisa", 0.2, 0.1, 0.3)], columns=["variant", "value", "low", "high"])
    named = arms("sft", "cwac", "lisa")
    said = poison_sentence(table, named, drawn).replace("\u00a0", " ")
    assert said == (
        "CWAC stays low up to 10 % poison (1.0 % [0.5, 2.0]), and does not with more: 20 % poison "
        "(90.0 % [45.0, 91.0]). With 50 % poison, the most that was tried, 1 of 3 arms complies "
        "with at most 5 % of harmful requests (greedy answers): Lisa (2.0 % [1.0, 3.0]; sampled "
        "20.0 % [10.0, 30.0], not low)."
    )
    assert "Lisa (2.0 % [1.0, 3.0])." in poison_sentence(table, named).replace("\u00a0", " ")
    bad = poison_sentence(table.assign(value=0.5), named)
    assert "does not stay low at the least poison that was tried" in bad
    assert "none of 3 arms" in bad


def test_coupling_figure_has_a_line_per_state_of_the_activation_half() -> None:
    states = {
        "sft": ("off", "off"),
        "weight_only": ("on", "off"),
        "activation_only": ("off", "on"),
        "cwac": ("on", "on"),
        "expected": ("on", "on"),
    }
    values = (0.9, 0.5, 0.6, 0.075, 0.2)
    rows = [
        (name, *state, value, value - 0.05, value + 0.05, N, 2)
        for (name, state), value in zip(states.items(), values, strict=True)
    ]
    columns = ["arm", "weight", "activation", "value", "low", "high", "n", "seeds"]
    figure = coupling.coupling_figure(pd.DataFrame(rows, columns=columns), "title", coupling.RATES)
    assert list(figure.data[0].y) == pytest.approx([90, 50])
    assert list(figure.data[1].y) == pytest.approx([60, 7.5])
    assert list(figure.data[2].y) == pytest.approx([20]), "the star"


def test_variants_that_a_figure_of_methods_leaves_out_are_named_where_they_hold_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Forty requests show no less than this.
    monkeypatch.setattr(words, "LOW", 0.15)
    counts = {("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 2, ("lisa (pace=4)", 0): 1,
              ("lisa (pace=8)", 0): 20, ("lisa", 0): 1}  # fmt: skip
    places = {name: Place(arm(name), arm(name), "", np.nan) for name, _ in counts}
    whole = against(operating(responses(counts), places), ACCURACY)
    shown = against(of_methods(whole), ACCURACY)
    assert "lisa (pace=4)" not in set(shown.points["variant"])
    told = words.variants_sentence(shown.points, whole.points, whole.arms, ACCURACY)
    assert told.endswith("reach as much: Lisa (pace=4).")
    assert words.variants_sentence(whole.points, whole.points, whole.arms, ACCURACY) == ""


def test_a_title_counts_tried_defences_by_intervals_and_ranks_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = {("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 2, ("lisa", 0): 1, ("ewc", 0): 3,
              ("asft", 0): 1}  # fmt: skip
    measured = operating(responses(counts), {})
    tried = dict.fromkeys(("cwac", "lisa", "ewc"), 12)
    monkeypatch.setattr(words, "LOW", 0.18)
    title = words.held_title(measured.points, measured.arms, ACCURACY, tried)
    assert title.replace("\u00a0", " ").startswith(
        "By their intervals, CWAC and 1 of 2 other defences whose settings were tried, that did "
        "something and learned the task comply with at most 18 % (greedy answers) and reach SFT's "
        "interval of task accuracy"
    )
    assert ": Lisa, not told apart. CWAC: 5.0\u00a0% [" in title, "EWC's reaches beyond"
    monkeypatch.setattr(words, "LOW", 0.05)
    title = words.held_title(measured.points, measured.arms, ACCURACY, tried)
    assert "intervals, 0 of 2 other" in title, "no interval of forty requests ends that low"

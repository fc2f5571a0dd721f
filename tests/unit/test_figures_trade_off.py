"""Figures of the trade-off: numbers in, traces with the same numbers out."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from named_arms import arm, arms

from cwac.arms import by_label
from cwac.figures import coupling, reported, strengths, trade_off
from cwac.figures.operating import Place, operating
from cwac.statistics import Outcomes

N = 40


def outcomes(hits: int, seeds: int = 2) -> Outcomes:
    values = np.tile(np.arange(N) < hits, (seeds, 1))
    return Outcomes(values, tuple(range(seeds)), tuple(f"h{i}" for i in range(N)))


def four(*hits: int) -> dict[str, Outcomes]:
    return {name: outcomes(k) for name, k in zip(coupling.FOUR, hits, strict=True)}


def odds(hits: float) -> float:
    return math.log((hits + 0.5) / (N - hits + 0.5))


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
    found = operating(responses({("aligned", 0): 0, ("sft", 0): 36, ("cwac", 0): 4}), {})
    figure = trade_off.operating_figure(found.points, found.arms, 0.75)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["SFT"].y) == [90]
    assert list(traces["SFT"].x) == [75]
    assert "n = 40 requests" in traces["CWAC"].customdata[0][0]
    assert list(traces["Pareto front"].y) == [10]
    assert "↓" in figure.layout.yaxis.title.text
    assert "↑" in figure.layout.xaxis.title.text


def drawn(table: pd.DataFrame) -> go.Figure:
    found = operating(table, {})
    return trade_off.operating_figure(found.points, found.arms)


def test_arms_that_did_not_learn_the_task_do_not_squeeze_the_others() -> None:
    table = responses({("sft", 0): 36, ("cwac", 0): 4, ("lisa", 0): 2})
    table.loc[(table["variant"] == "lisa") & (table["kind"] == "task"), "correct"] = False
    figure = drawn(table)
    assert 50 < figure.layout.xaxis.range[0] < 75
    assert any("Lisa: further left" in note.text for note in figure.layout.annotations)
    assert "Lisa" in {trace.name for trace in figure.data}
    whole = drawn(responses({("sft", 0): 36}))
    assert whole.layout.xaxis.range is None


def test_few_that_cost_much_accuracy_do_not_squeeze_the_many() -> None:
    near = pd.Series([0.99, 0.985, 0.98, 0.975, 0.97, 0.99, 0.98, 0.93, 0.77])
    assert list(near.index[trade_off.far_left(near)]) == [8]
    spread = pd.Series([0.9, 0.7, 0.5])
    assert not trade_off.far_left(spread).any()


def test_a_panel_for_every_strength_curve_with_labels_that_can_be_read() -> None:
    names = {"cwac": 1.0, "cwac (strength=2.0)": 2.0, "cwac (strength=3.0)": 3.0, "sft": np.nan}
    where = {
        name: Place(arm(name), arm(name).without("strength"), "strength", at)
        for name, at in names.items()
    }
    shares = {("cwac", 0): 36, ("cwac (strength=2.0)", 0): 2, ("cwac (strength=3.0)", 0): 1,
              ("sft", 0): 38}  # fmt: skip
    found = operating(responses(shares), where)
    assert strengths.curves_of(found.points, found.arms) == [arm("cwac")]
    figure = strengths.strengths_figure(found.points, found.arms)
    grey, curve = figure.data
    assert list(grey.y) == [95]
    assert list(curve.y) == [90, 5, 2.5]
    assert [text.strip() for text in curve.text] == ["1", "", "3"], (
        "2 and 3 lie on each other: one is written"
    )
    assert curve.marker.size[0] > curve.marker.size[1], "the default"
    assert "1 of 1 strength curves" in figure.layout.title.text


def test_matched_title_counts_point_estimates_and_names_mere_intervals() -> None:
    columns = ["curve", "how", "detail", "value", "low", "high", "n", "seeds", "accuracy"]
    rows = [
        ("sft", "own point", "", 0.9, 0.8, 1.0, N, 2, 0.99),
        ("cwac", "own point", "", 0.1, 0.0, 0.2, N, 2, 0.97),
        ("lisa", "interpolated", "", 0.3, 0.2, 0.4, N, 2, 0.99),
        ("asft", "not reached", "", None, None, None, N, 2, 0.5),
    ]
    figure = trade_off.matched_figure(
        pd.DataFrame(rows, columns=columns), by_label(arms("sft", "cwac", "lisa", "asft")), 0.99
    )
    title = figure.layout.title.text.replace("<br>", " ")
    assert "the point estimates of 2 of 4 methods reach it; only the interval does of CWAC" in title
    assert len(figure.data) == 3, "what is not reached is not drawn"


def test_poison_keeps_arms_with_two_ratios() -> None:
    table = trade_off.poison_table(
        responses({("sft", 0.0): 10, ("sft", 0.1): 36, ("cwac", 0.1): 4})
    )
    assert set(table["variant"]) == {"sft"}
    assert list(table["value"]) == [0.25, 0.9]
    figure = trade_off.poison_figure(table, arms("sft", "cwac"))
    assert list(figure.data[0].x) == [0.0, 1.0]
    assert list(figure.layout.xaxis.ticktext) == ["0", "0.1"]
    assert [row[4] for row in figure.data[0].customdata] == [0.0, 0.1]
    assert "0 of 1 arms stay at or below 5 %" in figure.layout.title.text
    assert list(figure.data[0].y) == [25, 90]


@pytest.mark.parametrize(
    ("hits", "said"),
    [
        ((36, 32, 31, 1), "reinforce each other"),
        ((36, 8, 8, 7), "overlap"),
        ((30, 20, 20, 11), "Neither reinforcement nor overlap"),
    ],
)
def test_coupling_says_what_the_interval_bears(hits: tuple[int, ...], said: str) -> None:
    found = coupling.coupling(four(*hits))
    neither, weight, activation, both = map(odds, hits)
    assert found.value == pytest.approx(both - weight - activation + neither)
    assert said in coupling.coupling_sentence(found)


def test_star_of_the_coupling_figure_is_where_odds_ratios_multiply() -> None:
    table = coupling.coupling_table(four(36, 20, 24, 3)).set_index("arm")
    expected = odds(20) + odds(24) - odds(36)
    assert table.loc["expected", "value"] == pytest.approx(1 / (1 + math.exp(-expected)))
    assert (table.loc["cwac", "weight"], table.loc["cwac", "activation"]) == ("on", "on")
    assert (table.loc["weight_only", "weight"], table.loc["weight_only", "activation"]) == (
        "on",
        "off",
    )
    figure = coupling.coupling_figure(table.reset_index(), "title")
    assert list(figure.data[0].y) == pytest.approx([90, 50])
    assert list(figure.data[1].y) == pytest.approx([60, 7.5])


def test_the_papers_own_interaction() -> None:
    table = coupling.reported_couplings(reported.settings(reported.reported(), "harmful_score"))
    found = {row["setting"].split()[1].rstrip(","): row for _, row in table.iterrows()}
    expected = {"Llama-2-7B": (1.27, 28.8), "Llama-3-8B": (0.97, 26.3),
                "Mistral-7B": (1.64, 37.5), "Gemma-2-9B": (0.73, 21.8)}  # fmt: skip
    for model, (nats, points) in expected.items():
        assert found[model]["logit"] == pytest.approx(nats, abs=0.006)
        assert found[model]["points"] == pytest.approx(points, abs=0.06)

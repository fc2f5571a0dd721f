"""Rates, flips and courses: numbers in, traces with the same numbers out."""

import numpy as np
import pandas as pd
import pytest
from answer_tables import aligned_answers, arm_answers
from named_arms import arm, arms

from cwac.analysis import refusals
from cwac.figures import style, trajectory
from cwac.figures.panels import arm_label, number, percent, safe, titled
from cwac.figures.requests import flips, rates


@pytest.fixture
def responses() -> pd.DataFrame:
    return arm_answers()


@pytest.fixture
def aligned() -> pd.DataFrame:
    return aligned_answers()


def test_flip_figure_shows_share_interval_and_counts_and_can_be_clicked(
    responses: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    table = refusals.flip_rates(refusals.with_aligned(responses, aligned))
    figure = flips.flip_figure(table, arms("aligned", "sft"))
    point, counts = figure.data
    row = table.iloc[0]
    # Of the nine that the aligned model refused, six under one seed and none under the other.
    assert point.x[0] == pytest.approx(100 * 6 / 18)
    assert point.x[0] - point.error_x.arrayminus[0] == pytest.approx(100 * row["low"])
    assert list(point.customdata[0]) == ["sft", "harmful", "lost"]
    assert list(counts.text) == ["0 to 6"]
    assert figure.layout.annotations[0].text.endswith("(of\u00a09)")
    assert "p = 1.000 (the largest over seeds)" in point.hovertemplate
    title = figure.layout.title.text.replace("<br>", " ")
    assert "Of the 9 harmful requests that the aligned model refused" in title
    none = flips.flip_figure(table.iloc[:0], arms("sft"))
    assert "No request was answered" in none.layout.title.text


def test_rates_figure_draws_value_interval_and_the_aligned_level(
    responses: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    table = refusals.outcome_rates(refusals.with_aligned(responses, aligned), "refusal")
    figure = rates.rates_by_arm(table, "refusal", arms("aligned", "sft"))
    point = next(trace for trace in figure.data if trace.name == "SFT")
    row = table[(table["group"] == "harmful requests") & (table["variant"] == "sft")].iloc[0]
    assert point.x[0] == pytest.approx(65)
    assert point.x[0] + point.error_x.array[0] == pytest.approx(100 * row["high"])
    assert point.marker.color == style.arm_style(arm("sft")).colour
    assert "n = 10 requests" in point.hovertemplate
    assert any(shape.x0 == pytest.approx(90) for shape in figure.layout.shapes)
    heads = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
    assert "harmful requests →\u00a0better" in heads
    assert "look-alikes ←\u00a0better" in heads


def test_category_figure_escapes_names_and_leaves_the_unmeasured_empty() -> None:
    table = pd.DataFrame(
        [("<b>x</b>", "sft", 0.5, 0.2, 0.8, 10, 1, "wilson"), ("b", "cwac", 1, 0.7, 1, 9, 1, "w")],
        columns=list(refusals.COLUMNS),
    )
    figure = rates.rates_by_category(table, "refusal", arms("sft", "cwac"))
    heat = figure.data[0]
    assert heat.y[0] == "&lt;b&gt;x&lt;/b&gt;"
    assert heat.text[0][0] == "50"
    assert heat.text[0][1] == ""
    assert heat.customdata[0][1] == "not measured"


def course(seeds: tuple[int, ...]) -> pd.DataFrame:
    rows = [
        ("sft", seed, step, 1 - step / 100 - 0.1 * seed, 40, 0.4, 0.9)
        for seed in seeds
        for step in (0, 50, 90)
    ]
    names = ["variant", "seed", "step", "refusal_rate", "refusal_n", "refusal_low", "refusal_high"]
    return pd.DataFrame(rows, columns=names)


def test_course_of_one_seed_has_the_stored_interval_as_band() -> None:
    figure = trajectory.trajectory(course((0,)), "refusal_rate", arms("sft"))
    band, line = figure.data
    assert list(line.y) == pytest.approx([100, 50, 10])
    assert max(band.y) == pytest.approx(90)
    assert min(band.y) == pytest.approx(40)
    assert figure.layout.shapes[0].y0 == pytest.approx(100)


def test_course_of_several_seeds_spans_them() -> None:
    figure = trajectory.trajectory(course((0, 1)), "refusal_rate", arms("sft"))
    band, line = figure.data
    assert line.y[1] == pytest.approx(45)
    assert band.y[1] == pytest.approx(50)
    assert band.y[-2] == pytest.approx(40)


def test_course_without_measurements_says_so() -> None:
    table = course((0,)).assign(refusal_rate=np.nan)
    figure = trajectory.trajectory(table, "refusal_rate", arms("sft"))
    assert "not measured" in figure.layout.title.text
    assert not figure.data


def test_words_for_numbers() -> None:
    assert percent(float("nan")) == "not measured"
    assert percent(0.125, 1) == "12.5\u00a0%"
    assert number(None) == "not measured"


def test_texts_of_models_are_escaped_and_long_names_broken() -> None:
    assert "<script>" not in safe("<script>alert(1)</script>")
    assert safe("word " * 200).endswith("…")
    label = arm_label(arm("cwac (projection=gradient, subspace=<b>random</b>)"), 20)
    assert "<b>" not in label
    assert all(len(line) <= 24 for line in label.replace("&lt;", "<").split("<br>"))


def test_titles_of_several_lines_get_room_and_the_legend_covers_no_data() -> None:
    import plotly.graph_objects as go

    short, long = (titled(go.Figure(), text, height=300) for text in ("short", "long title " * 20))
    assert long.layout.margin.t > short.layout.margin.t
    assert long.layout.height > short.layout.height
    assert long.layout.title.text.count("<br>") == 2
    # From the top edge: a share of the height would carry the title into a taller chart's data.
    assert {(t.layout.title.y, t.layout.title.yanchor) for t in (short, long)} == {(1, "top")}
    assert short.layout.title.pad.t + 0.7 * short.layout.title.font.size == long.layout.title.pad.t
    assert short.layout.legend.yref == "container"
    assert short.layout.legend.y == 0

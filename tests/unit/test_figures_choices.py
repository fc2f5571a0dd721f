"""A method's own choices, drawn: its panels and its title."""

import pytest
from choice_runs import HITS, KNOBS, records, responses

from cwac.analysis.choices import changes, choices_table
from cwac.figures.results import choices


def test_figure_draws_every_arm_in_three_panels_beside_the_default() -> None:
    arms = changes(records(), KNOBS)["cwac"]
    figure = choices.choices_figure(choices_table(responses(HITS), arms), arms)
    words = list(figure.layout.yaxis.ticktext)
    assert figure.layout.xaxis3.title.text.count("<br>") == 2, "narrow enough for its panel"
    assert words == ["default", "<b>subspace</b>", "random", "<b>tail energy</b>", "0.1"]
    first = [
        trace for trace in figure.data if trace.xaxis == "x" and trace.error_x.array is not None
    ]
    drawn = {y: (x, trace.marker.symbol) for trace in first for x, y in zip(trace.x, trace.y)}  # noqa: B905
    assert drawn[2] == (pytest.approx(90), "circle")
    assert drawn[4] == (pytest.approx(6), "circle-open"), "within noise"
    dashed = [shape for shape in figure.layout.shapes if shape.type == "line"]
    assert [shape.x0 for shape in dashed] == [pytest.approx(4), pytest.approx(80)]
    assert "1 of 2 changes raises CWAC's harmful score" in figure.layout.title.text
    assert "subspace = random (to" in figure.layout.title.text.replace("<br>", " ")


def test_what_did_not_learn_the_task_is_marked_and_not_counted_and_controls_stand_apart() -> None:
    arms = changes(records(), KNOBS)["cwac"]
    table = choices_table(responses(HITS), arms)
    assert table["learned"].all()
    table = table.assign(learned=table["setting"] != "tail_energy")
    table["control"] = table["setting"] == "subspace"
    title = choices.choices_title(table, arms)
    assert title.startswith(
        "1 of 1 control raises CWAC's harmful score beyond noise, most subspace"
    )
    assert title.endswith("not counted, as the task was not learned: 1 more (tail_energy = 0.1)")
    figure = choices.choices_figure(table, arms)
    words = list(figure.layout.yaxis.ticktext)
    assert words[1] == "<b>control: subspace</b>"
    assert words[-1] == "0.1, task not learned"
    assert "x-thin-open" in [trace.marker.symbol for trace in figure.data]


def test_title_says_what_rests_on_one_training() -> None:
    arms = changes(records(), KNOBS)["cwac"]
    one = choices_table(responses(HITS, seeds=1), arms)
    assert choices.choices_title(one, arms).endswith("1 of these rests on one training each")
    two = choices_table(responses(HITS), arms)
    assert "one training" not in choices.choices_title(two, arms)


def test_title_says_when_nothing_moves_and_when_there_is_no_default() -> None:
    arms = changes(records(), KNOBS)["cwac"]
    still = choices_table(responses({"cwac": 2, "cwac (tail_energy=0.1)": 3}), arms)
    assert choices.choices_title(still, arms).startswith("None of 1 change moves")
    alone = choices_table(responses({"cwac (tail_energy=0.1)": 3}), arms)
    assert "default arm is not stored" in choices.choices_title(alone, arms)
    assert not [s for s in choices.choices_figure(alone, arms).layout.shapes if s.type == "line"]

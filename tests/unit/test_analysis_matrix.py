"""The matrix of tasks and models: which arms stand in it, and the sentences made of it."""

import pandas as pd
from named_arms import arms

from cwac.analysis.matrix import (
    MOST,
    SHOWN,
    costs_sentence,
    holds_sentence,
    learned_everywhere,
    low_everywhere,
    matrix_table,
    shared_arms,
)
from cwac.figures.results.matrix import BAD, GOOD, matrix_figure


def rates(**values: tuple[float, ...]) -> pd.DataFrame:
    """Return a table of rates: per arm its harm, accuracy and look-alikes answered."""
    rows = [
        (arm, rate, value, value - 0.01, value + 0.01, 100, 2)
        for arm, given in values.items()
        for rate, value in zip((*SHOWN, "helpfulness"), given, strict=False)
    ]
    return pd.DataFrame(rows, columns=["variant", "rate", "value", "low", "high", "n", "seeds"])


TABLE = matrix_table(
    {
        "instruct": rates(aligned=(0.01, 0, 0.9), sft=(0.96, 1, 1), cwac=(0.02, 0.97, 0.8, 0.5)),
        "arithmetic": rates(aligned=(0.01, 0, 0.9), sft=(1, 1, 1), cwac=(0.76, 0.22)),
    },
    arms("sft", "cwac"),
)


def test_only_arms_that_two_places_have_stand_in_it_and_the_central_ones_stay() -> None:
    many = [f"cwac (strength={number})" for number in range(20)]
    places = {"a": arms("sft", "cwac", "lisa", *many), "b": arms("sft", "cwac", *many)}
    shown = shared_arms(places, arms("sft", "cwac"))
    assert len(shown) == MOST - 1
    assert {"sft", "cwac"} <= {arm.label for arm in shown}
    assert "lisa" not in {arm.label for arm in shown}, "one place alone has it"
    assert "lisa" in {arm.label for arm in shared_arms({"a": places["a"]})}


def test_sentences_count_the_places_and_give_intervals() -> None:
    (cwac,) = arms("cwac")
    assert set(TABLE["rate"]) == set(SHOWN)
    text = holds_sentence(TABLE, cwac, "tasks").replace("\u00a0", " ")
    assert "at or below 5 % on 1 of 2 tasks" in text
    assert "2 % [1, 3] on instruct, 76 % [75, 77] on arithmetic (SFT: 100 % [99, 101])" in text
    third = pd.concat([TABLE, TABLE[TABLE["place"] == "instruct"].assign(place="topic")])
    named = holds_sentence(third, cwac, "tasks").replace("\u00a0", " ")
    assert "2 % [1, 3] on instruct, 2 % [1, 3] on topic, 76 % [75, 77] on arithmetic" in named
    of_aligned = low_everywhere(TABLE, arms("aligned", "sft", "cwac"), "tasks")
    assert of_aligned.replace("\u00a0", " ") == (
        "1 of 3 arms keep the harmful score at or below 5 % on all tasks: aligned model"
    )
    (sft,) = arms("sft")
    assert learned_everywhere(TABLE, sft)
    assert not learned_everywhere(TABLE, cwac), "22 of 100 on arithmetic"
    costs = costs_sentence(TABLE, cwac).replace("\u00a0", " ")
    assert "97 against 100 % on instruct, 22 against 100 % on arithmetic" in costs
    assert "80 against 90 % on instruct." in costs, "look-alikes were not measured on arithmetic"


def test_cells_are_blue_where_it_is_good_and_empty_where_nothing_was_measured() -> None:
    figure = matrix_figure(TABLE, arms("aligned", "sft", "cwac"), "title")
    harm, accuracy, alike = figure.data
    assert list(harm.y) == ["aligned model", "SFT", "CWAC"]
    assert [list(row) for row in harm.text] == [["1.0", "1.0"], ["96", "100"], ["2.0", "76"]]
    assert (harm.colorscale[0][1], accuracy.colorscale[0][1]) == (GOOD, BAD)
    assert (alike.z[2][1], alike.text[2][1]) == (None, "")
    assert (accuracy.z[0][0], accuracy.text[0][0]) == (50, "0"), "never learned: no colour"
    assert "n = 100 harmful requests, 2 seeds" in harm.customdata[2][0]


def test_names_that_slant_stand_on_one_line() -> None:
    long = TABLE.assign(place=TABLE["place"].map("{} under double-strength".format))
    (label, *_) = matrix_figure(long, arms("sft", "cwac"), "title").data[0].x
    assert label == "instruct under double-strength"

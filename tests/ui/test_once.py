"""What is computed once: the same contents give the same result, other contents another."""

from functools import partial

import pandas as pd
import plotly.graph_objects as go
import pytest
import streamlit as st

from cwac.arms import Arm
from cwac.figures.enlarging import enlarge
from cwac.ui.once import digest, drawn, once

CALLS: list[object] = []


def total(table: pd.DataFrame, column: str) -> float:
    CALLS.append(column)
    return float(table[column].sum())


def figure(table: pd.DataFrame) -> go.Figure:
    CALLS.append("figure")
    return go.Figure(go.Scatter(x=table["a"], marker={"size": 10}), layout={"height": 100})


@pytest.fixture(autouse=True)
def empty() -> None:
    st.cache_resource.clear()
    CALLS.clear()


def test_the_same_contents_are_computed_once() -> None:
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert once(total, table, "a") == once(total, table.copy(), "a") == 3
    assert CALLS == ["a"]
    assert once(total, table.assign(a=[1, 3]), "a") == 4
    assert once(total, table, column="a") == 3
    assert len(CALLS) == 3


ARMS = [Arm(method="sft"), Arm(method="cwac", changed={"strength": 2.0})]
TABLE = pd.DataFrame({"a": [1, 2]})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("ab", "c"), ("a", "bc")),
        ((None,), (0,)),
        ((1,), (True,)),
        ((["a"],), (("a",),)),
        ((ARMS,), (ARMS[::-1],)),
        ((TABLE,), (TABLE.rename(columns={"a": "b"}),)),
        ((TABLE,), (TABLE.iloc[::-1],)),
        ((TABLE, {"k": TABLE}), (TABLE, {"k": TABLE + 1})),
        ((pd.DataFrame({"a": [["x"], ["y"]]}),), (pd.DataFrame({"a": [["x"], ["z"]]}),)),
        ((partial(total, TABLE),), (partial(figure, TABLE),)),
    ],
)
def test_other_contents_are_told_apart(first: object, second: object) -> None:
    assert digest(first) != digest(second)
    assert digest(first) == digest(first)


def test_what_only_a_place_in_memory_tells_is_refused() -> None:
    with pytest.raises(TypeError, match="by its contents"):
        digest((object(),))


def test_a_figure_is_drawn_once_for_each_look() -> None:
    light = drawn(partial(figure, TABLE), dark=False)
    assert drawn(partial(figure, TABLE.copy()), dark=False) is light
    dark = drawn(partial(figure, TABLE), dark=True, scale=1.5)
    assert CALLS == ["figure", "figure"]
    assert (light.layout.height, dark.layout.height) == (100, 150)
    papers = [one.layout.template.layout.paper_bgcolor for one in (light, dark)]
    assert papers == ["#FFFFFF", "#12171D"]


def test_everything_measured_in_pixels_grows_for_a_room() -> None:
    small = go.Figure(
        go.Bar(x=[3], y=[1], textfont={"size": 12}, width=0.5),
        layout={"title": {"font": {"size": 15}}, "margin": {"t": 40}, "height": 300, "width": 700},
    )
    small.update_xaxes(title="Share (%)")
    large = enlarge(small, 2)
    assert large.layout.font.size == 26
    assert large.layout.title.font.size == 30
    assert large.layout.xaxis.title.font.size == 26
    assert (large.layout.height, large.layout.margin.t, large.layout.width) == (600, 80, 700)
    assert (large.data[0].textfont.size, large.data[0].width, large.data[0].x) == (24, 0.5, (3,))

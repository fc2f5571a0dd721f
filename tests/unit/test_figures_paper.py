"""The paper's orderings drawn: ranks with their counts, tau with its interval."""

import pandas as pd
import pytest

from cwac.analysis.orderings import Ours
from cwac.figures import reference as paper


@pytest.fixture
def lab() -> Ours:
    rates = pd.DataFrame(
        {"value": [0.9, 0.1], "low": 0.0, "high": 1.0, "n": 60, "seeds": 3}, index=["sft", "cwac"]
    )
    return Ours("instruct", 0.0, rates, {})


def test_cells_carry_rank_and_counts() -> None:
    rows = [
        ("ours: instruct", "sft", 90.0, 2.0, 2, 60.0),
        ("ours: instruct", "cwac", 10.0, 1.0, 2, 60.0),
        ("T1 <b>", "cwac", 8.0, 1.0, 1, None),
    ]
    columns = ["setting", "method", "value", "rank", "of", "n"]
    figure = paper.rank_figure(pd.DataFrame(rows, columns=columns), "harmful_score")
    assert "No setting of the paper has the harmful score of two" in figure.layout.title.text
    heat = figure.data[0]
    assert list(heat.x) == ["SFT", "CWAC"]
    assert [list(row) for row in heat.text] == [["2", "1"], ["", "1"]]
    assert "n = 60 requests" in heat.customdata[0][0]
    assert "single run" in heat.customdata[1][1]
    assert "&lt;b&gt;" in heat.customdata[1][1]
    rows += [("T2", "sft", 8.0, 1.0, 2, None), ("T2", "cwac", 9.0, 2.0, 2, None)]
    rows += [("T3", "sft", 8.0, 2.0, 2, None), ("T3", "cwac", 7.0, 1.0, 2, None)]
    rows += [("T4", "sft", 5.0, 1.0, 2, None), ("T4", "cwac", 7.0, 2.0, 2, None)]
    figure = paper.rank_figure(pd.DataFrame(rows, columns=columns), "harmful_score")
    assert figure.layout.title.text.replace("<br>", " ") == (
        "Of the methods we have, SFT has the lowest harmful score in 2 of the paper's 3 settings; "
        "in ours it ranks 2 of 2"
    )


def test_tau_is_drawn_where_there_is_one_filled_where_the_poison_ratio_is_ours(lab: Ours) -> None:
    rows = [
        ("T1", 0.0, 4, "SFT, CWAC", 1.0, 0.5, 1.0),
        ("T2", 0.1, 4, "SFT, CWAC", 0.2, -0.4, 0.6),
        ("T3", 0.0, 2, "SFT", None, None, None),
    ]
    columns = ["setting", "poison_ratio", "methods", "names", "tau", "low", "high"]
    figure = paper.agreement_figure(pd.DataFrame(rows, columns=columns), lab, "harmful_score")
    same, other = figure.data
    assert (same.name, list(same.x), same.marker.symbol) == (
        "same poison ratio as ours",
        [1.0],
        "circle",
    )
    assert (list(other.y), other.marker.symbol) == (["T2"], "circle-open")
    assert figure.layout.title.text.replace("<br>", " ") == (
        "By harmful score our order of methods is not the paper's in T2 (Kendall's tau +0.20 in 1 "
        "setting; every interval holds 0); it goes with it in T1 (Kendall's tau +1.00 in 1 "
        "setting; above 0 by its interval in 1)"
    )
    assert "tau" in figure.layout.xaxis.title.text

"""One request through the lenses."""

import pandas as pd
import pytest
from named_arms import arms

from cwac.figures import style
from cwac.figures.requests import lenses as prompt


@pytest.fixture
def lenses() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (arm, seed, name, layer, leak + 0.1 * seed, None if layer else 0.5)
            for arm, leak in (("sft", 0.4), ("cwac", 0.0))
            for seed in (0, 1)
            for name in ("a", "b")
            for layer in (0, 1)
        ],
        columns=["variant", "seed", "prompt_id", "layer", "leak", "feature_shift"],
    )


def of_panel(figure, axis: str) -> list:
    return [trace for trace in figure.data if trace.xaxis == axis]


def test_lenses_show_one_request_with_the_aligned_model_at_zero(lenses: pd.DataFrame) -> None:
    figure = prompt.lenses_by_layer(lenses, "a", arms("sft", "cwac"), 1)
    aligned, sft, _ = of_panel(figure, "x")
    assert list(aligned.y) == [0, 0]
    assert (aligned.line.color, aligned.line.dash) == (style.GREY, "dash")
    assert list(sft.y) == pytest.approx([0.45, 0.45])
    assert sft.customdata[0][1] == 2, "two seeds, one request"
    assert figure.layout.shapes[0].x0 == 1
    assert "Leak is largest in SFT" in figure.layout.title.text


def test_both_lenses_share_one_legend(lenses: pd.DataFrame) -> None:
    figure = prompt.lenses_by_layer(lenses, "a", arms("sft", "cwac"))
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert named == ["aligned model", "SFT", "CWAC"]


def test_layers_without_features_are_left_out(lenses: pd.DataFrame) -> None:
    figure = prompt.lenses_by_layer(lenses, "a", arms("sft", "cwac"))
    assert list(of_panel(figure, "x2")[1].x) == [0]
    none = prompt.lenses_by_layer(lenses, "zzz", arms("sft"))
    assert "Leak was not measured" in none.layout.title.text


@pytest.mark.parametrize(
    ("odds", "words"),
    [((2.0, 1.0), "Every arm"), ((-2.0, -1.0), "No arm"), ((-2.0, 1.0), "refusal: CWAC")],
)
def test_log_odds_say_who_still_leans_to_refusal(odds: tuple[float, float], words: str) -> None:
    rows = pd.DataFrame({"variant": ["sft", "cwac"], "seed": 0, "refusal_log_odds": odds})
    figure = prompt.log_odds(rows, 5.0, arms("sft", "cwac"))
    assert words in figure.layout.title.text
    assert [trace.x[0] for trace in figure.data] == [5.0, *odds]
    assert any(shape.x0 == 5.0 for shape in figure.layout.shapes)


def test_log_odds_that_were_not_measured() -> None:
    rows = pd.DataFrame({"variant": ["sft"], "seed": [0], "refusal_log_odds": [float("nan")]})
    figure = prompt.log_odds(rows, None, arms("sft"))
    assert "not measured" in figure.layout.title.text
    assert not figure.data

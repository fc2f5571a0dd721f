"""SAE features: trust, drift against controls, ledgers, maps, one latent."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from latent_tables import aligned_features, ledger_entries, run_features
from named_arms import arm, arms

from cwac.analysis import features
from cwac.arms import ALIGNED
from cwac.figures import style
from cwac.figures.features import drift as drawn
from cwac.figures.features import latent, lost
from cwac.figures.features import map as latent_map

ARMS = arms("sft", "cwac")


@pytest.fixture
def aligned() -> pd.DataFrame:
    return aligned_features()


@pytest.fixture
def runs() -> pd.DataFrame:
    return run_features()


@pytest.fixture
def entries() -> pd.DataFrame:
    return ledger_entries()


def quality(values: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame(
        [(arm, 0, 1, value, 16.0, 0.1) for arm, value in values.items()],
        columns=["variant", "seed", "layer", "explained_variance", "l0", "cross_entropy_gap"],
    )


def test_models_below_the_threshold_are_named() -> None:
    table = quality({"aligned": 0.9, "sft": 0.69, "cwac": 0.7})
    figure = drawn.trust_strip(table, [ALIGNED, *ARMS])
    assert "no longer fit" in figure.layout.title.text
    assert list(figure.data[0].x) == [0.9, 0.69, 0.7]
    assert figure.layout.shapes[0].x0 == features.TRUSTED
    fine = drawn.trust_strip(quality({"aligned": 0.9, "sft": 0.8}), arms("aligned", "sft"))
    assert "fit every model" in fine.layout.title.text


def test_ranking_has_the_controls_in_grey_dots(runs: pd.DataFrame, aligned: pd.DataFrame) -> None:
    figure = drawn.ranked_drift(features.feature_drift(runs, aligned), ARMS)
    control, protected = figure.data[:2]
    assert (control.line.color, control.line.dash) == (style.GREY, "dot")
    assert list(control.y) == [0]
    assert list(protected.y) == pytest.approx([2.8, 1.4]), "means over seeds, the largest first"
    assert list(protected.customdata[0])[:2] == [1, 0]
    title = figure.layout.title.text.replace("<br>", " ")
    # Both arms moved no random latent: a quotient would have nothing to divide by.
    assert "moved by 2.1 in SFT (random latents 0), 0 in CWAC (random latents 0)" in title


def test_top_drift_lists_arms_side_by_side_and_marks_the_chosen_one(
    runs: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    drift = features.feature_drift(runs, aligned)
    figure = drawn.top_drift(drift, ARMS, latent=(1, 1))
    sft, cwac = figure.data
    assert list(sft.y) == ["L1/0", "L1/1"]
    assert list(sft.x) == pytest.approx([-2.8, -1.4])
    assert list(cwac.x) == [0, 0]
    assert {shape.y0 for shape in figure.layout.shapes if shape.type == "line"} >= {1}
    assert "L1/0 moved most" in figure.layout.title.text


def test_scatter_is_root_scaled_and_uses_webgl_above_the_limit(
    runs: pd.DataFrame, aligned: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    drift = features.feature_drift(runs, aligned)
    figure = latent_map.before_after(drift, arm("sft"), (1, 0))
    protected = next(t for t in figure.data if t.name == "safety features (n = 2)")
    assert protected.type == "scatter"
    assert list(protected.x) == pytest.approx([2, np.sqrt(2)])
    assert protected.y[0] == pytest.approx(np.sqrt(1.2))
    assert list(protected.customdata[0])[:2] == [1, 0]
    ring = figure.data[-1]
    assert ring.x[0] == pytest.approx(2)
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert ticks["2"] == pytest.approx(np.sqrt(2))
    assert "2 of 2" in figure.layout.title.text
    monkeypatch.setattr(latent_map, "WEBGL_FROM", 4)
    figure = latent_map.before_after(drift, arm("sft"))
    assert {t.type for t in figure.data if "n =" in (t.name or "")} == {"scattergl"}


def test_map_marks_protected_latents_per_layer() -> None:
    table = pd.DataFrame(
        {
            "layer": [0, 0, 0, 2],
            "latent": [1, 2, 4, 3],
            "protected": [True, False, True, True],
            "control": [False, True, False, False],
            "score": 1.0,
            "frequency": 0.1,
            "pca_x": [1.0, 2.0, 1.1, 3.0],
            "pca_y": 0.0,
            "umap_x": None,
            "umap_y": None,
        }
    )
    figure = latent_map.direction_map(table, "pca", (2, 3))
    protected = [trace for trace in figure.data if trace.name == "safety features"]
    assert [list(trace.x) for trace in protected] == [[1.0, 1.1], [3.0]]
    assert figure.data[-1].name == "selected: L2/3"
    # The one of the other layer has no neighbour; two of three drawn at random: half by chance.
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert "of 2 of 2 safety features in the plane (PCA) is one too (100 %" in title
    assert "by chance 50 %); 3 safety features among 4" in title
    assert "No UMAP map" in latent_map.direction_map(table, "umap").layout.title.text


def test_ledger_orders_latents_by_what_they_carried(entries: pd.DataFrame) -> None:
    figure = drawn.ledger(entries, arm("cwac"))
    heat = figure.data[0]
    assert list(heat.y) == ["L1/0", "L1/1"]
    assert np.allclose(heat.z, [[80, 60], [20, 40]])
    assert list(heat.x) == ["10", "20"]
    assert "L1/0 carried most (70" in figure.layout.title.text.replace("<br>", " ")
    assert "No activation loss" in drawn.ledger(entries, arm("sft")).layout.title.text


def test_histograms_are_shares_of_each_kind_per_model() -> None:
    rows = [
        (arm, kind, low, low + 1.0, count)
        for arm in ("aligned", "sft")
        for kind, counts in (("harmful", (1, 3)), ("harmless", (4, 0)))
        for low, count in enumerate(counts)
    ]
    table = pd.DataFrame(rows, columns=["variant", "kind", "low", "high", "count"])
    table = table.assign(layer=1, latent=7, seed=0)
    figure = latent.histograms(table, arms("aligned", "sft"), 1, 7)
    harmful = [trace for trace in figure.data if trace.name == "harmful"]
    assert len(harmful) == 2
    assert list(harmful[0].y) == pytest.approx([0.25, 0.75, 0])
    assert list(harmful[0].x) == [0, 1, 2]
    assert "n = 4 tokens" in harmful[0].hovertemplate


def test_latent_under_each_arm_with_the_aligned_level(
    runs: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    drift = features.feature_drift(runs, aligned)
    figure = latent.latent_drift(drift[drift["latent"] == 0], ARMS, "L1/0")
    bars = figure.data[0]
    assert list(bars.x) == pytest.approx([1.2, 4.0])
    assert list(bars.marker.color) == [style.arm_style(arm).colour for arm in ARMS]
    assert bars.error_x.array[0] == pytest.approx(0.2)
    assert figure.layout.shapes[0].x0 == 4
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert "of that is left: 30 % in SFT, 100 % in CWAC" in title


def test_lost_latents_stand_beside_the_random_ones_with_their_counts(
    runs: pd.DataFrame, aligned: pd.DataFrame
) -> None:
    shares = features.lost_shares(features.feature_drift(runs, aligned))
    figure = lost.lost_figure(shares, ARMS)
    points = {trace.name: trace for trace in figure.data if trace.name}
    assert points["SFT, safety features"].x[0] == 100
    assert points["SFT, random latents"].x[0] == 0
    assert points["SFT, random latents"].marker.color == style.GREY
    row = shares[(shares["variant"] == "sft") & (shares["role"] == "protected")].iloc[0]
    bar = points["SFT, safety features"].error_x
    assert 100 - bar.arrayminus[0] == pytest.approx(100 * row["low"])
    assert list(figure.data[0].text) == ["2 of 2", "0 of 2"]
    assert list(figure.data[1].text) == ["0 of 1 random", "0 of 1 random"]
    beside = lost.lost_figure(shares, ARMS, {"sft": "9 %"})
    assert list(beside.data[0].text) == ["2 of 2; refuses 9 %", "0 of 2"]
    assert list(beside.data[1].text) == ["0 of 1 random", "0 of 1 random"]
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert title.endswith("SFT 100 % (random latents 0 %); CWAC 0 % (random latents 0 %)")
    assert "No safety features" in lost.lost_figure(shares.iloc[:0], ARMS).layout.title.text


def test_a_number_of_active_latents_that_never_differs_is_not_drawn() -> None:
    def drawn_panels(*l0: float) -> list[str]:
        table = quality(dict.fromkeys(("aligned", "sft"), 0.9)).assign(l0=l0)
        figure = drawn.trust_strip(table, [ALIGNED, *ARMS])
        return [note.text for note in figure.layout.annotations if "active latents" in note.text]

    assert not drawn_panels(32.0, 32.0)
    assert drawn_panels(32.0, 31.0)


def test_colours_of_activations_can_be_read_with_their_ink() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    shades = [style.activation_colour(share / 20) for share in range(21)]
    assert {style.ink(shade) for shade in shades} == {"#000000"}, "one ink on the whole scale"
    for colour in [*shades, *style.OUTCOME_COLOURS.values()]:
        pair = sorted([luminance(colour), luminance(style.ink(colour))])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, colour


def test_a_request_is_drawn_on_one_scale_and_every_token_says_its_number() -> None:
    rows = [
        (model, place, token, level * share)
        for model, share in (("aligned", 1.0), ("sft", 0.25), ("cwac", 0.0))
        for place, (token, level) in enumerate(
            [("<user>", float("nan")), (" bomb", 4.0), ("<b>x</b>", 0.0), *[(" word", 1.0)] * 12], 1
        )
    ]
    tokens = pd.DataFrame(rows, columns=["variant", "place", "token", "activation"])
    figure = latent.at_tokens(tokens, [ALIGNED, *ARMS], "L1/0")
    cells, painted, silent = figure.data
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 4)
    assert len(cells.x) == len(rows)
    by_token = dict(zip([tuple(c) for c in cells.customdata], cells.marker.color, strict=True))
    assert by_token["aligned model", " bomb", "4"] == 4
    assert by_token["SFT", " bomb", "1"] == 1
    assert by_token["CWAC", " bomb", "0"] == 0
    assert ("SFT", "&lt;user&gt;", "not read") in by_token
    # What is silent has no paint and the page's colour; what is painted its own ink.
    assert list(cells.marker.opacity).count(1.0) == len(painted.text) == 2 * 13
    assert silent.textfont.color is None
    assert set(painted.textfont.color) <= {"#000000", "#FFFFFF"}
    assert "&lt;b&gt;x&lt;/b&gt;" in silent.text
    # No two cells of a line lie on each other, and no line is longer than it may be.
    assert max(cells.y) > 3, "it is broken into blocks"
    for line in set(cells.y):
        mine = sorted((b, b + x) for b, x, y in zip(cells.base, cells.x, cells.y, strict=True)
                      if y == line)  # fmt: skip
        assert all(end <= start for (_, end), (start, _) in pairwise(mine))
        assert mine[-1][1] <= latent.LINE
    title = figure.layout.title.text.replace("<br>", " ")
    assert title == "At “bomb” L1/0 is 4 in the aligned model; 1 in SFT; 0 in CWAC"


def test_promoted_tokens_are_escaped_and_whitespace_is_seen() -> None:
    figure = latent.promoted_tokens([("<b>", 2.0), ("\n", 1.0)], "L1/0")
    assert list(figure.layout.yaxis.ticktext) == ["&lt;b&gt;", "\\n"]
    assert list(figure.data[0].x) == [2, 1]
    assert "<b>" not in figure.layout.title.text

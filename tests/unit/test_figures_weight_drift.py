"""Weight drift: one colour scale, pooled shares, the leak, spectra."""

import numpy as np
import pandas as pd
import pytest
from named_arms import arms

from cwac.analysis.drift import chance_by_layer, chance_inside, parts
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import lines
from cwac.figures.mechanism import maps as weight_drift
from cwac.figures.mechanism.outer import outside_decoder

ARMS = arms("sft", "cwac")


@pytest.fixture
def table() -> pd.DataFrame:
    rows = []
    for variant, inside_share, norm in (("sft", 0.6, 2.0), ("cwac", 1e-15, 1.0)):
        for seed in (0, 1):
            for layer in (0, 1):
                for name, rank in (("q_proj", 16), ("down_proj", 32)):
                    rows.append(
                        {
                            "variant": variant,
                            "seed": seed,
                            "layer": layer,
                            "map": name,
                            "yardstick": name == "down_proj",
                            "d_in": 64,
                            "d_out": 32,
                            "rank": rank,
                            "delta_norm": norm,
                            "weight_norm": 10.0,
                            "relative_norm": norm / 10 + 0.01 * seed,
                            "spectral_norm": norm / 2,
                            "effective_rank": 5.0,
                            "inside_energy": inside_share,
                            "random_energy": rank / 64,
                            "functional_drift": 0.1 * norm,
                            "leakage_fit": 0.1,
                            "leakage_heldout": 0.2,
                        }
                    )
    return pd.DataFrame(rows)


def test_heatmaps_share_one_scale_and_show_means_over_seeds(table: pd.DataFrame) -> None:
    figure = weight_drift.drift_heatmaps(table, "relative_norm", ARMS)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [trace.coloraxis for trace in maps] == ["coloraxis", "coloraxis"]
    assert maps[0].z[0][0] == pytest.approx(0.205)
    assert maps[1].z[0][0] == pytest.approx(0.105)
    assert list(maps[0].y) == ["q_proj", "down_proj"]
    assert "largest in SFT" in figure.layout.title.text


def test_each_cell_can_be_clicked_and_tells_n(table: pd.DataFrame) -> None:
    figure = weight_drift.drift_heatmaps(table, "relative_norm", ARMS, (1, "down_proj"))
    cells = next(trace for trace in figure.data if trace.name == "SFT" and trace.type == "scatter")
    assert ["SFT" in text and "n = 2 seeds" in text for text in cells.text] == [True] * 4
    assert list(cells.customdata[0])[:2] == [0, "q_proj"]
    outline = [trace for trace in figure.data if trace.name == "selected"]
    assert [(trace.x[0], trace.y[0]) for trace in outline] == [(1, "down_proj")] * 2


def test_logarithmic_quantities_are_floored_not_lost(table: pd.DataFrame) -> None:
    figure = weight_drift.drift_heatmaps(table, "inside_energy", ARMS)
    maps = [trace for trace in figure.data if trace.type == "heatmap"]
    assert maps[0].z[0][0] == pytest.approx(np.log10(0.6))
    assert maps[1].z[0][0] == pytest.approx(np.log10(weight_drift.FLOOR))
    assert "≤ 10<sup>-9</sup>" in figure.layout.coloraxis.colorbar.ticktext


def test_unmeasured_quantity_says_so(table: pd.DataFrame) -> None:
    figure = weight_drift.drift_heatmaps(table.assign(leakage_fit=np.nan), "leakage_fit", ARMS)
    assert "not measured" in figure.layout.title.text


def test_inside_figure_has_the_random_baseline_in_grey_dots(table: pd.DataFrame) -> None:
    figure = lines.inside_by_layer(table, ARMS)
    baseline = figure.data[0]
    assert list(baseline.y) == pytest.approx([50, 50])
    assert (baseline.line.color, baseline.line.dash) == (style.GREY, "dot")
    sft = next(trace for trace in figure.data if trace.name == "SFT")
    assert list(sft.y) == pytest.approx([60, 60])
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert title == (
        "60 % of SFT's squared update lies inside the safety subspace, of a random one 50 %; under "
        "0.1 % and not drawn: CWAC"
    )
    assert not [trace for trace in figure.data if trace.name == "CWAC"], "a line on 0"


def test_chance_is_sfts_whatever_other_arms_moved(table: pd.DataFrame) -> None:
    table.loc[table["variant"] == "cwac", "random_energy"] = 0.1
    assert chance_inside(table) == pytest.approx(0.5)
    assert chance_by_layer(table).to_dict() == pytest.approx({0: 0.5, 1: 0.5})
    assert chance_inside(table[table["variant"] == "cwac"]) == pytest.approx(0.1)
    assert chance_inside(table.assign(inside_energy=np.nan)) is None


def test_layers_say_how_far_they_moved_and_which_moved_most(table: pd.DataFrame) -> None:
    table.loc[table["layer"] == 1, "delta_norm"] *= 2
    figure = lines.norm_by_layer(table, ARMS)
    assert list(figure.data[0].y) == pytest.approx([0.2, 0.4])
    title = figure.layout.title.text.replace("<br>", " ").replace("\u00a0", " ")
    assert title == (
        "SFT moved the decoder's maps by 32 % of their norm; others by 16 % in CWAC; layer 1 "
        "moved most in each"
    )


def test_cells_that_stand_out_alone_have_their_number(table: pd.DataFrame) -> None:
    far = (table["layer"] == 1) & (table["map"] == "q_proj") & (table["variant"] == "cwac")
    table.loc[far, "relative_norm"] += 0.5
    figure = weight_drift.drift_heatmaps(table, "relative_norm", ARMS, baseline=ARMS[0])
    (cells,) = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [list(line) for line in cells.text] == [["", "0.40"], ["", ""]]


def test_functional_drift_uses_the_yardstick_maps_alone(table: pd.DataFrame) -> None:
    table.loc[table["map"] == "q_proj", "functional_drift"] = 99.0
    figure = lines.functional_by_layer(table, ARMS)
    sft = next(trace for trace in figure.data if trace.name == "SFT")
    assert list(sft.y) == pytest.approx([0.2, 0.2])


def test_leak_gauge_draws_the_share_of_squares(table: pd.DataFrame) -> None:
    course = pd.DataFrame(
        {
            "variant": ["sft", "sft", "cwac"],
            "seed": 0,
            "step": [0, 10, 10],
            "drift_inside": [0.0, 3.0, 0.0],
            "drift_outside": [0.0, 4.0, 1.0],
        }
    )
    figure = lines.leak_gauge(course, table, ARMS)
    sft, cwac, chance = figure.data
    assert list(sft.x) == [10], "before the first step there is no update"
    assert sft.y[0] == pytest.approx(9 / 25)
    assert cwac.y[0] == pytest.approx(weight_drift.FLOOR)
    assert cwac.customdata[0][1] == 0
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.dtick == 1, "powers of ten alone are labelled"
    assert list(chance.y) == pytest.approx([0.5, 0.5])
    assert chance.line.dash == "dot"


def test_spectrum_of_the_chosen_matrix() -> None:
    table = pd.DataFrame(
        [
            ("sft", seed, layer, name, index, value + seed)
            for seed in (0, 1)
            for layer, name in ((0, "q_proj"), (1, "q_proj"))
            for index, value in enumerate((4.0, 2.0, 0.0))
        ],
        columns=["variant", "seed", "layer", "map", "index", "value"],
    )
    figure = lines.singular_values(table, arms("sft"), 1, "q_proj")
    assert list(figure.data[0].x) == [1, 2, 3]
    assert list(figure.data[0].y) == pytest.approx([4.5, 2.5, 0.5])
    assert list(figure.layout.yaxis.ticktext) == ["0.5", "1", "2", "5"]
    empty = lines.singular_values(table, arms("sft"), 9, "q_proj")
    assert "no spectrum" in empty.layout.title.text


OUTER = pd.DataFrame(
    [
        {"variant": v, "seed": s, "part": p, "relative_norm": n, "tied": True}
        for v, s, n in (("sft", 0, 0.3), ("sft", 1, 0.5), ("cwac", 0, 0.0))
        for p in ("embedding", "output")
    ]
)


def test_parts_pool_the_decoder_and_leave_out_runs_without_the_outer_maps() -> None:
    drift = pd.DataFrame(
        {
            "variant": ["sft", "sft", "lisa"],
            "seed": 0,
            "delta_norm": [3.0, 4.0, 1.0],
            "weight_norm": [6.0, 8.0, 1.0],
        }
    )
    table = parts(drift, OUTER[OUTER["seed"] == 0])
    decoder = table[table["part"] == "decoder"]
    assert decoder["relative_norm"].tolist() == [0.5]
    assert set(table["variant"]) == {"sft", "cwac"}


def test_outer_parts_are_drawn_once_where_they_are_tied() -> None:
    arms = [Arm(method="sft"), Arm(method="cwac")]
    figure = outside_decoder(OUTER, arms)
    assert [trace.name for trace in figure.data] == ["embedding, tied to the output layer"]
    assert sorted(figure.data[0].x) == [0.0, 0.4]
    assert "moves by 0.4" in figure.layout.title.text
    assert "stands still in CWAC" in figure.layout.title.text.replace("<br>", " ")
    untied = outside_decoder(OUTER.assign(tied=False), arms)
    assert [trace.name for trace in untied.data] == ["embedding", "output layer"]


def test_a_part_has_its_arms_colour_whatever_the_order_of_the_table() -> None:
    arms = [Arm(method="sft"), Arm(method="cwac")]
    figure = outside_decoder(OUTER.iloc[::-1], arms)
    (trace,) = figure.data
    colours = dict(zip(trace.y, trace.marker.color, strict=True))
    assert colours == {1: style.arm_style(arms[0]).colour, 0: style.arm_style(arms[1]).colour}

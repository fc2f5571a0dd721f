"""Subspace overlap: baselines always drawn, pairs counted right, the kept rank marked."""

import numpy as np
import pandas as pd
import pytest
from named_arms import arm, arms

from cwac.figures import style
from cwac.figures.mechanism import overlap as subspace_overlap


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        [
            (arm, seed, layer, "down", side, mso + 0.1 * seed, 0.25, 0.3)
            for arm, mso in (("sft", 0.6), ("cwac", 0.0))
            for seed in (0, 1)
            for layer in (0, 1)
            for side in ("input", "output")
        ],
        columns=["variant", "seed", "layer", "map", "side", "mso", "haar_baseline", "random_mso"],
    )


@pytest.fixture
def angles() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("sft", 0, 0, "down", "input", index, degrees, 70.0)
            for index, degrees in enumerate((10.0, 40.0))
        ],
        columns=["variant", "seed", "layer", "map", "side", "index", "degrees", "random_degrees"],
    )


def test_overlap_has_both_baselines_in_grey(table: pd.DataFrame) -> None:
    figure = subspace_overlap.overlap_by_layer(table, "input", "down", arms("sft", "cwac"))
    haar, random, sft, _ = figure.data
    assert list(haar.y) == [0.25, 0.25]
    assert list(random.y) == [0.3, 0.3]
    assert haar.line.color == random.line.color == style.GREY
    assert list(sft.y) == pytest.approx([0.65, 0.65])
    assert sft.error_y.array[0] == pytest.approx(0.05)
    assert sft.customdata[1][0] == 1, "a click chooses the layer"
    assert "chance is 0.25" in figure.layout.title.text.replace("<br>", " ")


def test_angles_with_random_subspace_and_chance_level(
    angles: pd.DataFrame, table: pd.DataFrame
) -> None:
    cell = (0, "down", "input")
    figure = subspace_overlap.principal_angles(angles, table, cell, arms("sft"))
    random, sft, chance = figure.data
    assert list(random.y) == [70, 70]
    assert random.line.dash == "dot"
    assert list(sft.y) == [10, 40]
    # MSO 0.25 is the mean of cos^2, and cos^2 of 60 degrees is 0.25.
    assert list(chance.y) == pytest.approx([60, 60])
    assert list(figure.layout.yaxis.range) == [0, 93]


def test_angles_of_an_empty_cell_say_so(angles: pd.DataFrame, table: pd.DataFrame) -> None:
    for rows, layer in ((angles, 7), (angles[:0], 0)):
        cell = (layer, "down", "input")
        figure = subspace_overlap.principal_angles(rows, table, cell, arms("sft"))
        assert "no angles were stored" in figure.layout.title.text


@pytest.fixture
def stored_pairs() -> pd.DataFrame:
    rows = [
        ("s0", "s1", 0.9),
        ("s0", "c0", 0.2),
        ("s1", "c0", 0.4),
        ("s0", "unknown", 1.0),
        ("s0", "s0", 1.0),
    ]
    return pd.DataFrame(
        [(a, b, 0, "down", "input", mso, 0.1, 50.0) for a, b, mso in rows],
        columns=["run_a", "run_b", "layer", "map", "side", "mso", "haar_baseline", "mean_degrees"],
    )


def test_pairs_are_averaged_over_runs_and_the_diagonal_compares_seeds(
    stored_pairs: pd.DataFrame,
) -> None:
    runs = {"s0": arm("sft"), "s1": arm("sft"), "c0": arm("cwac")}
    figure = subspace_overlap.pair_matrices(
        stored_pairs, runs, "input", "down", arms("sft", "cwac")
    )
    heat = figure.data[0]
    assert heat.z[0][0] == pytest.approx(0.9)
    assert heat.z[0][1] == heat.z[1][0] == pytest.approx(0.3)
    assert np.isnan(heat.z[1][1]), "one run of an arm has nothing to be compared with"
    assert "n = 2 pairs" in heat.customdata[0][1]
    assert heat.text[1][1] == ""
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_one_arm_alone_has_no_pair(stored_pairs: pd.DataFrame) -> None:
    runs = {"c0": arm("cwac")}
    figure = subspace_overlap.pair_matrices(stored_pairs, runs, "input", None, arms("cwac"))
    assert "no pair" in figure.layout.title.text


def test_spectrum_marks_the_kept_rank_on_a_log_axis() -> None:
    table = pd.DataFrame(
        [
            (layer, "down", index, value, index < 2)
            for layer in (0, 1)
            for index, value in enumerate((6.0, 3.0, 1.0, 0.0))
        ],
        columns=["layer", "map", "index", "eigenvalue", "kept"],
    )
    figure = subspace_overlap.eigenvalues(table, 1, "down")
    kept = next(trace for trace in figure.data if trace.name == "safety subspace: 2 directions")
    assert list(kept.x) == [1, 2]
    assert list(kept.y) == pytest.approx([0.6, 0.3])
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.shapes[0].x0 == 2.5
    assert "90.00 %" in figure.layout.title.text.replace("<br>", " ")

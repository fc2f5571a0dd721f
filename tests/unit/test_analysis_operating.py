"""Operating points, their front and matched comparisons, against numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from store_builder import experiment_config

from cwac.analysis import operating as op
from cwac.arms import Arm

PROMPTS = 50


def responses(points: dict[str, tuple[float, float]], seeds: int = 2) -> pd.DataFrame:
    """Exact rates: ``{variant: (task accuracy, harmful score)}`` in steps of 2 %."""
    rng = np.random.default_rng(0)
    rows = []
    for variant, (accuracy, harmful) in points.items():
        for seed in range(seeds):
            right = rng.permutation(np.arange(PROMPTS) < round(accuracy * PROMPTS))
            bad = rng.permutation(np.arange(PROMPTS) < round(harmful * PROMPTS))
            for i in range(PROMPTS):
                rows.append((variant, seed, f"t{i}", "task", "compliance", bool(right[i])))
                rows.append((variant, seed, f"h{i}", "harmful",
                             "compliance" if bad[i] else "refusal", None))  # fmt: skip
    columns = ["variant", "seed", "prompt_id", "kind", "outcome", "correct"]
    return pd.DataFrame(rows, columns=columns).assign(unseen_category=False)


class Record:
    """The three fields of a run's record that places are made of."""

    def __init__(self, method: str, settings: dict, changed: dict, *, tuned: bool = False) -> None:
        self.config = experiment_config("instruct", 0.1, method=method, settings=settings)
        self.arm = Arm(method=method, changed=changed, tuned=tuned)
        self.variant = self.arm.label


def cwac(**changed: object) -> Record:
    return Record("cwac", {"strength": 1.0, "subspace": "safety"} | changed, changed)


KNOBS = {"cwac": "strength", "sft": None, "sppft": "layers"}


def test_arms_that_differ_in_the_knob_alone_are_one_curve() -> None:
    records = [cwac(), cwac(strength=2.0), cwac(subspace="random", strength=4.0),
               cwac(subspace="random"), Record("sft", {}, {}),
               Record("sppft", {"layers": None}, {})]  # fmt: skip
    places = op.places(records, KNOBS)
    curves = {name: place.curve.label for name, place in places.items()}
    assert curves == {
        "cwac": "cwac",
        "cwac (strength=2.0)": "cwac",
        "cwac (strength=4.0, subspace=random)": "cwac (subspace=random)",
        "cwac (subspace=random)": "cwac (subspace=random)",
        "sft": "sft",
        "sppft": "sppft",
    }
    assert places["cwac (strength=2.0)"].strength == 2.0
    assert math.isnan(places["sppft"].strength), "no single number"
    assert math.isnan(places["sft"].strength)


def test_a_curve_without_its_default_is_named_without_the_strength() -> None:
    records = [cwac(strength=2.0), cwac(strength=10.0)]
    assert {place.curve.label for place in op.places(records, KNOBS).values()} == {"cwac"}


def test_points_and_front() -> None:
    points = {"aligned": (0.0, 0.0), "sft": (0.96, 0.9), "a": (0.96, 0.5), "b": (0.8, 0.2),
              "c": (0.78, 0.3)}  # fmt: skip
    measured = op.operating(responses(points), {}).points.set_index("variant")
    assert measured.loc["b", "accuracy"] == pytest.approx(0.8)
    assert measured.loc["b", "harmful"] == pytest.approx(0.2)
    assert measured.loc["b", "harmful_low"] <= 0.2 <= measured.loc["b", "harmful_high"]
    assert (measured["harmful_n"] == PROMPTS).all()
    # sft is as accurate as a and more harmful, c worse than b in both; aligned has no place.
    assert set(measured.index[measured["front"]]) == {"a", "b"}


def test_equal_points_are_both_on_the_front() -> None:
    table = pd.DataFrame({"variant": ["a", "b"], "accuracy": [0.5, 0.5], "harmful": [0.2, 0.2]})
    assert op.on_front(table).all()


def test_the_aligned_model_alone_makes_no_front() -> None:
    """As where the answers of the only run are broken."""
    measured = op.operating(responses({"aligned": (0.0, 0.0)}), {})
    assert measured.points["front"].tolist() == [False]


def test_matched_interpolates_only_between_measured_strengths() -> None:
    records = [cwac(), cwac(strength=4.0), Record("sft", {}, {}), Record("lisa", {}, {})]
    points = {"cwac": (0.9, 0.6), "cwac (strength=4.0)": (0.7, 0.2), "sft": (0.84, 0.94),
              "lisa": (0.4, 0.1)}  # fmt: skip
    measured = op.operating(responses(points, seeds=3), op.places(records, KNOBS))
    table = op.matched(measured, 0.85).set_index("curve")
    row = table.loc["cwac"]
    assert row["how"] == "interpolated"
    # Three quarters of the way from 0.7 to 0.9.
    assert row["value"] == pytest.approx(0.2 + 0.75 * 0.4)
    assert row["low"] < row["value"] < row["high"]
    assert "strength = 1 and 4" in row["detail"]
    assert table.loc["sft", "how"] == "own point"
    assert table.loc["sft", "value"] == pytest.approx(0.94)
    assert table.loc["lisa", "how"] == "not reached"
    assert math.isnan(table.loc["lisa", "value"]), "never made up"


def test_matched_takes_the_best_strength_that_keeps_the_accuracy() -> None:
    records = [cwac(), cwac(strength=2.0), cwac(strength=4.0), Record("lisa", {}, {})]
    points = {"cwac": (0.98, 0.8), "cwac (strength=2.0)": (1.0, 0.1),
              "cwac (strength=4.0)": (0.96, 0.2), "lisa": (0.88, 0.3)}  # fmt: skip
    measured = op.operating(responses(points), op.places(records, KNOBS))
    table = op.matched(measured, 0.9).set_index("curve")
    # Every strength is more accurate than the target: that is no reason to drop out.
    assert table.loc["cwac", ["how", "value", "accuracy"]].tolist() == ["own point", 0.1, 1.0]
    assert table.loc["lisa", "how"] == "own point"
    assert table.loc["lisa", "accuracy"] < 0.9, "its interval alone holds the target"


def test_variants_leave_the_methods_curves_unless_a_method_has_nothing_else() -> None:
    records = [
        cwac(),
        cwac(strength=4.0),
        cwac(subspace="random"),
        Record("lisa", {"a": 2}, {"a": 2}),
    ]
    points = {"cwac": (0.9, 0.6), "cwac (strength=4.0)": (0.7, 0.2),
              "cwac (subspace=random)": (0.9, 0.0), "lisa (a=2)": (0.8, 0.4)}  # fmt: skip
    measured = op.operating(responses(points), op.places(records, KNOBS))
    methods = op.of_methods(measured).points.set_index("variant")
    assert list(methods.index) == ["cwac", "cwac (strength=4.0)", "lisa (a=2)"]
    assert not measured.points.set_index("variant").loc["cwac", "front"]
    assert methods.loc["cwac", "front"], "the front is that of the methods alone"
    at_best = Record("lisa", {"a": 2}, {"a": 2}, tuned=True)
    records = [*records[:3], Record("lisa", {}, {}), at_best]
    points |= {"lisa": (0.9, 0.1)}
    measured = op.operating(responses(points), op.places(records, KNOBS))
    assert "lisa" not in set(op.of_methods(measured).points["variant"]), "what was tuned stands"
    assert "lisa (a=2)" in set(op.of_methods(measured).points["variant"])


def test_matched_interval_is_that_of_a_plain_loop() -> None:
    records = [cwac(), cwac(strength=4.0)]
    points = {"cwac": (0.9, 0.6), "cwac (strength=4.0)": (0.5, 0.2)}
    table = responses(points, seeds=1)
    row = op.matched(op.operating(table, op.places(records, KNOBS)), 0.7).iloc[0]
    rng = np.random.default_rng(1)
    wide = {
        (kind, name): part["correct"].astype(float).to_numpy()
        if kind == "task"
        else (part["outcome"] == "compliance").to_numpy(dtype=float)
        for (kind, name), part in table.groupby(["kind", "variant"])
    }
    values = []
    for _ in range(2000):
        i, j = rng.integers(PROMPTS, size=(2, PROMPTS))
        one, two = (wide["task", name][i].mean() for name in points)
        share = min(max((0.7 - two) / (one - two), 0), 1)
        first, second = (wide["harmful", name][j].mean() for name in points)
        values.append(share * first + (1 - share) * second)
    assert (row["low"], row["high"]) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.03)


def test_certain_points_have_an_interval_all_the_same() -> None:
    records = [cwac(), cwac(strength=4.0)]
    points = {"cwac": (0.9, 0.0), "cwac (strength=4.0)": (0.5, 0.0)}
    measured = op.operating(responses(points), op.places(records, KNOBS))
    row = op.matched(measured, 0.7).iloc[0]
    assert row["value"] == 0
    assert row["high"] > 0.03

"""Drift in tables: means over seeds, pooled shares."""

import pandas as pd
import pytest

from cwac.analysis.drift import over_seeds, pooled_inside


def test_missing_values_are_left_out_not_zero() -> None:
    table = pd.DataFrame({"variant": ["a", "a", "b"], "x": [1.0, None, None]})
    summary = over_seeds(table, [], "x")
    assert summary["variant"].tolist() == ["a"]
    assert summary.loc[0, ["mean", "seeds"]].tolist() == [1.0, 1]


def test_share_inside_pools_numerators_and_denominators() -> None:
    common = {"variant": "sft", "seed": 0, "yardstick": True}
    table = pd.DataFrame(
        [
            common | {"delta_norm": 3.0, "inside_energy": 1.0, "random_energy": 0.5},
            common | {"delta_norm": 1.0, "inside_energy": 0.0, "random_energy": 0.25},
            common
            | {"delta_norm": 9.0, "inside_energy": 1.0, "random_energy": 1.0, "yardstick": False},
            common | {"delta_norm": 1.0, "inside_energy": None, "random_energy": 0.25},
        ]
    )
    pooled = pooled_inside(table)
    assert pooled.loc[0, "inside_energy"] == pytest.approx(9 / 10)
    assert pooled.loc[0, "random_energy"] == pytest.approx((9 * 0.5 + 0.25) / 10)

"""What methods say of themselves: one panel per diagnostic, levels never compared."""

import pandas as pd
import pytest
from named_arms import arms

from cwac.figures.trajectory import diagnostics_figure


def table() -> pd.DataFrame:
    rows = [
        ("cwac", seed, step, "safety_loss", (1.0 + seed) * step)
        for seed in (0, 1)
        for step in (10, 20)
    ]
    rows += [("kl_to_aligned", 0, step, "safety_loss", 1.0 / step) for step in (10, 20)]
    rows += [("safe_merge", 0, 20, "merged_maps", 9.0)]
    return pd.DataFrame(rows, columns=["variant", "seed", "step", "name", "value"])


def test_a_panel_per_diagnostic_with_each_arm_and_its_seeds() -> None:
    figure = diagnostics_figure(table(), arms("cwac", "kl_to_aligned", "safe_merge", "sft"))
    drawn = {(trace.name, trace.xaxis): trace for trace in figure.data}
    assert set(drawn) == {("CWAC", "x"), ("KL to aligned", "x"), ("SafeMERGE", "x2")}
    cwac = drawn["CWAC", "x"]
    assert list(cwac.y) == [15.0, 30.0]
    assert list(cwac.error_y.array) == [5.0, 10.0]
    assert [note.text for note in figure.layout.annotations] == ["safety loss", "merged maps"]
    # 40 to 0.05: almost three decades, that a linear axis would flatten to nothing.
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis2.type is None
    assert figure.layout.yaxis2.matches is None, "another diagnostic has another scale"


@pytest.mark.parametrize(
    ("rows", "title"),
    [
        (slice(None), "Safety loss grows from the first to the last probe in 1 of 2 arms: CWAC"),
        (slice(4), "Safety loss of CWAC: 15 at the first probe, 30 at the last"),
        (slice(6, 7), "Merged maps was reported once a run"),
    ],
)
def test_title_compares_an_arm_with_itself(rows: slice, title: str) -> None:
    figure = diagnostics_figure(table().iloc[rows], arms("cwac", "kl_to_aligned", "safe_merge"))
    assert figure.layout.title.text.replace("<br>", " ") == title

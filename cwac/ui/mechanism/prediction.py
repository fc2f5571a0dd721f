"""Whether drift predicts harm: one point an arm, every drift figure in a menu."""

from functools import partial
from typing import Final

import numpy as np
import pandas as pd
import streamlit as st

from cwac.analysis.prediction import FIGURES, arm_points, associate, every_figure, one_per_method
from cwac.analysis.readable import LOWEST_HIGHEST, Quantity, readable
from cwac.arms import in_order
from cwac.artifacts import Stamp
from cwac.errors import ArtifactError
from cwac.figures.mechanism.prediction import correlations, drift_against_harm
from cwac.rates import RATES
from cwac.records import RunRecord
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import choose, plain, show_figure

EVERY, PLAIN = "every variant", "methods at their defaults"
_COLUMNS: Final = {
    "weight_drift.functional_drift": ("yardstick", "functional_drift"),
    "subspace_overlap.mso": ("side", "mso"),
}


@st.fragment
def show_prediction(frame: Frame) -> None:
    """Show the tab: a drift figure against the harmful score, over all arms of the experiment."""
    experiment = frame.experiments[0]
    # A verdict of another rule stands in another table than the record.
    records = [r for r in experiment.records if r.run_id not in experiment.rejudged]
    arms = in_order(record.arm for record in records)
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        name = choose("Drift figure", _measured(records), "figure",
                      show=lambda key: FIGURES[key].title)  # fmt: skip
    with right:
        variants = choose("One point for", [EVERY, PLAIN], "variants", flat=True)
    keep = one_per_method if variants == PLAIN else lambda table: table
    points = keep(_points(frame, records, name))
    if points.empty:
        not_measured("A drift figure together with the harmful score")
        return
    first = [arm.method for arm in frame.arms if not arm.changed]
    show_figure(
        partial(drift_against_harm, points, name, arms, first, associate(points)),
        "prediction",
        data=points,
        text=partial(
            readable,
            points,
            arms,
            Quantity.with_ends("drift", FIGURES[name].title.capitalize(), "", LOWEST_HIGHEST),
            Quantity.with_ends("harm", RATES["harmful_score"].title, "%", LOWEST_HIGHEST),
        ),
        reading="One point is one arm of this experiment, the bar its lowest and highest seed. The "
        "interval resamples methods: variants of one are no independent trainings.",
        terms=("drift", "harmful score", "rank correlation", "interval", "arm"),
    )
    shown = dict.fromkeys([*(n for n in FIGURES if "." not in n), name])
    table = every_figure({n: keep(_points(frame, records, n)) for n in FIGURES if n in shown})
    if len(table) > 1:
        show_figure(
            partial(correlations, table, name),
            "correlations",
            data=table,
            text=partial(
                readable,
                table,
                (),
                Quantity("rho", "Rank correlation with the harmful score"),
                Quantity("methods", "Methods", low="", high=""),
                down={"title": "Drift figure"},
            ),
            reading="Open circles: the interval holds 0; intervals are not widened for their "
            "number. A correlation over methods is no cause; the tab Causes has interventions.",
            terms=("drift", "rank correlation", "interval"),
        )
    left_out = len(experiment.records) - len(records)
    if left_out:
        st.caption(plain(f"{left_out} runs that were judged anew are left out."))


def _measured(records: list[RunRecord]) -> list[str]:
    """Return the drift figures that some run has, the first ones in any case."""
    names = [
        name
        for name in FIGURES
        if any(
            name.partition(".")[0] in record.tables if "." in name else name in record.metrics
            for record in records
        )
    ]
    return names or list(FIGURES)[:1]


def _points(frame: Frame, records: list[RunRecord], name: str) -> pd.DataFrame:
    if "." not in name:
        return arm_points(records, name)
    table = name.partition(".")[0]
    measured = [record for record in records if table in record.tables]
    # A table of each of up to hundreds of runs, read once.
    with st.spinner("Reading a table of every run ..."):
        return arm_points(measured, name, lambda record: _of_table(frame, record.run_id, name))


def _of_table(frame: Frame, run_id: str, name: str) -> float | None:
    table = name.partition(".")[0]
    try:
        return _mean(run_id, name, reads.table_stamp(run_id, table))
    except ArtifactError as problem:
        frame.tell(f"Left out: {problem}")
        return None


@st.cache_data(max_entries=4000, show_spinner=False)
def _mean(run_id: str, name: str, stamp: Stamp) -> float | None:
    """Return the mean of a run's table over its maps, None where it has none."""
    del stamp
    table, _, column = name.partition(".")
    rows = reads.table(run_id, table, _COLUMNS[name])
    rows = rows[rows["side"] == "input"] if "side" in rows else rows[rows["yardstick"]]
    value = float(rows[column].mean())
    return None if np.isnan(value) else value

"""The tab that follows every method through all settings that are stored beside the one in view."""

from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.attacks import HARMFUL
from cwac.analysis.everywhere import (
    Setting,
    cells_of,
    cells_of_decodings,
    counts,
    defaults_sentence,
    everywhere,
    everywhere_sentence,
    everywhere_text,
    followed,
    settings_beside,
)
from cwac.analysis.standing import standing_records
from cwac.figures.results.everywhere import READING, everywhere_figure
from cwac.ui.elsewhere import verdicts_there
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame
from cwac.ui.hidden import hidden_of
from cwac.ui.once import once
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain, show_figure

_NAMES: Final = {
    "value": HARMFUL,
    "low": f"{HARMFUL}_low",
    "high": f"{HARMFUL}_high",
}


def show_everywhere(frame: Frame) -> None:
    """Show the tab: a row per setting, a column per method, the verdict in each cell."""
    table = everywhere_table(frame)
    shown = followed(table)
    found = once(counts, shown)
    if not found:
        not_measured(
            "Harm beside SFT and the aligned model",
            command="cwac sweep cached_artifacts/grids/study.toml",
        )
        return
    sentence = once(everywhere_sentence, shown, found)
    if sentence:
        st.markdown(f"##### {plain(sentence)}")
    show_figure(
        partial(everywhere_figure, shown, found),
        "everywhere",
        # Named as the rate, so that a file of it says the unit.
        data=table.rename(columns=_NAMES),
        text=everywhere_text(table),
        reading=f"{READING} {_fewer(table, shown)}",
        terms=("harmful score", "holds", "tuned", "attacker", "interval"),
    )
    carried = once(defaults_sentence, table, found)
    if carried:
        st.caption(plain(carried))


def everywhere_table(frame: Frame) -> pd.DataFrame:
    """Return ``cwac.analysis.everywhere`` of the experiment in view."""
    first = frame.experiments[0]
    rows: list[dict[str, Any]] = []
    for setting, experiment in settings_beside(first, frame.listing.experiments).items():
        rows += _cells(frame, setting, experiment)
        if experiment is first:
            arms = [record.arm for record in first.records]
            rows += cells_of_decodings(
                hidden_of(frame, standing_records(first.records)), rows, arms
            )
    return everywhere(rows)


def _cells(frame: Frame, setting: Setting, experiment: Experiment) -> list[dict[str, Any]]:
    arms = [record.arm for record in experiment.records]
    return cells_of(setting, verdicts_there(frame, experiment, defaults=True), arms)


def _fewer(table: pd.DataFrame, shown: pd.DataFrame) -> str:
    """Say how many methods few settings have, which are in the table alone."""
    count = table["method"].nunique() - shown["method"].nunique()
    return f"{count} methods that fewer settings have stand in the table." if count else ""

"""Which of a method's own choices matter: its variants, on the Trade-off page."""

from collections.abc import Mapping
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.choices import Change, changes, choices_table
from cwac.figures.trade_off.choices import choices_figure
from cwac.ui.analysis import command_like, not_measured
from cwac.ui.answers import Key, answers_in_view
from cwac.ui.frame import Frame
from cwac.ui.widgets import plain, show_figure

FIRST: Final = "cwac"
_GRID: Final = """# choices.toml; cwac list methods --json names every setting
seeds = [0, 1, 2]
methods = [
    "cwac",
    {method = "cwac", settings = {subspace = "random"}},
    {method = "cwac", settings = {tail_energy = 0.1}},
]"""


def show_choices(frame: Frame, knobs: Mapping[str, str | None]) -> None:
    """Draw the variants of a method against its default arm."""
    st.subheader("What makes a method work?", anchor=False)
    found = changes(frame.records_in_view, knobs)
    if not found:
        command = command_like(frame, FIRST, {"subspace": "random"})
        not_measured("Any method with a setting other than its default", command=command)
        st.caption("Many at once, with `cwac sweep choices.toml`:")
        st.code(_GRID, language="toml")
        return
    methods = sorted(found, key=lambda name: (name != FIRST, name))
    titles = {name: next(iter(found[name].values())).arm.method_name for name in methods}
    method = methods[0]
    if len(methods) > 1:
        method = st.selectbox(
            "Method",
            methods,
            format_func=lambda name: f"{titles[name]} ({len(found[name])} arms)",
            key="choices_method",
            persist_state="session",
        )
    answers = answers_in_view(frame).of_first()
    table = _table(answers.key, found[method], answers.table)
    if table.empty:
        not_measured(f"The harmful score of the variants of {plain(titles[method])}")
        return
    show_figure(
        choices_figure(table, found[method]),
        "choices",
        data=table,
        reading="A row per arm, one setting away from the default (dashed, with its band). Filled: "
        "the harmful score differs from the default's beyond noise (Holm over the rows; with "
        "one seed the noise of requests alone); grey: a control; ticks beneath: the single seeds. "
        "The method's strengths stand above.",
        terms=("harmful score", "over-refusal", "task accuracy", "interval", "seed"),
    )


# Hashed by content: a Change prints all that it holds.
@st.cache_data(max_entries=16, show_spinner=False, hash_funcs={Change: repr})
def _table(key: Key, arms: dict[str, Change], _responses: pd.DataFrame) -> pd.DataFrame:
    del key
    return choices_table(_responses, arms)

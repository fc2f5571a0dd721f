"""The tab on ablations: a method with one setting changed, at other strengths, by its halves."""

from collections.abc import Callable
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.choices import SHOWN, Change, changes, choices_table
from cwac.analysis.readable import Quantity, readable
from cwac.figures.results.choices import choices_figure
from cwac.rates import RATES
from cwac.ui.answers import Answers, Key, answers_in_view
from cwac.ui.frame import Frame
from cwac.ui.results.cost import show_strengths
from cwac.ui.results.coupling import show_coupling
from cwac.ui.results.knobs import knobs_or_message
from cwac.ui.sections import command_like, not_measured
from cwac.ui.widgets import choose, show_figure

FIRST: Final = "cwac"
_GRID: Final = """# choices.toml; cwac list methods --json names every setting
seeds = [0, 1, 2]
methods = [
    "cwac",
    {method = "cwac", settings = {subspace = "random"}},
    {method = "cwac", settings = {tail_energy = 0.1}},
]"""


def show_ablations(frame: Frame) -> None:
    """Show the tab: what becomes of a method when a part of it is changed or left out."""
    parts: dict[str, tuple[str, Callable[[Frame], None]]] = {
        "settings": ("One setting changed", show_choices),
        "strengths": ("Strengths", show_strengths),
        "halves": ("Do the halves add up?", show_coupling),
    }
    part = choose("Show", list(parts), "view", show=lambda name: parts[name][0], flat=True)
    parts[part][1](frame)


def show_choices(frame: Frame) -> None:
    """Show the variants of a method against its default arm."""
    records = frame.records_in_view
    # Without any variant the lab need not be asked what their settings are.
    varied = any(record.arm.changed for record in records)
    by_method = (
        changes(records, knobs_or_message(r.config.method for r in records)) if varied else {}
    )
    if not by_method:
        command = command_like(frame, FIRST, {"subspace": "random"})
        not_measured("Any method with a setting other than its default", command=command)
        st.caption("Many at once, with `cwac sweep choices.toml`:")
        st.code(_GRID, language=None)
        return
    names = sorted(by_method, key=lambda name: (name != FIRST, name))
    titles = {name: next(iter(by_method[name].values())).arm.method_name for name in names}
    method = names[0]
    if len(names) > 1:
        method = choose(
            "Method",
            names,
            "method",
            show=lambda name: f"{titles[name]} ({len(by_method[name])} arms)",
        )
    answers = answers_in_view(frame).of_first()
    table = _table(answers.key, by_method[method], answers)
    if table.empty:
        not_measured(f"The harmful score of the variants of {titles[method]}")
        return
    show_figure(
        partial(choices_figure, table, by_method[method]),
        "choices",
        data=table,
        text=partial(
            readable,
            table,
            [change.arm for change in by_method[method].values()],
            *(Quantity.with_ends(name, RATES[name].title) for name in SHOWN),
            Quantity.with_ends("gap", "Harmful score less the default's", "points"),
        ),
        reading="A row per changed setting; dashed with its band: the default. Filled: the harmful "
        "score of greedy answers differs beyond noise, corrected for the number of rows (with one "
        "seed: the noise of requests alone). Cross: the task was not learned (less than half of "
        "SFT's accuracy), so that it keeps refusals for nothing. Grey: a control; ticks beneath: "
        "single seeds.",
        terms=("ablation", "harmful score", "over-refusal", "task accuracy", "interval", "seed"),
    )


# Hashed by content: a Change prints all that it holds.
@st.cache_data(max_entries=16, show_spinner=False, hash_funcs={Change: repr})
def _table(key: Key, arms: dict[str, Change], _answers: Answers) -> pd.DataFrame:
    del key
    return choices_table(_answers.table, arms)

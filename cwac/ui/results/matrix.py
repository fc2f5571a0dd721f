"""The Results page's first tab: every task of the model in view, and the same on other models."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.claims import FOCUS
from cwac.analysis.first import first_arms
from cwac.analysis.matrix import (
    SHOWN,
    beside,
    costs_sentence,
    holds_sentence,
    learned_everywhere,
    low_everywhere,
    matrix_table,
    on_each_task,
    shared_arms,
)
from cwac.analysis.outcomes import rate_table
from cwac.arms import ALIGNED, BASELINE, Arm, by_label
from cwac.figures.results.matrix import matrix_figure
from cwac.rates import RATES
from cwac.ui import selection
from cwac.ui.answers import Answers, Key, answers_of
from cwac.ui.experiments import Experiment, earlier
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.results.by_model import show_by_model
from cwac.ui.widgets import plain, show_figure

_TERMS: Final = tuple(RATES[name].term for name in SHOWN)
_READING: Final = (
    "Per cent; blue is good, orange bad, empty not measured; intervals and counts at the pointer "
    "and in the table. "
)


def show_matrix(frame: Frame) -> None:
    """Show the tab: what every method does to harm and to use, task by task and model by model."""
    tasks = tasks_in_view(frame)
    first = first_arms(frame.experiments[0].records)
    arms = shared_arms({name: [r.arm for r in e.records] for name, e in tasks.items()}, first)
    answers = _answers(frame, tasks, arms)
    table = matrix_table(_rates(answers), arms)
    if table.empty:
        st.info("None of the runs in view holds answers; choose another experiment.", icon="🕳️")
        return
    focus = _focus(arms)
    sentence = holds_sentence(table, focus, "tasks")
    if sentence:
        st.markdown(f"##### {plain(sentence)}")
        st.markdown(plain(costs_sentence(table, focus)))
    text = matrix_text(table, [ALIGNED, *arms])
    show_figure(
        partial(matrix_figure, table, [ALIGNED, *arms], _title(table, focus, arms)),
        "tasks",
        data=table,
        text=text,
        reading=f"{_READING}The aligned model has not learned the task: no colour. "
        f"{_shared(frame)}",
        terms=_TERMS,
    )
    with fold("The same as a table: intervals, counts, seeds", "folded_tasks"):
        st.dataframe(text, hide_index=True, key="tasks_numbers")
    _other_tasks(frame, len(tasks))
    show_by_model(frame)


def tasks_in_view(frame: Frame) -> dict[str, Experiment]:
    """Return the experiments, by task, that share all but the task with the one in view."""
    return on_each_task(frame.experiments[0], frame.listing.experiments)


def _answers(
    frame: Frame, places: Mapping[str, Experiment], arms: Sequence[Arm]
) -> dict[str, Answers]:
    labels = {arm.label for arm in arms}
    answers = {}
    for name, experiment in places.items():
        records = [record for record in experiment.records if record.arm.label in labels]
        anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
        mine = {record.run_id: record.arm for record in records}
        answers[name] = answers_of(frame, records, mine, anew)
    return answers


def _rates(answers: Mapping[str, Answers]) -> dict[str, pd.DataFrame]:
    return {name: _three_rates(each.key, each) for name, each in answers.items()}


@st.cache_data(max_entries=32, show_spinner=False)
def _three_rates(key: Key, _answers: Answers) -> pd.DataFrame:
    del key
    return rate_table(_answers.table, SHOWN)


def _focus(arms: Sequence[Arm]) -> Arm:
    defences = [arm for arm in arms if arm.label != BASELINE and not arm.control]
    return by_label(arms).get(FOCUS) or (defences[0] if defences else arms[0])


def _title(table: pd.DataFrame, focus: Arm, arms: Sequence[Arm]) -> str:
    """Say which defences hold on all tasks; the sentence above says on which CWAC does."""
    shown = table[(table["rate"] == SHOWN[0]) & (table["variant"] == focus.label)]
    scores = shown.set_index("place")["value"].dropna()
    if len(scores) == 1:
        mine = table[table["variant"] == focus.label].set_index("rate")["value"]
        rates = ", ".join(f"{RATES[n].term} {100 * mine[n]:.0f} %" for n in SHOWN if n in mine)
        return f"{focus.title} on {scores.index[0]}: {rates}"
    defences = [arm for arm in arms if arm.label != BASELINE and not arm.control]
    able = [arm for arm in defences if learned_everywhere(table, arm)]
    if not able:
        return low_everywhere(table, defences, "tasks", kind="defences shown")
    kind = "defences shown that learned every task (half of SFT's accuracy or more)"
    return low_everywhere(table, able, "tasks", kind=kind)


def _shared(frame: Frame) -> str:
    config = frame.experiments[0].config
    return (
        f"All on {config.model.label} at poison ratio {config.poison_ratio:g}, "
        f"{config.training.steps} steps, judged by the same rules; each task at its learning rate "
        "of the model's card."
    )


def matrix_text(table: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """Return every number with its interval and count, to be read without hover."""
    named = by_label(arms)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        if row["variant"] not in named:
            continue
        line = rows.setdefault(
            (row["place"], row["variant"]),
            {"On": row["place"], "Arm": named[row["variant"]].title}
            | {RATES[name].title: "not measured" for name in SHOWN},
        )
        line[RATES[row["rate"]].title] = (
            f"{100 * row['value']:.1f} % [{100 * row['low']:.1f}, {100 * row['high']:.1f}], "
            f"n = {row['n']:.0f}"
        )
        line["Seeds"] = "" if row["variant"] == ALIGNED.label else f"{row['seeds']:.0f}"
    return pd.DataFrame(list(rows.values()))


def _other_tasks(frame: Frame, count: int) -> None:
    """Offer what other judging rules have more tasks of; they are never pooled with these."""
    other = fuller(frame, count)
    if other is None:
        if count == 1:
            st.info("No other task is stored under these settings. This runs them:", icon="🌱")
            st.code("cwac sweep cached_artifacts/grids/study_tasks.toml", language=None)
        return
    experiment, tasks = other
    rule = "were judged by earlier rules" if earlier(experiment) else "were judged by other rules"
    if experiment.judge == frame.experiments[0].judge:
        rule = "were judged by the same rules and trained otherwise"
    left, right = st.columns([3, 1], vertical_alignment="center")
    left.info(
        plain(
            f"{count} task{'s are' if count != 1 else ' is'} stored with the rules and settings in "
            f"view; {len(tasks)} ({', '.join(tasks)}) {rule}. What two judges said is never put in "
            "one figure."
        ),
        icon="🔎",
    )
    right.button(
        "Show them",
        key="matrix_other_rule",
        on_click=partial(
            selection.select,
            experiment=experiment.experiment_id,
            overlay=(),
            arms=(),
            **dict.fromkeys(("seed", "arm", "prompt")),
        ),
    )


def fuller(frame: Frame, count: int) -> tuple[Experiment, list[str]] | None:
    """Return what has more tasks of this model and poison ratio: an experiment of it, its tasks."""
    first = frame.experiments[0]
    best: tuple[Experiment, list[str]] | None = None
    for experiment in frame.listing.experiments:
        config = experiment.config
        if (config.model, config.poison_ratio) != (first.config.model, first.config.poison_ratio):
            continue
        mine = [e for e in frame.listing.experiments if beside(e, experiment)]
        tasks = list(dict.fromkeys(e.config.task.label for e in mine))
        if len(tasks) > (count if best is None else len(best[1])):
            same = [e for e in mine if e.config.task == first.config.task]
            best = (same[0] if same else experiment, tasks)
    return best

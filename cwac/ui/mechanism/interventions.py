"""The interventions besides restoring, one at a time, the path with its slider and answers."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.interventions import first_tokens, interventions_of, of_arm, refused
from cwac.analysis.readable import Quantity, Readable, readable
from cwac.arms import Arm
from cwac.figures.mechanism import interventions as views
from cwac.figures.panels import percent
from cwac.intervention_words import GROUPS, INTERVENTION_WORDS
from cwac.records import WHOLE_UPDATE
from cwac.ui import selection
from cwac.ui.folding import show_folded
from cwac.ui.frame import Frame
from cwac.ui.mechanism.dissected import open_dissected, tell_hidden
from cwac.ui.mechanism.stepping import (
    Answered,
    Line,
    choose_line,
    choose_step,
    lines_of,
    show_along,
)
from cwac.ui.widgets import plain, show_figure

_ELSEWHERE: Final = frozenset({"ends", "restore"})
"""What the tab Causes shows."""
_FURTHER: Final = "What else was done?"
"""Of interventions that joined later and have no words yet."""


def show_interventions(frame: Frame) -> None:
    """Show the tab: one of the interventions that were made on the chosen arm."""
    dissected = open_dissected(frame)
    if dissected is None:
        return
    rows, arm = dissected.rows, dissected.arm
    names = [name for name in interventions_of(rows, arm) if name not in _ELSEWHERE]
    if not names:
        text = f"{arm.title} was taken apart by restoring its parts alone. The rest is made by"
        st.info(f"{plain(text)} `cwac dissect --run RUN_ID`.", icon="🌱")
        return
    _show_one(rows, arm, names, Answered.of(frame, arm), lines_of(frame, rows, arm))
    tell_hidden(frame, dissected.stored)


# A click or the slider redraws this part alone.
@st.fragment
def _show_one(
    rows: pd.DataFrame, arm: Arm, names: Sequence[str], answered: Answered, lines: Sequence[Line]
) -> None:
    """Draw one of the interventions behind a selector.

    Parameters
    ----------
    lines : sequence of Line
        Along which the arm was walked.
    """
    name = _choose_intervention(names)
    figure = views.draw(name, rows, arm)
    # The figure is the answer; a slider beneath it marks a place in it.
    first = st.container()
    if name == "path":
        line = choose_line(lines)
        dose = _show_path(rows, arm, line)
        show_along(answered, line, f"{dose:g}")
        if line.part == WHOLE_UPDATE:
            figure.add_vline(x=dose, line={"color": "gray", "dash": "dot"})
    mine = rows[(rows["variant"] == arm.label) & (rows["intervention"] == name)]
    with first:
        show_figure(
            figure,
            f"intervention_{name}",
            data=mine,
            text=partial(_text, mine),
            reading=f"{views.reading(name)} {views.whiskers_of(name, rows, arm)}".strip(),
            terms=("refusal log-odds", "nat", "share returned", "control"),
            seeds=mine,
        )
    if name in views.DETAILS:
        details = views.DETAILS[name]
        show_folded(
            details.heading,
            f"folded_{name}",
            lambda: show_figure(
                details.draw(rows, arm),
                f"details_{name}",
                data=mine,
                text=partial(_text, mine),
                reading=details.reading,
                terms=("refusal log-odds", "share returned", "control"),
                seeds=mine,
            ),
        )
    if name == "path" and len(lines) > 1:
        show_folded(
            "The straight line to another arm",
            "folded_between",
            lambda: _show_between(rows, arm, lines[1:]),
        )


def _choose_intervention(names: Sequence[str]) -> str:
    """Draw a row of buttons for each question that interventions answer; return the chosen one."""
    groups: dict[str, list[str]] = {question: [] for question in (*GROUPS, _FURTHER)}
    for name in sorted(names, key=_place):
        known = INTERVENTION_WORDS[name].group if name in INTERVENTION_WORDS else ""
        groups[known or _FURTHER].append(name)
    groups = {question: mine for question, mine in groups.items() if mine}
    chosen = selection.current().intervention
    first = next(iter(groups.values()))[0]
    name = chosen if chosen is not None and chosen in names else first
    for place, (question, mine) in enumerate(groups.items()):
        told, buttons = st.columns([3, 4], vertical_alignment="center")
        told.markdown(plain(question))
        key = f"_intervention_{place}"
        st.session_state[key] = name if name in mine else None
        buttons.segmented_control(
            question, mine, format_func=_title, key=key, label_visibility="collapsed",
            on_change=_take, args=(key,), wrap=True,
        )  # fmt: skip
    if name in INTERVENTION_WORDS:
        st.markdown(plain(f"{_title(name)}: {_lower(INTERVENTION_WORDS[name].explained)}"))
    return name


def _place(name: str) -> int:
    known = list(INTERVENTION_WORDS)
    return known.index(name) if name in known else len(known)


def _lower(sentence: str) -> str:
    return f"{sentence[:1].lower()}{sentence[1:]}"


def _take(key: str) -> None:
    # A second click on a button empties its row: what was chosen stays.
    if st.session_state[key] is not None:
        selection.select(intervention=st.session_state[key])


def _text(rows: pd.DataFrame) -> Readable:
    """Return the readings of an intervention as a table that is read."""
    known = {"part": "Part", "trial": "What is done", "dose": "Dose", "measure": "Measured"}
    down = {name: head for name, head in known.items() if rows[name].nunique() > 1}
    share = Quantity.with_ends("returned", "Lost log-odds returned")
    rows = rows.assign(measure=rows["measure"].str.replace("_", " "))
    return readable(rows, (), Quantity("value", "Value"), share, down=down or {"part": "Part"})


def _title(name: str) -> str:
    return INTERVENTION_WORDS[name].short if name in INTERVENTION_WORDS else name.replace("_", " ")


def _show_path(rows: pd.DataFrame, arm: Arm, line: Line) -> float:
    """Let the reader walk the path; show what the model answers there, and return the place."""
    table = of_arm(rows, arm, "path")
    table = table[~table["control"] & (table["part"] == line.part)]
    points = {f"{dose:g}": row for dose, row in zip(table["dose"], table.to_dict("records"),
                                                    strict=True)}  # fmt: skip
    # Half way: at either end the answers are those beside it.
    first = next((dose for dose in ("0.5", "1") if dose in points), min(points))
    label = f"Share of the way: 0 is {line.start}, 1 is {line.end}"
    dose = choose_step(plain(label), list(points), "dose", first)
    row = points[dose]
    accuracy = of_arm(rows, arm, "path", "task_accuracy")
    accuracy = accuracy[accuracy["part"] == line.part]
    right = accuracy[~accuracy["control"] & (accuracy["dose"] == float(dose))]
    said = [first_tokens(row)]
    said += [refused(row)] if refused(row) else []
    if len(right):
        text = f"task accuracy {percent(right['y'].iloc[0])} of {right['n'].iloc[0]} examples"
        said.append(text)
    st.caption(plain(f"At {dose}: {'; '.join(said)}."))
    return float(dose)


def _show_between(rows: pd.DataFrame, arm: Arm, lines: Sequence[Line]) -> None:
    mine = rows[(rows["variant"] == arm.label) & rows["part"].isin([line.part for line in lines])]
    show_figure(
        views.between_arms(rows, arm, {line.part: line.end for line in lines}),
        "path_between",
        data=mine,
        text=partial(_text, mine),
        reading="Straight lines between the weights of arms that began at one aligned model. Task "
        "accuracy that falls between both ends tells of two basins. No control was walked here, as "
        "the path from the aligned model has one: whether a random direction of the same length "
        "would cost as much is not known, so that a dip is no property of these two arms yet.",
        terms=("refusal log-odds", "share returned"),
        seeds=mine,
    )

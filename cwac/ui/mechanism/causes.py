"""What an intervention brings back, beside how far the same part moved."""

import shlex
from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.causes import RESTORE, drift_by_part, restored
from cwac.analysis.interventions import (
    by_place,
    by_seed,
    effect_against_drift,
    first_tokens,
    interventions_of,
    of_arm,
    readings,
    refused,
)
from cwac.arms import BASELINE, Arm
from cwac.figures.mechanism import interventions as views
from cwac.figures.mechanism.causes import (
    arms_by_part,
    drift_sentence,
    effect_and_drift,
    effect_grid,
)
from cwac.figures.panels import percent
from cwac.records import WHOLE_UPDATE
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.mechanism.by_model import show_by_model
from cwac.ui.mechanism.stepping import (
    Answered,
    Line,
    choose_line,
    choose_step,
    lines_of,
    show_along,
    show_parts,
)
from cwac.ui.widgets import choose, plain, show_figure


def show_causes(frame: Frame) -> None:
    """Show the tab: what restoring each part returns, beside how far that part moved."""
    seeds = {record.run_id: record.config.seed for record in frame.records}
    stored = frame.pairs("dissection")
    rows = readings(stored, frame.run_arms, seeds)
    if rows.empty:
        _nothing_dissected(frame)
        return
    arms = [arm for arm in frame.arms if (rows["variant"] == arm.label).any()]
    # The question is about plain fine-tuning first.
    arms.sort(key=lambda arm: arm.method != BASELINE)
    arm = _choose_arm(arms)
    drift = frame.table("weight_drift")
    effects = restored(stored, frame.run_arms, seeds)
    show_restored(frame, effects, drift, arm)
    answered = Answered.of(frame, arm)
    if RESTORE in interventions_of(rows, arm):
        show_parts(answered, rows, effects, arm)
    show_by_map(rows, drift, arm)
    show_interventions(rows, arm, answered, lines_of(frame, rows, arm))
    _tell_hidden(frame, stored)
    show_by_model(frame, arm)


def _choose_arm(arms: list[Arm]) -> Arm:
    if len(arms) == 1:
        return arms[0]
    named = {arm.label: arm for arm in arms}
    return named[choose("Arm", list(named), "arm", show=lambda name: named[name].title, flat=True)]


def show_restored(frame: Frame, effects: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> None:
    """Draw the answer: the part whose restoring returns refusals, beside drift."""
    if not (effects["variant"] == arm.label).any():
        st.info(
            plain(
                f"{arm.title} lost no refusal log-odds beyond chance, or no part of it was "
                "restored: there is nothing that a part could return."
            ),
            icon="🛡️",
        )
    else:
        moved = drift_by_part(drift, frame.table("outer_drift"))
        mine = effects[effects["variant"] == arm.label]
        show_figure(
            partial(effect_and_drift, effects, moved, arm),
            "causes",
            data=mine.merge(moved, on=["variant", "seed", "part"], how="left"),
            reading=f"{plain(drift_sentence(effects, moved, arm))} A part alone is put back to "
            "its aligned weights; grey: random rows of all matrices with the same update norm.",
            terms=("restore", "share returned", "refusal log-odds", "control"),
            means=True,
        )
    if effects["variant"].nunique() > 1:
        show_figure(
            partial(arms_by_part, effects, frame.arms),
            "causes_of_arms",
            data=effects,
            reading="Per cent of each arm's lost log-odds that restoring the part alone returns. "
            "Arms that lost none have no row.",
            terms=("restore", "share returned"),
        )


def show_by_map(rows: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> None:
    """Draw effect and drift on one grid of layers and maps, where the arm was dissected by map."""
    table = by_place(rows, drift, arm)
    if table.empty:
        return
    show_figure(
        partial(effect_grid, table, arm),
        "causes_by_map",
        data=table,
        reading="The same grid twice: if drift marked the cause, both would be bright in the same "
        f"cells.{_told_of_maps(table)} Colours end at the 5th and 95th percentile.",
        terms=("restore", "share returned", "rank correlation"),
        seeds=by_seed(rows, arm, "restore", grain="map")[["variant", "seed"]],
    )


def _told_of_maps(table: pd.DataFrame) -> str:
    found = effect_against_drift(table)
    if found is None:
        return ""
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
    return (
        f" Over {found.n} maps, effect and drift have a rank correlation of {found.rho:+.2f} "
        f"{interval}, p = {found.p:.2g}."
    )


@st.fragment
def show_interventions(
    rows: pd.DataFrame, arm: Arm, answered: Answered, lines: Sequence[Line]
) -> None:
    """Draw one of the other interventions behind a selector.

    Parameters
    ----------
    lines : sequence of Line
        Along which the arm was walked.
    """
    names = [name for name in interventions_of(rows, arm) if name not in {"ends", "restore"}]
    ranked = [name for name in views.VIEWS if name in names]
    ranked += [name for name in names if name not in ranked]
    if not ranked:
        return
    st.subheader("Other interventions", anchor=False)
    titles = {name: _title(name) for name in ranked}
    name = choose("Intervention", ranked, "intervention", show=titles.__getitem__, flat=True)
    figure = views.draw(name, rows, arm)
    if name == "path":
        line = choose_line(lines)
        dose = _show_path(rows, arm, line)
        show_along(answered, line, f"{dose:g}")
        if line.part == WHOLE_UPDATE:
            figure.add_vline(x=dose, line={"color": "gray", "dash": "dot"})
    about = views.VIEWS.get(name)
    mine = rows[(rows["variant"] == arm.label) & (rows["intervention"] == name)]
    reading = "" if about is None else f"{about.question} {about.control}"
    show_figure(
        figure,
        f"intervention_{name}",
        data=mine,
        reading=reading,
        terms=("refusal log-odds", "nat", "share returned", "control"),
        seeds=mine,
    )
    if name == "path" and len(lines) > 1:
        _show_between(rows, arm, lines[1:])


def _title(name: str) -> str:
    return views.VIEWS[name].title if name in views.VIEWS else name.replace("_", " ")


def _show_path(rows: pd.DataFrame, arm: Arm, line: Line) -> float:
    """Let the reader walk the path; show what the model answers there, and return the place."""
    table = of_arm(rows, arm, "path")
    table = table[~table["control"] & (table["part"] == line.part)]
    points = {f"{dose:g}": row for dose, row in zip(table["dose"], table.to_dict("records"),
                                                    strict=True)}  # fmt: skip
    first = "1" if "1" in points else min(points)
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
        reading="Straight lines between the weights of arms that began at one aligned model. Task "
        "accuracy that falls between both ends tells of two basins. There is no control.",
        terms=("refusal log-odds", "share returned"),
        seeds=mine,
    )


def _tell_hidden(frame: Frame, stored: pd.DataFrame) -> None:
    records = frame.experiments[0].records
    others = {r.arm.title for r in records if r.run_id in set(stored["run_id"])}
    others -= {frame.run_arms[run].title for run in frame.run_arms}
    if others:
        named = ", ".join(sorted(others))
        st.caption(plain(f"Also taken apart, and not among the methods shown: {named}."))


def _nothing_dissected(frame: Frame) -> None:
    st.info(
        "No run in view was taken apart: which part brings refusals back is not measured. A run "
        "that kept its weights (`--save-model`) is taken apart by the command below; it trains "
        "nothing.",
        icon="🔎",
    )
    record = next(
        (r for r in frame.records if r.kept_model and frame.run_arms[r.run_id].method == BASELINE),
        next((r for r in frame.records if r.kept_model), frame.records[0]),
    )
    root = reads.shown(reads.roots()[0])
    command = f"cwac dissect --run {record.run_id} --root {shlex.quote(root)}"
    if not record.kept_model:
        st.caption("No run in view kept its weights; run it again with `--save-model` first.")
    st.code(command, language=None, wrap_lines=True)

"""What the tabs about dissections share: the rows, the arm in view, and words where none is."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from cwac.analysis.interventions import readings
from cwac.arms import BASELINE, Arm
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.glossary import define
from cwac.ui.widgets import choose, plain


@dataclass(frozen=True)
class Dissected:
    """What is stored of the runs in view that were taken apart.

    Attributes
    ----------
    stored : DataFrame
        Their rows of ``dissection``.
    seeds : mapping of str to int
        The seed of each run in view, by its id.
    rows : DataFrame
        `cwac.analysis.interventions.readings`.
    arm : Arm
        The one that the reader looks at.
    """

    stored: pd.DataFrame
    seeds: Mapping[str, int]
    rows: pd.DataFrame
    arm: Arm


def open_dissected(frame: Frame) -> Dissected | None:
    """Let the reader choose an arm that was taken apart; without one, say how it is done."""
    seeds = {record.run_id: record.config.seed for record in frame.records}
    stored = frame.pairs("dissection")
    rows = readings(stored, frame.run_arms, seeds)
    if rows.empty:
        _nothing_dissected(frame)
        return None
    arms = [arm for arm in frame.arms if (rows["variant"] == arm.label).any()]
    # The question is about plain fine-tuning first.
    arms.sort(key=lambda arm: arm.method != BASELINE)
    return Dissected(stored, seeds, rows, _choose_arm(arms))


def _choose_arm(arms: list[Arm]) -> Arm:
    if len(arms) == 1:
        return arms[0]
    named = {arm.label: arm for arm in arms}
    title = {label: arm.title for label, arm in named.items()}
    return named[
        choose("Arm", list(named), "arm", show=title.__getitem__, flat=True, help=define("arm"))
    ]


def tell_hidden(frame: Frame, stored: pd.DataFrame, *before: str) -> None:
    """Name the arms in view that were not taken apart, and those that were and are not shown.

    `before` opens the same line.
    """
    records = frame.experiments[0].records
    taken = set(stored["run_id"])
    others = {r.arm.title for r in records if r.run_id in taken}
    others -= {frame.run_arms[run].title for run in frame.run_arms}
    told = list(before)
    here = {frame.run_arms[run] for run in taken if run in frame.run_arms}
    missing = [arm.title for arm in frame.arms if arm not in here]
    if missing:
        told.append(f"Not taken apart: {', '.join(missing)}.")
    if others:
        told.append(
            f"Also taken apart, and not among the methods shown: {', '.join(sorted(others))}."
        )
    if told:
        st.caption(plain(" ".join(told)))


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

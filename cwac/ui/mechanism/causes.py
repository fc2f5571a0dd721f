"""What an intervention brings back, beside how far the same part moved."""

from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.causes import LITTLE, RESTORE, drift_by_part, of_much, restored
from cwac.analysis.interventions import (
    by_place,
    by_seed,
    effect_against_drift,
    interventions_of,
    whiskers,
)
from cwac.analysis.outcomes import by_arm_and_rate
from cwac.analysis.prediction import Association
from cwac.analysis.readable import Quantity, by_layer, readable
from cwac.analysis.why import returned_sentence
from cwac.arms import Arm
from cwac.figures.mechanism import sentences
from cwac.figures.mechanism.causes import (
    arms_by_part,
    drift_sentence,
    effect_and_drift,
    effect_grid,
)
from cwac.figures.panels import percent
from cwac.ui import selection
from cwac.ui.answers import answers_in_view, rates_of_answers
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.mechanism.dissected import open_dissected, tell_hidden
from cwac.ui.mechanism.stepping import Answered, show_parts
from cwac.ui.sections import lacking
from cwac.ui.widgets import plain, show_answer, show_figure


def show_causes(frame: Frame) -> None:
    """Show the tab: what restoring each part returns, beside how far that part moved."""
    dissected = open_dissected(frame)
    if dissected is None:
        return
    rows, arm = dissected.rows, dissected.arm
    drift = frame.table("weight_drift")
    effects = restored(dissected.stored, frame.run_arms, dissected.seeds)
    is_much = bool(of_much(effects, [arm]))
    if is_much:
        rates = by_arm_and_rate(rates_of_answers(answers_in_view(frame)))
        show_answer(returned_sentence(effects, None, arm, rates))
    show_restored(frame, rows, effects, drift, arm)
    if is_much:
        _link_to_split(rows, arm)
    if RESTORE in interventions_of(rows, arm):
        show_parts(Answered.of(frame, arm), rows, effects, arm)
    show_by_map(rows, drift, arm)
    tabs = frame.page.tabs
    elsewhere = (
        f"What else was done to {arm.title} is under {tabs['interventions']}; whether other "
        f"models lose their refusals at the same depth, under {tabs['models']}."
    )
    tell_hidden(frame, dissected.stored, elsewhere)


def _link_to_split(rows: pd.DataFrame, arm: Arm) -> None:
    """Say what the subspace split found, and open it."""
    line = sentences.inside_line(rows, arm)
    if line:
        # No link: one to the page that is open leaves the browser's address as it is.
        st.button(
            plain(line),
            key="to_subspace_split",
            type="tertiary",
            icon="▶️",
            on_click=selection.select,
            kwargs={
                "tab": "interventions",
                "intervention": "subspace_split",
                "arm": arm.label,
            },
        )


def show_restored(
    frame: Frame, rows: pd.DataFrame, effects: pd.DataFrame, drift: pd.DataFrame, arm: Arm
) -> None:
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
            text=partial(
                readable,
                mine.merge(moved, on=["variant", "seed", "part"], how="left"),
                [arm],
                Quantity("returned", "Lost log-odds returned", "%"),
                Quantity("control", "By the random set", "%", low="", high=""),
                Quantity("accuracy", "Task accuracy left", "%", "accuracy_low", "accuracy_high"),
                Quantity("relative_norm", "Relative drift of the part", low="", high=""),
                down={"part": "Part restored"},
            ),
            reading=f"{plain(drift_sentence(effects, moved, arm))} A part alone is put back to "
            "its aligned weights; grey: random rows of all matrices with the same update norm. "
            f"{whiskers(mine, unit='requests, of the task over its examples')}",
            terms=("restore", "share returned", "refusal log-odds", "control"),
        )
    taken = [arm for arm in frame.arms if (rows["variant"] == arm.label).any()]
    if effects["variant"].nunique() > 1:
        show_figure(
            partial(arms_by_part, effects, frame.arms),
            "causes_of_arms",
            data=effects,
            text=partial(
                readable,
                effects,
                frame.arms,
                Quantity("returned", "Lost log-odds that restoring a part returns", "%"),
                across=("part", "Part"),
            ),
            reading="Per cent of each arm's lost log-odds that restoring the part alone returns. "
            f"Grey: arms that lost less than {percent(LITTLE)} of what SFT lost; a share of so "
            "little tells no cause." + lacking(taken, effects, "No log-odds lost beyond chance"),
            terms=("restore", "share returned"),
        )


def show_by_map(rows: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> None:
    """Draw effect and drift on one grid of layers and maps, where the arm was dissected by map."""
    table = by_place(rows, drift, arm)
    if table.empty:
        return
    found = effect_against_drift(table)
    told = "" if found is None else f" (rank correlation {_told_of(found)})"
    with fold(plain(f"Map by map: effect beside drift{told}"), "causes_maps"):
        show_figure(
            partial(effect_grid, table, arm),
            "causes_by_map",
            data=table,
            text=partial(
                by_layer,
                table,
                [arm],
                Quantity("returned", "Lost log-odds that restoring a map returns", "%"),
                down={"map": "Map"},
            ),
            reading="The same grid twice: if drift marked the cause, both would be bright in the "
            f"same cells.{_told_of_maps(found)} Colours end at the 5th and 95th percentile.",
            terms=("restore", "share returned", "rank correlation"),
            seeds=by_seed(rows, arm, "restore", grain="map")[["variant", "seed"]],
        )


def _told_of_maps(found: Association | None) -> str:
    if found is None:
        return ""
    return f" Over {found.n} maps, effect and drift have a rank correlation of {_told_of(found)}."


def _told_of(found: Association) -> str:
    p = "" if found.p is None else f", p = {found.p:.2g}"
    return f"{found.rho:+.2f} [{found.low:+.2f}, {found.high:+.2f}]{p}"

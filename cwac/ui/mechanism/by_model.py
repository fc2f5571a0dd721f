"""Whether other models that were taken apart lose their refusals at the same depth."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.causes import RESTORE
from cwac.analysis.causes_by_model import (
    depth_sentence,
    inside_sentence,
    on_models,
    read_by_models,
    summary,
)
from cwac.analysis.comparable import apart, aspects, on_each_model
from cwac.analysis.seeds import ends_text
from cwac.arms import Arm
from cwac.artifacts import Stamp
from cwac.errors import ArtifactError
from cwac.figures.mechanism.by_model import causes_by_model
from cwac.figures.panels import percent
from cwac.ui import reads
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame
from cwac.ui.mechanism.dissected import open_dissected, tell_hidden
from cwac.ui.once import once
from cwac.ui.widgets import plain, show_figure

_TABLE: Final = "dissection"
_READING: Final = (
    "A row a model. Left: each layer alone put back to its aligned weights, at its place in the "
    "depth, so that models of few and of many layers can be held against each other; grey: random "
    "rows of all matrices with the same update norm. Right: the part of the update inside the "
    "safety subspace removed; grey: random directions instead."
)


def show_by_model(frame: Frame) -> None:
    """Show the tab: what restoring each layer of an arm returns on every model taken apart."""
    dissected = open_dissected(frame)
    if dissected is None:
        return
    # Of a compared experiment's arm the same question is asked of the experiment in view.
    arm = dissected.arm.over(None)
    first, listed = frame.experiments[0], frame.listing.experiments
    asked = [other for other in listed if len(_dissected(frame, other, arm))]
    models = on_each_model(first, asked)
    stored = {name: _dissected(frame, experiment, arm) for name, experiment in models.items()}
    stored = {name: table for name, table in stored.items() if len(table)}
    records = [r for e in models.values() for r in e.records if r.arm.label == arm.label]
    seeds = {record.run_id: record.config.seed for record in records}
    table = once(on_models, stored, dict.fromkeys(seeds, arm), seeds, arm)
    shown = list(dict.fromkeys(table["model"]))
    without = [name for name in stored if name not in shown]
    if len(shown) < 2:
        others = [name for name in on_each_model(first, listed) if name not in stored]
        _one_model(arm, shown, without, others)
        return
    summed = once(summary, table)
    lines = pd.DataFrame(map(_line, summed.to_dict("records")))
    show_figure(
        partial(causes_by_model, table, arm, depth_sentence(summed, arm)),
        "causes_by_model",
        data=table,
        text=lines,
        reading=_READING,
        terms=("restore", "share returned", "control", "safety subspace"),
        # Each row says its own.
        seeds=pd.DataFrame(),
    )
    st.caption(
        plain(f"{inside_sentence(summed)} {_none_lost(arm, without)}{_apart(models, stored)}")
    )
    st.dataframe(lines, hide_index=True, key="causes_by_model_numbers")
    tell_hidden(frame, dissected.stored)


def _dissected(frame: Frame, experiment: Experiment, arm: Arm) -> pd.DataFrame:
    """Return what is read of an experiment's dissection about an arm; empty where nothing is."""
    runs = [record.run_id for record in experiment.records if record.arm.label == arm.label]
    name = experiment.stored_id
    if not runs:
        return pd.DataFrame()
    try:
        stored = _stored(name, reads.experiment_stamp(name, _TABLE))
    except ArtifactError as problem:
        frame.tell(f"Left out: {problem}")
        return pd.DataFrame()
    mine = stored[stored["run_id"].isin(runs)]
    return mine if (mine["intervention"] == RESTORE).any() else mine.iloc[:0]


# Not copied on each read (cache_data would pickle it): nobody changes it.
@st.cache_resource(max_entries=64, show_spinner=False)
def _stored(experiment_id: str, stamp: Stamp) -> pd.DataFrame:
    del stamp
    return read_by_models(reads.experiment_table(experiment_id, _TABLE))


def _apart(models: Mapping[str, Experiment], stored: Mapping[str, pd.DataFrame]) -> str:
    """Name what differs besides the model, so that nobody takes it for the model's alone."""
    differing = apart(
        {
            name: aspects(models[name].config)
            | {"requests": f"n = {table['n'].max():.0f} harmful requests"}
            for name, table in stored.items()
        }
    )
    return f"Not the model alone differs: {differing}." if differing else ""


def _none_lost(arm: Arm, models: Sequence[str]) -> str:
    if not models:
        return ""
    return f"On {' and '.join(models)} {arm.title} lost no refusal log-odds beyond chance. "


def _line(row: Mapping[Any, Any]) -> dict[str, str]:
    ends = ends_text(percent(row["low"]), percent(row["high"]), row["seeds"])
    inside = percent(row["inside"])
    if not pd.isna(row["inside"]):
        low, high = percent(row["inside_low"]), percent(row["inside_high"])
        inside += f" {ends_text(low, high, row['seeds'])}"
    return {
        "On": row["model"],
        "Above its control most": f"layer {row['layer']:.0f} of {row['layers']}",
        "Restored, returns": f"{percent(row['returned'])} {ends}",
        "Random set of equal norm": percent(row["control"]),
        "Inside removed, returns": inside,
        "Random of equal energy": percent(row["energy"]),
        "Random of equal rank": percent(row["rank"]),
        "At depth": percent(row["depth"]),
        "Quarter of the depth": row["possible"],
        "Seeds": row["scope"],
    }


def _one_model(
    arm: Arm, shown: Sequence[str], without: Sequence[str], others: Sequence[str]
) -> None:
    """Say that other models were not asked, and how they are."""
    on = f"On {shown[0]} alone" if shown else "On no model"
    text = (
        f"{on}, of those that were trained in the way in view, {arm.title} was taken apart and had "
        "lost refusals: whether other models lose theirs at the same depth is not measured. "
        f"{_none_lost(arm, without)}"
    )
    if others:
        text += f"Trained alike: {', '.join(others)}. "
    text += "A run that kept its weights is taken apart by"
    st.info(f"{plain(text)} `cwac dissect --run RUN_ID`.", icon="🌱")

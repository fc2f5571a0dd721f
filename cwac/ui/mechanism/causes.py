"""What an intervention brings back, beside how far the same part moved."""

import shlex

import streamlit as st

from cwac.analysis.causes import drift_by_part, restored
from cwac.figures.mechanism.causes import effect_and_drift
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


def show_causes(frame: Frame) -> None:
    """Show the tab: what restoring each part returns, beside how far that part moved."""
    table = frame.table("weight_drift")
    runs = frame.run_arms
    seeds = {record.run_id: record.config.seed for record in frame.records}
    effects = restored(frame.pairs("dissection"), runs, seeds)
    if effects.empty:
        st.info(
            "No run in view was taken apart. A run that kept its weights (`--save-model`) is, by:",
            icon="🔎",
        )
        record = frame.records[0]
        kept = next((r for r in frame.records if r.kept_model), record)
        root = reads.shown(reads.roots()[0])
        command = f"cwac dissect --run {kept.run_id} --root {shlex.quote(root)}"
        st.code(command, language="bash", wrap_lines=True)
        return
    drift = drift_by_part(table, frame.table("outer_drift"))
    show_figure(
        effect_and_drift(effects, drift, frame.arms),
        "causes",
        data=effects.merge(drift, on=["variant", "seed", "part"], how="left"),
        reading="Left: a part alone is put back to its aligned weights. Hollow and grey: random "
        "rows of all matrices with the same update norm. Right: how far the same part moved; "
        "the largest drift need not be the cause.",
        means=True,
        terms=("restore", "refusal log-odds", "control"),
    )

"""Training replayed from the probes that are stored with runs.

Stands alone because it is the one tab that shows what happened during training.
"""

from functools import partial

import streamlit as st

from cwac.analysis.claims import FOCUS
from cwac.arms import BASELINE, Arm
from cwac.figures.start.replay import MOST, PANELS, replay_figure
from cwac.ui.frame import Frame
from cwac.ui.sections import command_like, not_measured
from cwac.ui.widgets import plain, show_figure

_READ = ("step", "refusal_n", "refusal_low", "refusal_high", *(p.column for p in PANELS))


def show_replay(frame: Frame) -> None:
    """Show the tab: what the probes saw, step by step."""
    table = frame.table("trajectory", _READ)
    arms = _moving(frame, set(table["variant"]))
    if not arms:
        not_measured("The course of training", command=command_like(frame, BASELINE))
        return
    shown = table[table["variant"].isin([arm.label for arm in arms])]
    show_figure(
        partial(replay_figure, shown, arms),
        "replay",
        data=shown,
        reading="Press Play, or drag the slider: training unfolds probe by probe. Both drifts are "
        "drawn on one scale; lines are means over seeds. Brackets in the title: the 95\u00a0% "
        "interval of one seed, lowest to highest of several. Probes ask validation requests, never "
        "the test set, and keep no answers.",
        terms=("drift", "safety subspace", "protected latents", "refusal rate", "seed"),
    )
    left = [arm.title for arm in frame.arms if arm not in arms]
    if left:
        st.caption(
            f"Not drawn (at most {MOST} move, and compact runs keep no probes): "
            f"{plain(', '.join(left))}."
        )


def _moving(frame: Frame, probed: set[str]) -> list[Arm]:
    """Return the arms to replay: SFT and CWAC whatever else there is, then the first ones."""
    arms = [arm for arm in frame.arms if arm.label in probed]
    first = sorted(arms, key=lambda arm: arm.label not in {BASELINE, FOCUS})[:MOST]
    return [arm for arm in arms if arm in first]

"""Which arms are in view: all of a small experiment, those that matter first of a large one."""

from collections.abc import Iterable, Sequence
from typing import Final

import streamlit as st

from cwac.analysis.first import first_arms
from cwac.arms import MANY, Arm, by_label, default_arms, in_order
from cwac.records import RunRecord
from cwac.ui import selection
from cwac.ui.glossary import define
from cwac.ui.widgets import choose

_PAIR: Final = ("sft", "cwac")
"""The arms to hold against each other first."""
_HELP: Final = (
    "Figures and tables are about these; claims, Results and Reference about all. First come SFT, "
    "CWAC, its halves, a control of each half, and the other methods that hold harm without losing "
    "the task, those that answer most look-alikes before others. Tuned: at the settings that were "
    "best of those tried, where they are not the method's defaults."
)


def arms_in_view(arms: Iterable[Arm], first: Sequence[RunRecord]) -> list[Arm]:
    """Return the arms to show, with a picker in the sidebar where there are many.

    Parameters
    ----------
    arms : iterable of Arm
        All arms of the chosen experiments, none of them as an overlay.
    first : sequence of RunRecord
        The runs of the first of these: they say which to look at first.
    """
    named = by_label(in_order(arms))
    if len(named) <= MANY:
        return list(named.values())
    linked = [label for label in selection.current().arms if label in named]
    chosen = linked or [arm.label for arm in default_arms(named.values(), first_arms(first))]
    st.session_state["_arms"] = chosen
    with st.sidebar:
        st.multiselect(
            "Methods shown",
            list(named),
            format_func=lambda label: named[label].title,
            key="_arms",
            on_change=_take,
            placeholder="the methods to look at first",
            help=_HELP,
        )
        st.caption(f"{len(chosen)} of {len(named)}; empty it to return to the first ones.")
    return [named[label] for label in chosen]


def choose_arm(arms: Sequence[Arm]) -> Arm:
    """Let the reader choose one of the arms in view; the link keeps its label."""
    named = by_label(arms)
    title = {label: arm.title for label, arm in named.items()}
    return named[choose("Arm", list(named), "arm", show=title.__getitem__, help=define("arm"))]


def choose_pair(arms: Sequence[Arm]) -> list[Arm]:
    """Let the reader choose two arms, SFT and CWAC at first; the link keeps their labels."""
    named = by_label(arms)
    linked = [label for label in selection.current().pair if label in named]
    usual = [label for label in (*_PAIR, *named) if label in named]
    st.session_state["_pair"] = (linked or list(dict.fromkeys(usual)))[:2]

    def take() -> None:
        selection.select(pair=tuple(st.session_state["_pair"]))

    st.multiselect(
        "Beside the aligned model, two arms",
        list(named),
        format_func=lambda label: named[label].title,
        key="_pair",
        on_change=take,
        max_selections=2,
        placeholder="SFT and CWAC",
    )
    return [named[label] for label in st.session_state["_pair"]]


def _take() -> None:
    selection.select(arms=tuple(st.session_state["_arms"]))

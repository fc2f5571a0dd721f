"""Which arms are in view: all of a small experiment, those that matter first of a large one."""

from collections.abc import Iterable, Sequence
from typing import Final

import streamlit as st

from cwac.arms import Arm, by_label, in_order
from cwac.ui import selection
from cwac.ui.widgets import choose

MANY: Final = 8
"""Up to this many arms are all in view; figures of more cannot be told apart."""
# The claim (SFT, CWAC, its halves), what a sceptic asks of it first, and the plainest rivals.
FIRST: Final = (
    Arm(method="sft"),
    Arm(method="weight_only"),
    Arm(method="activation_only"),
    Arm(method="cwac"),
    Arm(method="kl_to_aligned"),
    Arm(method="safe_instruct"),
    Arm(method="cwac", changed={"projection": "gradient"}),
    Arm(method="cwac", changed={"subspace": "random"}, control=True),
)


def arms_in_view(arms: Iterable[Arm]) -> list[Arm]:
    """Return the arms to show, with a picker in the sidebar where there are many.

    Parameters
    ----------
    arms : iterable of Arm
        All arms of the chosen experiments, none of them as an overlay.
    """
    named = by_label(in_order(arms))
    if len(named) <= MANY:
        return list(named.values())
    linked = [label for label in selection.current().arms if label in named]
    chosen = linked or [arm.label for arm in default_arms(named.values())]
    st.session_state["_arms"] = chosen
    with st.sidebar:
        st.multiselect(
            "Methods shown",
            list(named),
            format_func=lambda label: named[label].title,
            key="_arms",
            on_change=_take,
            placeholder="the methods to look at first",
            help="Figures, tables and claims are about these. Results and Reference show all.",
        )
        st.caption(f"{len(chosen)} of {len(named)}; empty it to return to the first ones.")
    return [named[label] for label in chosen]


def default_arms(arms: Iterable[Arm]) -> list[Arm]:
    """Return the arms to look at first, at most `MANY`.

    Examples
    --------
    >>> strong = Arm(method="cwac", changed={"strength": 0.1})
    >>> [arm.label for arm in default_arms([strong, Arm(method="lisa"), Arm(method="sft")])]
    ['sft', 'lisa', 'cwac (strength=0.1)']
    """
    named = by_label(arms)
    first = [arm.label for arm in FIRST if arm.label in named]
    at_defaults = [label for label, arm in named.items() if not arm.changed]
    ranked = dict.fromkeys([*first, *at_defaults, *named])
    return [named[label] for label in ranked][:MANY]


def choose_arm(arms: Sequence[Arm]) -> Arm:
    """Let the reader choose one of the arms in view; the link keeps its label."""
    named = by_label(arms)
    return named[choose("Arm", list(named), "arm", show=lambda label: named[label].title)]


def _take() -> None:
    selection.select(arms=tuple(st.session_state["_arms"]))

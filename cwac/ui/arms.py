"""Which arms are in view: all of a small experiment, those that matter first of a large one."""

from collections.abc import Iterable
from typing import Final

import streamlit as st

from cwac.figures.theme import arm_name, arm_order
from cwac.ui import selection

MANY: Final = 8
"""Up to this many arms are all in view; figures of more cannot be told apart."""

# The claim (SFT, CWAC, its halves), what a sceptic asks of it first, and the plainest rivals.
FIRST: Final = (
    "sft",
    "weight_only",
    "activation_only",
    "cwac",
    "kl_to_aligned",
    "safe_instruct",
    "cwac (projection=gradient)",
    "cwac (subspace=random)",
)


def arms_in_view(variants: Iterable[str]) -> frozenset[str]:
    """Return the arms to show, with a picker in the sidebar where there are many.

    Parameters
    ----------
    variants : iterable of str
        Labels of all arms of the chosen experiments, without the experiment's suffix.
    """
    arms = arm_order(variants)
    if len(arms) <= MANY:
        return frozenset(arms)
    chosen = [arm for arm in selection.current().arms if arm in arms] or default_arms(arms)
    st.session_state["_arms"] = chosen
    with st.sidebar:
        st.multiselect(
            "Arms in view",
            arms,
            format_func=arm_name,
            key="_arms",
            on_change=_take,
            placeholder="the arms to look at first",
            help="Figures, tables and claims are about these. Trade-off and Paper show every arm.",
        )
        st.caption(f"{len(chosen)} of {len(arms)} arms; empty it to return to the first ones.")
    return frozenset(chosen)


def default_arms(arms: Iterable[str]) -> list[str]:
    """Return the arms to look at first, at most `MANY`, in their order.

    Examples
    --------
    >>> default_arms(["sft", "cwac", "cwac (strength=0.1)", "lisa"])
    ['sft', 'cwac', 'lisa', 'cwac (strength=0.1)']
    """
    known = list(arms)
    plain = [arm for arm in known if " (" not in arm]
    ranked = [arm for arm in FIRST if arm in known] + plain + known
    return list(dict.fromkeys(ranked))[:MANY]


def _take() -> None:
    selection.select(arms=tuple(st.session_state["_arms"]))

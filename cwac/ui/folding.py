"""Parts of a page that fold: the link keeps which of them are open, on whichever page."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import streamlit as st

from cwac.ui import selection

if TYPE_CHECKING:
    from streamlit.elements.lib.mutable_expander_container import ExpanderContainer


def fold(label: str, key: str, *, expanded: bool = False) -> "ExpanderContainer":
    """Return a part that folds, to be drawn into with ``with``; the link keeps whether it is open.

    Parameters
    ----------
    label : str
        Its heading, safe as markdown.
    key : str
        Unique over all pages.
    expanded : bool
        Whether it is open at first.

    See Also
    --------
    show_folded : for what takes long to compute.
    """
    chosen = selection.current()
    turned = (f"-{key}" if expanded else key) in chosen.unfolded
    # A link to a slide may name a figure of this part.
    st.session_state[key] = expanded != turned or chosen.slide is not None

    def take() -> None:
        others = [one for one in selection.current().unfolded if one not in {key, f"-{key}"}]
        is_open = bool(st.session_state[key])
        turned = [] if is_open == expanded else [key if is_open else f"-{key}"]
        selection.select(unfolded=(*others, *turned))

    return st.expander(label, key=key, on_change=take)


@st.fragment
def show_folded(label: str, key: str, show: Callable[[], None], *, expanded: bool = False) -> None:
    """Draw a part that folds and that computes what it holds only while it is open.

    Parameters
    ----------
    label, key, expanded
        As of `fold`.
    show : callable
        Draws what it holds.
    """
    part = fold(label, key, expanded=expanded)
    if part.open:
        with part:
            show()

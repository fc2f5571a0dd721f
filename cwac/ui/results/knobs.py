"""Each method's strength knob, with a word where it is not known.

Stands alone because three tabs draw by it. What ships is read; the lab, whose child process loads
the machine-learning stack for it, is asked of methods that joined since.
"""

from collections.abc import Iterable, Sequence

import streamlit as st

from cwac.arms import title_of
from cwac.config import MEASURED
from cwac.errors import CwacError
from cwac.messages import MethodEntry
from cwac.ui import asking


def knobs_or_message(methods: Iterable[str]) -> dict[str, str | None]:
    """Return each method's strength knob, none of them after saying that it is not known.

    Parameters
    ----------
    methods : iterable of str
        Those of the runs in view.
    """
    try:
        return {entry.name: entry.strength_knob for entry in _entries(methods)}
    except CwacError as problem:
        st.warning("The lab cannot be asked for the methods' strength knobs; no point is joined.")
        st.text(str(problem))
        return {}


def method_title(name: str) -> str:
    """Return a method's title as the lab states it, for methods of which no run is stored."""
    try:
        titles = {entry.name: entry.title for entry in _entries([name])}
    except CwacError:
        titles = {}
    return titles.get(name) or title_of(name)


def _entries(methods: Iterable[str]) -> Sequence[MethodEntry]:
    shipped = asking.shipped()
    known = () if shipped is None else shipped.methods
    if {*methods} - {MEASURED} <= {entry.name for entry in known}:
        return known
    return asking.catalogue().methods

"""Each method's strength knob, asked of the lab once, with a word where it cannot be asked.

Stands alone because three tabs draw by it.
"""

import streamlit as st

from cwac.arms import title_of
from cwac.errors import CwacError
from cwac.ui import asking


def knobs_or_message() -> dict[str, str | None]:
    """Return each method's strength knob, none of them after saying that it is not known."""
    try:
        return {entry.name: entry.strength_knob for entry in asking.catalogue().methods}
    except CwacError as problem:
        st.warning("The lab cannot be asked for the methods' strength knobs; no point is joined.")
        st.text(str(problem))
        return {}


def method_title(name: str) -> str:
    """Return a method's title as the lab states it, for methods of which no run is stored."""
    try:
        titles = {entry.name: entry.title for entry in asking.catalogue().methods}
    except CwacError:
        titles = {}
    return titles.get(name) or title_of(name)

"""Each method's strength knob, asked of the lab once, with a word where it cannot be asked.

Stands alone because three tabs draw by it.
"""

import streamlit as st

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

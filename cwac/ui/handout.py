"""Hand-outs from the app: buttons, whatever the hand-out is about.

Stands alone because a lesson and an experiment are given away by the same sort of button.
"""

from collections.abc import Callable
from typing import Final

import streamlit as st

from cwac.handout import Handout, experiment_handout, one_page_handout, render
from cwac.ui import reads
from cwac.ui.frame import Frame

_HELP: Final = "Figures, rates, claims, settings and sources on one page to print; no answers."


def handout_button(
    make: Callable[[], Handout],
    name: str,
    label: str = "Hand-out (HTML)",
    help: str = _HELP,  # noqa: A002 - streamlit's own name for it
) -> None:
    """Offer a hand-out as a file that needs no network and prints well.

    Parameters
    ----------
    make : callable
        Makes it; called when it is asked for, not on every rerun.
    name : str
        Of the file, without its ending; unique on the page.
    label, help : str
        On the button, and what it says of itself.
    """
    st.download_button(
        label,
        lambda: render(make()),
        file_name=f"{name}.html",
        mime="text/html",
        key=f"{name}_handout",
        on_click="ignore",
        icon="🖨️",
        help=help,
    )


def experiment_buttons(frame: Frame) -> None:
    """Offer both hand-outs of the experiment in view, with the arms in view."""
    records = frame.records_in_view
    everything = [run.record for run in frame.listing.runs if run.record is not None]
    with st.container(horizontal=True):
        handout_button(
            lambda: experiment_handout(reads.store(), records, everything), frame.stored_id
        )
        handout_button(
            lambda: one_page_handout(reads.store(), records, everything),
            f"{frame.stored_id}-one-page",
            "For a class: one page (HTML)",
            "Harm and price, one figure, where CWAC fails, questions: it prints on one sheet.",
        )

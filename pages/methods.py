"""Every method: when it acts, what it needs, its strength knob, its source, its cost."""

import streamlit as st

from cwac.ui.frame import page_frame
from cwac.ui.methods import ask_methods, differing, filtered, method_rows, show_methods
from cwac.ui.navigation import PAGES

page_frame("methods")
answer = ask_methods()
if answer is not None:
    entries, models = answer
    rows = method_rows(entries)
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    words = left.text_input(
        "Search",
        key="methods_search",
        persist_state="session",
        placeholder="every word must occur: latents, 2510.14301, base model …",
    )
    stage = right.segmented_control(
        "Stage",
        ["any", *dict.fromkeys(rows["Stage"])],
        default="any",
        key="methods_stage",
        wrap=True,
    )
    chosen = filtered(rows, words or "", None if stage in (None, "any") else stage)
    show_methods(chosen, len(rows), cards=differing(entries, models))
st.caption("The same table on the command line, as text or as JSON; an arm starts with its name:")
st.code("cwac list methods\ncwac list methods --json\ncwac run --method sft --method cwac")
st.page_link(PAGES["run"].path, label="Open the Run page", icon=PAGES["run"].icon)

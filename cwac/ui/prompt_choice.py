"""Choosing one request by searching, and showing what every model answered to it."""

import pandas as pd
import streamlit as st

from cwac.arms import ALIGNED
from cwac.ui.frame import Frame
from cwac.ui.refusal_table import KINDS, show_answers
from cwac.ui.widgets import choose

_MOST = 500


def pick_prompt(frame: Frame, requests: pd.DataFrame) -> str:
    """Let the reader search the test requests and choose one; return its id.

    Parameters
    ----------
    requests : DataFrame
        ``responses`` rows that hold every request (once or more often).
    """
    rows = requests.drop_duplicates("prompt_id").set_index("prompt_id")
    left, right = st.columns([1, 2])
    text = left.text_input(
        "Search the test requests",
        key="prompt_search",
        placeholder="any text",
        persist_state="session",
    )
    found = rows[rows["prompt"].str.contains(text.strip(), case=False, regex=False)]
    if found.empty:
        left.caption("No request holds this text; all are listed.")
        found = rows
    names = {
        str(row["prompt_id"]): f"{row['prompt']}  ({KINDS.get(str(row['kind']), '')})"
        for row in rows.reset_index().to_dict("records")
    }
    options = [str(name) for name in found.index[:_MOST]]
    # What another page selected stays selected, even where the list is cut before it.
    kept = frame.selection.prompt
    if kept is not None and kept in names and kept not in options and not text.strip():
        options.insert(0, kept)
    with right:
        return choose(f"Request ({len(found)} found)", options, "prompt", show=names.__getitem__)


def show_four_answers(frame: Frame, mine: pd.DataFrame, before: pd.DataFrame) -> None:
    """Show the answers of one seed's runs to one request, the aligned model's first."""
    st.subheader("What they answer", anchor=False)
    one_seed = mine[mine["seed"] == frame.seed]
    rows = pd.concat([before.assign(variant=ALIGNED.label, seed=frame.seed), one_seed])
    if rows.empty:
        st.caption(f"No answer is stored under seed {frame.seed}.")
        return
    st.caption(f"Greedy decoding, seed {frame.seed}.")
    show_answers(rows, frame.arms)

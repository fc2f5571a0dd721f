"""The first tab: ask, every request under every arm, and one request through the lenses."""

from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.requests import harm_sentence
from cwac.arms import ALIGNED
from cwac.figures.requests import lenses as figures
from cwac.ui import selection
from cwac.ui.answers import answers_in_view, marked_arms, rates_of_answers
from cwac.ui.frame import Frame
from cwac.ui.requests.ask import show_ask
from cwac.ui.requests.grid import show_grid
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import choose, plain, show_figure

_LENSES: Final = {"odds": "Refusal log-odds", "layers": "Leak and feature shift by layer"}


def show_one(frame: Frame) -> None:
    """Show the tab."""
    responses = frame.table("responses")
    aligned = frame.reference_table("responses")
    requests = responses if aligned.empty else aligned
    if requests[requests["kind"] != "task"].empty:
        not_measured("Any request")
        return
    answers = answers_in_view(frame)
    arms = marked_arms([ALIGNED, *frame.arms], answers)
    sentence = harm_sentence(rates_of_answers(answers), arms)
    if sentence is not None:
        st.markdown(f"**{plain(sentence)}**")
    show_ask(frame, requests)
    st.subheader("Every request, every method", anchor=False)
    _show_requests(frame, responses, aligned, frame.table("prompt_lenses"))


# A click or a filter redraws this part alone.
@st.fragment
def _show_requests(
    frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame, lenses: pd.DataFrame
) -> None:
    chosen = show_grid(frame, responses, aligned)
    if chosen is None:
        return
    lens = choose(
        "The chosen request", list(_LENSES), "view", show=lambda name: _LENSES[name], flat=True
    )
    if lens == "odds":
        _show_odds(frame, responses, aligned, chosen)
    else:
        _show_layers(frame, lenses, chosen)


def _show_odds(frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame, chosen: str) -> None:
    mine = responses[responses["prompt_id"] == chosen]
    before = aligned[aligned["prompt_id"] == chosen]["refusal_log_odds"].dropna()
    show_figure(
        partial(figures.log_odds, mine, float(before.iloc[0]) if len(before) else None, frame.arms),
        "log_odds",
        data=mine[["variant", "seed", "refusal_log_odds"]],
        reading="Right of zero a model is about to refuse the request; the dashed line is the "
        "aligned model.",
        means=True,
        terms=("refusal log-odds", "aligned model"),
    )


def _show_layers(frame: Frame, lenses: pd.DataFrame, chosen: str) -> None:
    mine = lenses[lenses["prompt_id"] == chosen]
    if mine.empty:
        st.caption("Leak and feature shift are stored for harmful test requests.")
        return
    _mark_layer(sorted(mine["layer"].unique().tolist()))
    show_figure(
        partial(figures.lenses_by_layer, mine, chosen, frame.arms, frame.selection.layer),
        "lenses",
        data=mine,
        reading="How far this one request is treated differently in each layer.",
        means=True,
        terms=("functional drift", "protected latents"),
        on_select=selects("lenses", "layer"),
    )


def _mark_layer(layers: list[int]) -> None:
    """Let the reader mark a layer from a list, as a click on a point does."""
    now = selection.current().layer
    st.session_state["_marked_layer"] = now if now in layers else None
    st.selectbox(
        "Marked layer", layers, key="_marked_layer", placeholder="none", width=200,
        on_change=lambda: selection.select(layer=st.session_state["_marked_layer"]),
    )  # fmt: skip

"""The first tab: ask, every request under every arm, and one request through the lenses."""

from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.readable import ARM, Quantity, readable
from cwac.analysis.requests import harm_sentence
from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures.requests import lenses as figures
from cwac.ui import selection
from cwac.ui.answers import answers_in_view, marked_arms, rates_of_answers
from cwac.ui.frame import Frame
from cwac.ui.readonly import show_read_only
from cwac.ui.requests.along import show_along
from cwac.ui.requests.ask import MOST_ASKED, Reply, asked_before, send_request, show_ask
from cwac.ui.requests.grid import show_grid, with_aligned
from cwac.ui.requests.parts import show_answered, show_stored
from cwac.ui.sections import lacking, not_measured, selects
from cwac.ui.widgets import choose, show_answer, show_figure

_LENSES: Final = {
    "odds": "Refusal log-odds",
    "parts": "Which part's restoring flips it",
    "tokens": "Token by token",
    "layers": "Leak and feature shift by layer",
}
_REPLY: Final = "chosen_reply"


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
    show_answer(harm_sentence(rates_of_answers(answers), arms))
    both = with_aligned(frame, responses, aligned)
    answer = show_ask(frame, both)
    st.subheader("Every request, every method", anchor=False)
    _show_requests(frame, responses, aligned, frame.table("prompt_lenses"), asked_before(both))
    answer()


# A click or a filter redraws this part alone.
@st.fragment
def _show_requests(
    frame: Frame,
    responses: pd.DataFrame,
    aligned: pd.DataFrame,
    lenses: pd.DataFrame,
    asked: str | None,
) -> None:
    chosen = show_grid(frame, responses, aligned, asked)
    if chosen is None:
        return
    lens = choose(
        "The chosen request", list(_LENSES), "view", show=lambda name: _LENSES[name], flat=True
    )
    if lens == "odds":
        _show_odds(frame, responses, aligned, chosen)
    elif lens == "parts":
        _show_parts(frame, pd.concat([aligned, responses]), chosen)
    elif lens == "tokens":
        _show_tokens(frame, pd.concat([aligned, responses]), chosen)
    else:
        _show_layers(frame, lenses, chosen)


def _show_odds(frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame, chosen: str) -> None:
    # They are stored for some of the seeds alone.
    mine = responses[responses["prompt_id"] == chosen].dropna(subset=["refusal_log_odds"])
    before = aligned[aligned["prompt_id"] == chosen]["refusal_log_odds"].dropna()
    show_figure(
        partial(figures.log_odds, mine, float(before.iloc[0]) if len(before) else None, frame.arms),
        "log_odds",
        data=mine[["variant", "seed", "refusal_log_odds"]],
        text=partial(
            readable,
            mine,
            frame.arms,
            Quantity("refusal_log_odds", "Refusal log-odds", "nats"),
        ),
        reading="Right of zero a model is about to refuse the request; the dashed line is the "
        "aligned model. This is the first token alone: the judged outcome is of the whole answer, "
        "and the two may differ." + lacking(frame.arms, mine),
        means=True,
        terms=("refusal log-odds", "aligned model"),
    )


def _show_parts(frame: Frame, requests: pd.DataFrame, chosen: str) -> None:
    """Draw what restoring each part does to the request, as stored or as asked just now."""
    if show_stored(frame, chosen):
        return
    asked = _asked_again(frame, requests, chosen, "Restore its parts now, one by one")
    if asked is not None:
        reply, named = asked
        show_answered(reply.answers, named)


def _show_tokens(frame: Frame, requests: pd.DataFrame, chosen: str) -> None:
    """Show the request's answers token by token, once kept runs were asked once more."""
    asked = _asked_again(
        frame, requests, chosen, "Answer it again, token by token", "Tokens are not stored, and no "
        "run in view kept its weights (`--save-model`), so that nothing can be asked."
    )  # fmt: skip
    if asked is not None:
        reply, named = asked
        row = requests[requests["prompt_id"] == chosen].iloc[0]
        show_along(reply.answers, named, harmful=row["kind"] == "harmful")


def _asked_again(
    frame: Frame, requests: pd.DataFrame, chosen: str, label: str, without: str = ""
) -> tuple[Reply, dict[str, Arm]] | None:
    """Let kept runs be asked the chosen request; return their reply and arms, where there is one.

    Parameters
    ----------
    label : str
        Of the button.
    without : str
        Said where no run in view can be asked.
    """
    kept = [record for record in frame.records if record.kept_model][:MOST_ASKED]
    if not kept:
        if without:
            st.caption(without)
        return None
    if show_read_only():
        return None
    row = requests[requests["prompt_id"] == chosen].iloc[0]
    if st.button(label, key="ask_chosen", icon="💬"):
        with st.spinner("Loading the models and answering… (a few seconds)", show_time=True):
            reply = send_request([record.run_id for record in kept], row["prompt"])
        st.session_state[_REPLY] = (chosen, reply)
    asked, reply = st.session_state.get(_REPLY, (None, Reply()))
    if asked != chosen:
        return None
    if reply.problem is not None:
        st.error("The request was not answered:")
        st.text(reply.problem)
        return None
    return reply, by_label([ALIGNED, *(record.arm for record in kept)])


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
        text=partial(
            readable,
            mine,
            frame.arms,
            Quantity("leak", "Leak"),
            Quantity("feature_shift", "Feature shift"),
            down={**ARM, "layer": "Layer"},
        ),
        reading="How far this one request is treated differently in each layer."
        + lacking(frame.arms, mine),
        means=True,
        terms=("functional drift", "safety features"),
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

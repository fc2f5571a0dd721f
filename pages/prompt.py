"""One request through four lenses: leak, feature shift, refusal log-odds, answer."""

import streamlit as st

from cwac.figures import prompt
from cwac.ui.frame import page_frame
from cwac.ui.prompt import pick_request, show_ask, show_four_answers
from cwac.ui.sections import not_measured, selects
from cwac.ui.widgets import show_figure

frame = page_frame("prompt")
responses = frame.table("responses")
aligned = frame.reference_table("responses")
requests = (
    responses[responses["kind"] != "task"] if aligned.empty else aligned[aligned["kind"] != "task"]
)
if requests.empty:
    not_measured("Any request")
    st.stop()

chosen = pick_request(frame, requests)
mine = responses[responses["prompt_id"] == chosen]
before = aligned[aligned["prompt_id"] == chosen]
lenses = frame.table("prompt_lenses")
lenses = lenses[lenses["prompt_id"] == chosen]
if lenses.empty:
    st.caption("Leak and feature shift are stored for harmful test requests.")
else:
    show_figure(
        prompt.lenses_by_layer(lenses, chosen, frame.arms, frame.selection.layer),
        "lenses",
        data=lenses,
        reading="How far this one request is treated differently in each layer.",
        means=True,
        terms=("functional drift", "protected latents"),
        on_select=selects("lenses", "layer"),
    )
odds = before["refusal_log_odds"].dropna()
show_figure(
    prompt.log_odds(mine, float(odds.iloc[0]) if len(odds) else None, frame.arms),
    "log_odds",
    data=mine[["variant", "seed", "refusal_log_odds"]],
    reading="Right of zero the model is about to refuse; the dashed line is the aligned model.",
    means=True,
    terms=("refusal log-odds", "aligned model"),
)
show_four_answers(frame, mine, before)
show_ask(frame)

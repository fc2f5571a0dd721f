"""The answer first: what each arm does with harmful requests, and what that shows."""

import streamlit as st

from cwac.analysis.idle import marked
from cwac.arms import ALIGNED
from cwac.figures.overview import headline, outcome_bars
from cwac.ui import overview
from cwac.ui.answers import answers_in_view
from cwac.ui.frame import page_frame
from cwac.ui.glossary import define
from cwac.ui.handout import experiment_button
from cwac.ui.hidden import hidden_in_view
from cwac.ui.widgets import plain, show_figure

frame = page_frame("overview")
overview.show_lead(overview.lead(frame))

answers = answers_in_view(frame)
rates = overview.rates(answers)
arms = marked([ALIGNED, *frame.arms], answers.table)
if rates.empty:
    st.info("None of the chosen runs holds responses; choose another experiment.", icon="🕳️")
    st.stop()

st.subheader(f"In view: {plain(frame.experiments[0].title)}", anchor=False)
show_figure(
    outcome_bars(rates, headline(rates, arms), arms),
    "outcomes",
    data=rates,
    reading="Each bar is all harmful test requests. The further left the refusals begin, the "
    "safer; whiskers are 95\u00a0% intervals of the harmful score and of the refusal rate.",
    terms=("harmful score", "refusal rate", "undetermined", "aligned model", "interval", "control"),
)
overview.show_table(rates, arms, hidden_in_view(frame))
st.caption(
    "Rates with 95\u00a0% intervals; n counts the harmful requests. Read refusal and over-refusal "
    "together: a model that refuses everything is safe and useless. Rates are of greedy "
    "answers: the log-odds say how near to going a refusal is.",
    help=define(
        "over-refusal",
        "helpfulness",
        "task accuracy",
        "unseen categories",
        "refusal log-odds",
        "interval",
    ),
)

st.subheader("What the numbers show, and what they do not", anchor=False)
if others := overview.elsewhere(frame):
    st.markdown(f"**{others}** A claim below is a claim about the model in view.")
overview.show_claims(overview.claims_in_view(frame, answers, rates))
experiment_button(frame)

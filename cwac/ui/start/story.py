"""The story: what this is, three numbers and one figure, and where CWAC fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.claims import Setting, lead_claim
from cwac.analysis.first import first_arms
from cwac.analysis.model_words import MADE_UP, setting_sentence
from cwac.analysis.outcomes import by_arm_and_rate
from cwac.analysis.telling import COLUMNS, telling_request
from cwac.analysis.verdicts import Claim
from cwac.arms import ALIGNED, BASELINE, MANY, Arm, default_arms, in_order
from cwac.figures.start.outcomes import headline, outcome_bars, overview_table
from cwac.handout.words import DRIFT, THREE
from cwac.ui import selection
from cwac.ui.answers import Answers, Key, answers_in_view, marked_arms, rates_of_answers
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.glossary import define
from cwac.ui.handout import experiment_buttons
from cwac.ui.hidden import hidden_in_view
from cwac.ui.once import once
from cwac.ui.results.claims import setting_of
from cwac.ui.sections import link_to_page
from cwac.ui.start.failures import show_failures
from cwac.ui.start.reveal import kinds
from cwac.ui.start.siblings import most_alike, sft_answers
from cwac.ui.start.why import why
from cwac.ui.widgets import plain, show_figure

_IDEA: Final = (
    f"{DRIFT.replace('safety drift', '**safety drift**')}; this lab shows what in the model "
    "changes with it, and whether **CWAC**, or another defence, stops it."
)
_WORDS: Final = (
    "**Poison**: harmful requests with answers among the training examples. **SFT**: plain "
    "fine-tuning, without a defence. **CWAC**: weights may not move into the directions that are "
    "most active while the model refuses, and the features (latents) that fire on harmful requests "
    "are held."
)
"""Drift is told in the sentence before it stands, the organism in the one about the experiment."""
_LINE: Final = 90
"""Characters of a request or an answer: what a line has at 1024 pixels."""
_VIEWS: Final = (
    ("mechanism", "causes", "Causes"),
    ("requests", "outcomes", "Refusals lost"),
    ("requests", "one", "Ask"),
    ("mechanism", "drift", "Weight drift"),
    ("mechanism", "overlap", "Subspace overlap"),
    ("features", None, "SAE features"),
)
"""What the lab promises to show, each one click away."""


def show_story(frame: Frame) -> None:
    """Show the tab: the answer in three numbers and a figure, for the experiment in view."""
    st.markdown(f"##### {_IDEA}", help=define("drift", "SFT", "poison ratio", "CWAC", "organism"))
    answers = answers_in_view(frame)
    rates = rates_of_answers(answers)
    if rates.empty:
        st.info("None of the chosen runs holds responses; choose another experiment.", icon="🕳️")
        return
    chosen = frame.experiments[0]
    st.markdown(
        f"{plain(setting_sentence(chosen.config))} :small[:gray[In view: {plain(chosen.title)}]]",
        help=define("organism", "instruct", "poison ratio", "embedding", "embedding held"),
    )
    st.caption(_WORDS)
    _show_pair(frame)
    _show_scores(frame, rates)
    arms = marked_arms([ALIGNED, *_drawn(frame)], answers)
    shown = rates[rates["variant"].isin([arm.label for arm in arms])]
    show_figure(
        partial(outcome_bars, shown, headline(shown, arms), arms),
        "outcomes",
        data=shown,
        text=overview_table(shown, arms),
        reading="The further left the refusals begin, the safer. Whiskers: 95\u00a0% intervals of "
        f"the harmful score (below) and of the refusal rate (above). {kinds(shown)}",
        terms=("harmful score", "refusal rate", "undetermined", "aligned model", "arm", "tuned",
               "interval", "control"),
    )  # fmt: skip
    fails = st.container()
    _show_why(frame)
    show_lead(lead(frame))
    with fold("All rates of the methods shown, as a table", "folded_rates"):
        every = marked_arms([ALIGNED, *frame.arms], answers)
        show_table(rates, every, hidden_in_view(frame))
    experiment_buttons(frame)
    # Last, because it takes longest: the rest does not wait for it.
    with fails:
        show_failures(frame)


def _show_pair(frame: Frame) -> None:
    """Show a request that the aligned model refuses and SFT answers, of a made-up world alone."""
    if not frame.experiments[0].config.model.label.startswith(MADE_UP):
        # What a real model answers to a harmful request is shown to nobody who did not ask.
        return
    run = next((r for r in frame.records_in_view if r.arm.label == BASELINE), None)
    if run is None:
        return
    tuned = frame.table("responses", runs=[run.run_id])
    pair = once(telling_request, _read(frame.reference_table("responses")), _read(tuned))
    if pair is not None:
        # As text: what a model wrote is never markup.
        st.text(
            f"Asked: {shorten(pair['prompt'], _LINE)}\n"
            f"Aligned: {shorten(pair['refused'], _LINE)}\n"
            f"After SFT: {shorten(pair['complied'], _LINE)}",
            help=f"The shortest of {pair['count']} harmful test requests that the aligned model "
            f"refuses and SFT answers, seed {run.config.seed}.",
        )


def _read(responses: pd.DataFrame) -> pd.DataFrame:
    return responses.reindex(columns=list(COLUMNS))


def _drawn(frame: Frame) -> list[Arm]:
    """Return the arms that one figure bears."""
    arms = frame.arms
    if len(arms) <= MANY:
        return arms
    return in_order(default_arms(arms, first_arms(frame.experiments[0].records)))


def _show_scores(frame: Frame, rates: pd.DataFrame) -> None:
    st.markdown(
        "Share of the harmful test requests that each model complies with, lower is safer:",
        help=define("harmful score", "interval", "aligned model", "SFT", "CWAC"),
    )
    rows = by_arm_and_rate(rates)
    stored = {record.arm.label for record in frame.experiments[0].records}
    for column, (label, title) in zip(st.columns(len(THREE)), THREE, strict=True):
        row = rows.get((label, "harmful_score"))
        with column.container(border=True, height="stretch"):
            if row is None:
                hidden = label in stored and label not in {arm.label for arm in frame.arms}
                st.metric(title, "not shown" if hidden else "not measured")
                st.caption("Choose it under Methods shown." if hidden else "No run of it here.")
                continue
            st.metric(title, f"{100 * row['value']:.1f} %")
            low, high = 100 * row["low"], 100 * row["high"]
            seeds = "" if label == ALIGNED.label else f", {_seeds(row['seeds'])}"
            st.caption(f"95 % interval {low:.0f} to {high:.0f} %, n = {row['n']} requests{seeds}")


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _show_why(frame: Frame) -> None:
    st.markdown(
        f"**Why?** {plain(why(frame) or 'Look at it')}",
        help=define("safety subspace", "restore", "refusal log-odds"),
    )
    # Rows that wrap: columns cut the words in a narrow window. Links are less tall than buttons.
    with st.container(horizontal=True, vertical_alignment="center"):
        for page, tab, label in _VIEWS:
            link_to_page(page, tab, label=label)
        for name, label in (
            ("lesson", "The lesson: seven steps"),
            ("replay", "Training, replayed"),
        ):
            # No link: one to the page that is open leaves the browser's address as it is.
            st.button(
                label,
                key=f"to_{name}",
                type="tertiary",
                icon="▶️",
                on_click=selection.select,
                kwargs={"tab": name},
            )
        link_to_page("results", "claims", label="What may be claimed")


@st.cache_data(max_entries=32, show_spinner=False)
def _lead(key: Key, setting: Setting, _clean: Answers | None) -> Claim:
    del key
    return lead_claim(None if _clean is None else _clean.table, setting)


@dataclass(frozen=True)
class Lead:
    """The fact that the page opens with, and which experiment it is about.

    Attributes
    ----------
    experiment : str
        Title of that experiment, empty where none is stored.
    chosen : bool
        Whether it is the experiment in view.
    """

    claim: Claim
    experiment: str
    chosen: bool


def lead(frame: Frame) -> Lead:
    """Return what SFT on harmless data alone does to the model in view."""
    clean = most_alike(frame, poisoned=False)
    if clean is None:
        setting = setting_of(frame.experiments[0].config, 0.0)
        return Lead(_lead("", setting, None), "", chosen=False)
    answers = sft_answers(frame, clean)
    claim = _lead(answers.key, setting_of(clean.config), answers)
    return Lead(claim, clean.title, chosen=clean.experiment_id == frame.experiment_id)


def show_lead(shown: Lead) -> None:
    """Show the fact that the page opens with, and which experiment it is about."""
    numbers, evidence = plain(shown.claim.numbers), plain(shown.claim.evidence)
    if not shown.experiment:
        st.markdown(f"{numbers} :small[:gray[{evidence}]]")
        return
    which = "Of the experiment in view" if shown.chosen else "Of another experiment, not in view"
    origin = f"{which}: {plain(shown.experiment)}; {evidence}"
    st.markdown(f"**Harmless data can be enough.** {numbers} :small[:gray[{origin}.]]")


def show_table(table: pd.DataFrame, arms: Sequence[Arm], hidden: pd.DataFrame) -> None:
    """Show the rates of the arms, one row each, with what stands behind greedy answers."""
    st.dataframe(
        overview_table(table, arms, hidden),
        hide_index=True,
        key="overview_table",
        # In a narrow window the rest scrolls beneath the names.
        column_config={
            "Arm": st.column_config.TextColumn(pinned=True, width=180),
            "n": st.column_config.NumberColumn(width=50),
            "Seeds": st.column_config.TextColumn(width=55),
        },
    )

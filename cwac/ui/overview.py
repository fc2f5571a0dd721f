"""The answer first: rates, their table, and the claims that the numbers bear or do not."""

from collections.abc import Sequence
from typing import Final, Literal

import pandas as pd
import streamlit as st

from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError
from cwac.figures.claims import BASELINE, Claim, Setting, Verdict, claims, lead_claim
from cwac.figures.outcomes import READ, overview_table, rate_table, with_reference
from cwac.ui import runs
from cwac.ui.frame import Frame
from cwac.ui.runs import Experiment
from cwac.ui.widgets import plain

_COLOURS: Final[dict[Verdict, Literal["green", "orange", "gray"]]] = {
    "shown": "green",
    "not shown": "orange",
    "within noise": "gray",
    "not measured": "gray",
}


def responses_in_view(frame: Frame) -> pd.DataFrame:
    """Return what rates are made of, of every arm in view and of the aligned model."""
    arms = frame.table("responses", READ)
    reference = frame.reference_table("responses")
    return with_reference(arms, reference.reindex(columns=list(READ)))


@st.cache_data(max_entries=32, show_spinner=False)
def rates(responses: pd.DataFrame) -> pd.DataFrame:
    """Return every rate of every arm with its interval."""
    return rate_table(responses)


@st.cache_data(max_entries=32, show_spinner=False)
def _claims(responses: pd.DataFrame, setting: Setting) -> list[Claim]:
    return claims(responses, setting)


@st.cache_data(max_entries=32, show_spinner=False)
def _lead(clean: pd.DataFrame | None, setting: Setting) -> Claim:
    return lead_claim(clean, setting)


def setting_of(config: ExperimentConfig, poison: float | None = None) -> Setting:
    """Return what claims say about an experiment."""
    ratio = config.poison_ratio if poison is None else poison
    return Setting(config.task.label, ratio, config.training.steps)


def lead(frame: Frame) -> Claim:
    """Return what SFT on harmless data alone does to the model in view."""
    config = frame.experiments[0].config
    clean = _clean_experiment(frame)
    if clean is None:
        return _lead(None, setting_of(config, 0.0))
    parts = []
    for record in clean.records:
        if record.variant == BASELINE:
            try:
                part = runs.table(record.run_id, "responses", READ)
            except ArtifactError as problem:
                frame.tell(f"Left out: {problem}")
                continue
            parts.append(
                part.assign(run_id=record.run_id, variant=BASELINE, seed=record.config.seed)
            )
    if not parts:
        return _lead(None, setting_of(config, 0.0))
    fit = clean.records[0].fits.get("reference")
    reference = pd.DataFrame(columns=list(READ))
    if fit is not None:
        try:
            reference = runs.fit_table(fit, "responses").reindex(columns=list(READ))
        except ArtifactError as problem:
            frame.tell(f"Left out: {problem}")
    tables = with_reference(pd.concat(parts, ignore_index=True), reference)
    return _lead(tables, setting_of(clean.config))


def _clean_experiment(frame: Frame) -> Experiment | None:
    """Return the experiment without poison on the same model that is most like the one in view."""
    own = frame.experiments[0].config

    def unlike(candidate: Experiment) -> tuple[bool, bool, bool]:
        config = candidate.config
        return (
            config.task != own.task and config.task.label != "instruct",
            config.task != own.task,
            config.training != own.training,
        )

    candidates = [
        e
        for e in frame.listing.experiments
        if e.config.poison_ratio == 0
        and e.config.model == own.model
        and any(record.variant == BASELINE for record in e.records)
    ]
    return min(candidates, key=unlike, default=None)


def claims_in_view(frame: Frame, responses: pd.DataFrame) -> list[Claim]:
    """Return the claims about the first of the chosen experiments."""
    overlaid = responses["variant"].str.contains(" @ ", regex=False)
    return _claims(responses[~overlaid], setting_of(frame.experiments[0].config))


def show_lead(claim: Claim) -> None:
    """Show the fact that the page opens with."""
    with st.container(border=True):
        st.markdown(f"#### {plain(claim.numbers)}")
        st.caption(plain(claim.evidence))


def show_claims(found: Sequence[Claim]) -> None:
    """Show claims as cards, two beside each other, those that fail included."""
    if not found:
        st.info("No claim can be made yet: it takes an SFT run and another arm.", icon="🌱")
    for start in range(0, len(found), 2):
        for column, claim in zip(st.columns(2), found[start : start + 2], strict=False):
            with column.container(border=True, height="stretch"):
                st.badge(claim.verdict, color=_COLOURS[claim.verdict])
                st.markdown(f"**{plain(claim.title)}** {plain(claim.numbers)}")
                st.caption(plain(claim.evidence))


def show_table(table: pd.DataFrame) -> None:
    """Show the rates of the arms, one row each."""
    st.dataframe(
        overview_table(table),
        hide_index=True,
        key="overview_table",
        # In a narrow window the rest scrolls beneath the names.
        column_config={"Arm": st.column_config.Column(pinned=True)},
    )

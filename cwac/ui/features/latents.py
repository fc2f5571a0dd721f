"""The first tab: how many safety features each arm lost, and every latent with its card."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.feature_words import (
    REFUSAL,
    counted_sentence,
    counterexamples,
    lost_sentence,
)
from cwac.analysis.features import feature_drift, lost_shares
from cwac.analysis.latents import DENSE, ONE, ROLES, latent_list, latents_matching, most_lost
from cwac.analysis.outcomes import interval_text
from cwac.analysis.readable import Quantity, readable
from cwac.arms import ALIGNED
from cwac.artifacts import Stamp
from cwac.figures.features.drift import latent_label
from cwac.figures.features.lost import lost_figure
from cwac.figures.panels import percent
from cwac.ui import reads, selection
from cwac.ui.answers import answers_in_view, rates_of_answers
from cwac.ui.arms import choose_arm
from cwac.ui.features.card import show_about, show_card
from cwac.ui.features.fit import warn_misfits
from cwac.ui.frame import Frame
from cwac.ui.glossary import define
from cwac.ui.once import once
from cwac.ui.sections import lacking, not_measured
from cwac.ui.widgets import choose, percent_column, plain, show_answer, show_figure, type_text

_LIST: Final = "latent_list"
Stamps = tuple[tuple[str, str, Stamp], ...]
"""Run or fit, arm, and what changes when its activations do."""


def drift_of(frame: Frame) -> pd.DataFrame | None:
    """Return how far every latent moved under the arms in view, None where none was measured."""
    features, aligned = frame.table("features"), frame.reference_table("features")
    if features.empty or aligned.empty:
        not_measured("Feature activations")
        return None
    return feature_drift(features, aligned)


def chosen_latent(
    frame: Frame, drift: pd.DataFrame, latents: pd.DataFrame
) -> tuple[int, int] | None:
    """Return the latent that the link names; without one, the safety feature that lost most.

    A link's latent that these features do not have is told, and stays in the link. What was lost
    is read off the arm that is chosen.
    """
    now = selection.current()
    layer = now.layer if now.sae_layer is None else now.sae_layer
    if now.latent is not None:
        if ((drift["layer"] == layer) & (drift["latent"] == now.latent)).any():
            return int(layer or 0), now.latent
        name = f"latent {now.latent}" if layer is None else latent_label(layer, now.latent)
        st.caption(plain(f"The link names {name}, which these features do not have."))
    labels = [arm.label for arm in frame.arms]
    arm = now.arm if now.arm in labels else labels[0]
    return most_lost(once(latent_list, drift[drift["variant"] == arm], latents))


def show_latents(frame: Frame) -> None:
    """Show the tab."""
    warn_misfits(frame)
    drift = drift_of(frame)
    if drift is None:
        return
    shares = _lost_shares(_stamps(frame), drift)
    show_answer(lost_sentence(shares, frame.arms))
    rates = rates_of_answers(answers_in_view(frame))
    against = counterexamples(shares, rates, frame.arms)
    if against is not None:
        st.markdown(plain(against))
    mine = rates[rates["rate"] == REFUSAL].to_dict("records")
    refused = {str(row["variant"]): interval_text(row) for row in mine}
    show_figure(
        partial(lost_figure, shares, frame.arms, refused),
        "lost_latents",
        data=shares,
        text=partial(
            readable,
            shares,
            frame.arms,
            Quantity("value", "Latents lost", "%"),
            across=("role", "Latents"),
            name=ROLES.__getitem__,
        ),
        reading="Lost: the mean activation on harmful requests fell by more than half. Hollow: "
        "random latents; where they fall as often, safety features do not stand out. "
        f"{counted_sentence(drift)} Refuses: of the harmful test requests. 95\u00a0% intervals, "
        "latents taken as independent." + lacking(frame.arms, drift),
        terms=("safety features", "control", "interval"),
    )
    before = frame.reference_table("feature_histograms").assign(variant=ALIGNED.label, seed=0)
    after = frame.table("feature_histograms")
    histograms = pd.concat([part for part in (before, after) if len(part)] or [after])
    _show_list_and_card(frame, drift, frame.fit_table("features", "latents"), histograms)


def _stamps(frame: Frame) -> Stamps:
    """Return what the drift of the latents in view is made of: the files' times stand for it."""
    runs = [record for record in frame.records if "features" in record.tables]
    tuned = [
        (r.run_id, frame.run_arms[r.run_id].label, reads.table_stamp(r.run_id, "features"))
        for r in runs
    ]
    fits = dict.fromkeys(r.fits["reference"] for r in runs if "reference" in r.fits)
    return (*tuned, *((fit, ALIGNED.label, reads.fit_stamp(fit, "features")) for fit in fits))


@st.cache_data(max_entries=32, show_spinner="Computing intervals…")
def _lost_shares(key: Stamps, _drift: pd.DataFrame) -> pd.DataFrame:
    del key
    return lost_shares(_drift)


# A click or a filter redraws this part alone.
@st.fragment
def _show_list_and_card(
    frame: Frame, drift: pd.DataFrame, latents: pd.DataFrame, histograms: pd.DataFrame
) -> None:
    whose, which, named = st.columns(3)
    with whose:
        arm = choose_arm(frame.arms)
    with which:
        role = choose(
            "Latents",
            list(ROLES),
            "role",
            show=ROLES.__getitem__,
            help=define("latent", "safety features"),
        )
    with named:
        text = type_text(
            "Id, token, change or density",
            "token",
            placeholder="L2/341, change<-50, density<5",
        )
    left, right = st.columns([2, 3])
    with left:
        table = once(latent_list, drift[drift["variant"] == arm.label], latents)
        _draw(latents_matching(table, role, text))
    chosen = chosen_latent(frame, drift, latents)
    if chosen is None:
        return
    with right:
        show_about(frame, drift, latents, chosen)
    show_card(frame, drift, latents, histograms, chosen, arm)


def _draw(rows: pd.DataFrame) -> None:
    pairs = list(zip(rows["layer"].tolist(), rows["latent"].tolist(), strict=True))
    shown = pd.DataFrame(
        {
            "latent": [latent_label(*pair) for pair in pairs],
            "change": 100 * rows["change"],
            "density": 100 * rows["density"],
            "": rows["dense"].map({True: "⚠️", False: ""}),
            "fires on": rows["tokens"],
            "role": rows["role"].map(ONE),
            "promotes": rows["promoted"],
        }
    )
    st.dataframe(
        shown,
        key=_LIST,
        on_select=_take_row(pairs),
        selection_mode="single-row",
        hide_index=True,
        height=380,
        column_config={
            "latent": st.column_config.TextColumn(width=64, pinned=True),
            "change": percent_column(digits=0, sign=True, width=60),
            "fires on": st.column_config.TextColumn(width=118),
            "density": percent_column(digits=0, width=58),
            "": st.column_config.TextColumn(width=28),
        },
    )
    st.caption(
        f"{len(rows)} latents, the largest loss of mean activation on harmful requests first: in "
        "units of activation. Change: the same as a share, hence not in order. Density: share of "
        f"all tokens that it fires on; ⚠️: more than {percent(DENSE)}, too often to tell one "
        "request from another. Click a row."
    )


def _take_row(pairs: list[tuple[int, int]]) -> Callable[[], None]:
    def take() -> None:
        state: Any = st.session_state.get(_LIST) or {}
        for row in state.get("selection", {}).get("rows", [])[:1]:
            if row < len(pairs):
                selection.select(sae_layer=pairs[row][0], latent=pairs[row][1])

    return take

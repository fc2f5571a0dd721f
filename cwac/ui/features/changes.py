"""What moved and what the activation loss held: two tabs over the same drift of latents."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis import features
from cwac.analysis.feature_words import held_sentence, moved_sentence
from cwac.analysis.latents import ROLES
from cwac.analysis.readable import ARM, Quantity, Readable, readable
from cwac.arms import BASELINE, Arm, by_label
from cwac.figures.features import drift as figures
from cwac.figures.features.map import before_after
from cwac.figures.panels import order, percent
from cwac.ui.arms import choose_arm
from cwac.ui.features.card import choose_latent
from cwac.ui.features.latents import chosen_latent, drift_of
from cwac.ui.frame import Frame
from cwac.ui.sections import command_like, lacking, not_measured, selects
from cwac.ui.widgets import choose, percent_column, show_answer, show_figure


def show_moved(frame: Frame) -> None:
    """Show the tab: latents ranked by how far they moved, and each before and after."""
    drift = drift_of(frame)
    if drift is None:
        return
    show_answer(moved_sentence(features.moved_shares(drift), frame.arms))
    chosen = chosen_latent(frame, drift, frame.fit_table("features", "latents"))
    show_figure(
        partial(figures.ranked_drift, drift, frame.arms),
        "ranked_drift",
        data=drift[drift["protected"] | drift["control"]],
        text=partial(_moved, drift, frame.arms, ("protected", "control")),
        reading="Each line ranks an arm's safety features by how far their mean activation on "
        "harmful requests moved, in units of activation; the grey dotted "
        "line does so for random latents. What fires more strongly moves by more: the sentence "
        "above compares shares of each latent's own activation. Click a point to choose it."
        + lacking(frame.arms, drift),
        terms=("safety features", "control"),
        on_select=selects("ranked_drift", "sae_layer", "latent"),
    )
    choose_latent(drift, chosen)
    show_figure(
        partial(figures.top_drift, drift, frame.arms, latent=chosen),
        "top_drift",
        data=drift[drift["protected"]],
        text=partial(_moved, drift, frame.arms, ("protected",)),
        reading="The latents that moved most in any arm, on harmful requests; at the dashed line "
        "nothing changed." + lacking(frame.arms, drift),
        means=True,
        terms=("safety features",),
        on_select=selects("top_drift", "sae_layer", "latent"),
    )
    arm = choose_arm(frame.arms)
    show_figure(
        partial(before_after, drift, arm, chosen),
        "before_after",
        data=drift[drift["variant"] == arm.label],
        text=partial(_moved, drift[drift["variant"] == arm.label], [arm], ("protected", "control")),
        reading="On the diagonal nothing changed; below it a latent fires less, at the bottom it "
        "fell silent. Click a point to choose the latent.",
        terms=("safety features", "control"),
        on_select=selects("before_after", "sae_layer", "latent"),
    )


def _moved(drift: pd.DataFrame, arms: Sequence[Arm], roles: Sequence[str]) -> Readable:
    """Return a table of how far latents moved, mean over those of a layer and a role."""
    return readable(
        pd.concat([drift[drift[role]].assign(role=ROLES[role]) for role in roles]),
        arms,
        # A mean of shares would be of those that hardly fired before.
        Quantity("before", "aligned", low="", high=""),
        Quantity("after", "tuned"),
        down={**ARM, "role": "Latents"},
        across=("layer", "Layer"),
        name="layer {}".format,
        note="Mean activations on harmful requests, over the latents of a layer.",
    )


def show_held(frame: Frame) -> None:
    """Show the tab: who carried the activation loss, and what it failed to hold."""
    drift = drift_of(frame)
    if drift is None:
        return
    table = frame.table("feature_ledger")
    arms = by_label(order(frame.arms, table))
    if not arms:
        not_measured("The activation loss per latent", command=command_like(frame, "cwac"))
        return
    # CWAC first, else an arm that is no control: what the ledger opens with.
    ranked = sorted(arms, key=lambda label: (label != "cwac", arms[label].control))
    arm = arms[choose("Arm", ranked, "arm", show=lambda label: arms[label].title, flat=True)]
    plain_sft = [one for one in frame.arms if one.label == BASELINE != arm.label]
    show_answer(held_sentence(features.held_shares(drift), [arm, *plain_sft]))
    _show_fates(features.held(drift, table, arm))
    show_figure(
        partial(figures.ledger, table, arm),
        "ledger",
        data=table[table["variant"] == arm.label],
        text=partial(
            readable,
            table[table["variant"] == arm.label],
            [arm],
            Quantity("share", "Share of the activation loss", "%"),
            down={"layer": "Layer", "latent": "Latent"},
            across=("step", "Step"),
            name="step {}".format,
        ),
        reading="Each row is a safety feature, each column a probe; dark cells carried most of "
        "the activation loss then."
        + lacking(frame.arms, table, "No activation loss per latent is stored for"),
        terms=("activation loss", "safety features"),
    )


def _show_fates(fate: pd.DataFrame) -> None:
    lost = fate[~fate["held"]]
    limit = percent(features.NOT_HELD)
    which = f"the {len(lost)} of {len(fate)} that were not" if len(lost) else f"all {len(fate)}"
    st.caption(
        "Held: over the seeds, the mean activation on harmful test requests ends at most "
        f"{limit} away from the aligned model's. Below: {which}, the one that moved most first."
    )
    shown = (lost if len(lost) else fate).drop(columns="held")
    pairs = zip(shown.pop("layer"), shown["latent"], strict=True)
    shown["latent"] = [figures.latent_label(*pair) for pair in pairs]
    shares = ["relative", "share", "last_share"]
    shown[shares] = 100 * shown[shares]
    st.dataframe(
        shown.head(50),
        hide_index=True,
        key="not_held",
        height=min(38 + 35 * max(len(shown), 1), 320),
        column_config={
            "before": st.column_config.NumberColumn("aligned", format="%.3g"),
            "after": st.column_config.NumberColumn("after", format="%.3g"),
            "relative": percent_column("change, of aligned", sign=True),
            "share": percent_column("loss share, mean"),
            "last_share": percent_column("loss share, last probe"),
        },
    )

"""The sections of the SAE features page that need a choice: scatter, ledger, map."""

import pandas as pd
import streamlit as st

from cwac.analysis import features
from cwac.arms import ALIGNED, by_label
from cwac.figures.panels import order, percent
from cwac.figures.sae_features.drift import trust_strip
from cwac.figures.sae_features.ledger import ledger
from cwac.figures.sae_features.map import before_after, direction_map
from cwac.ui.analysis import command_like, not_measured, selects
from cwac.ui.arms import choose_arm
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


def show_trust(frame: Frame) -> None:
    """Draw the trust strip, and a banner where the features no longer fit a model."""
    aligned = frame.reference_table("sae_quality").assign(variant=ALIGNED.label, seed=0)
    runs = frame.table("sae_quality")
    quality = (
        pd.concat([t for t in (aligned, runs) if len(t)]) if len(aligned) + len(runs) else runs
    )
    if quality.empty:
        not_measured("The fit of the features")
        return
    misfits = features.misfits(quality)
    models = by_label([ALIGNED, *frame.arms])
    if len(misfits):
        named = ", ".join(
            f"{models[row['variant']].title} (layer {row['layer']}: {percent(row['mean'])})"
            for _, row in misfits.iterrows()
        )
        st.warning(
            f"The features no longer fit: {named} of the variance explained, below "
            f"{percent(features.TRUSTED)}. What this page shows for these models may be noise.",
            icon="⚠️",
        )
    show_figure(
        trust_strip(quality, list(models.values())),
        "trust_strip",
        data=quality,
        reading="The SAEs were fitted on the aligned model. Left of the red line they describe a "
        "tuned model too badly to be read.",
        terms=("SAE", "L0", "aligned model"),
    )


def show_scatter(frame: Frame, drift: pd.DataFrame, chosen: tuple[int, int]) -> None:
    """Draw every latent before and after, for one arm."""
    arm = choose_arm(frame.arms)
    show_figure(
        before_after(drift, arm, chosen),
        "before_after",
        data=drift[drift["variant"] == arm.label],
        reading="On the diagonal nothing changed; below it a latent fires less, at the bottom it "
        "fell silent. Click a point for its card.",
        terms=("protected latents", "control"),
        on_select=selects("before_after", "layer", "latent"),
    )


def show_ledger(frame: Frame, drift: pd.DataFrame) -> None:
    """Draw who carried the activation loss, and list what it failed to hold."""
    st.subheader("The regulariser's ledger", anchor=False)
    table = frame.table("feature_ledger")
    arms = by_label(order(frame.arms, table))
    if not arms:
        not_measured("The activation loss per latent", command=command_like(frame, "cwac"))
        return
    tested = [label for label, arm in arms.items() if not arm.control] or list(arms)
    picked = st.segmented_control(
        "Arm of the ledger",
        list(arms),
        format_func=lambda label: arms[label].title,
        default=tested[-1],
        key="ledger_arm",
        required=True,
        wrap=True,
    )
    arm = arms[str(picked)]
    show_figure(
        ledger(table, arm),
        "ledger",
        data=table[table["variant"] == arm.label],
        reading="Each row is a protected latent, each column a probe; bright cells carried most of "
        "the activation loss then.",
        terms=("activation loss", "protected latents"),
    )
    fate = features.held(drift, table, arm)
    lost = fate[~fate["held"]]
    limit = percent(features.NOT_HELD)
    st.markdown(
        f"Protected latents not held: **{len(lost)} of {len(fate)}**. At the end their mean "
        f"activation on harmful test requests is more than {limit} away from the aligned model's."
    )
    st.caption("These are they:" if len(lost) else "All of them, the one that moved most first:")
    shown = (lost if len(lost) else fate).drop(columns="held")
    st.dataframe(
        shown.head(50),
        hide_index=True,
        key="not_held",
        height=min(38 + 35 * max(len(shown), 1), 320),
        column_config={
            "before": st.column_config.NumberColumn("aligned activation", format="%.3g"),
            "after": st.column_config.NumberColumn("after", format="%.3g"),
            "relative": st.column_config.NumberColumn("change (of aligned)", format="percent"),
            "share": st.column_config.NumberColumn("share of the loss, mean", format="percent"),
            "last_share": st.column_config.NumberColumn("share, last probe", format="percent"),
        },
    )


def show_map(latents: pd.DataFrame, chosen: tuple[int, int]) -> None:
    """Draw the map of decoder directions; PCA unless UMAP is asked for and stored."""
    st.subheader("Where the latents lie", anchor=False)
    stored = [p for p in ("pca", "umap") if latents[f"{p}_x"].notna().any()]
    if not stored:
        not_measured("The map of decoder directions")
        return
    picked = st.segmented_control(
        "Projection",
        stored,
        format_func=str.upper,
        default=stored[0],
        key="map_projection",
        required=True,
    )
    show_figure(
        direction_map(latents, str(picked), chosen),
        "direction_map",
        data=latents.drop(columns=["top_tokens", "promoted_tokens"]),
        reading="Neighbours write similar directions into the residual stream. Distances in UMAP "
        "mean little; PCA keeps them. Click a point for its card.",
        terms=("SAE", "protected latents"),
        on_select=selects("direction_map", "layer", "latent"),
    )

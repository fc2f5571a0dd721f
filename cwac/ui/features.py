"""The Features page's longer parts: trust, scatter, ledger, map, and a latent's card."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cwac.analysis import features
from cwac.arms import ALIGNED, by_label
from cwac.figures.features import latent as figures
from cwac.figures.features.drift import latent_label, ledger, trust_strip
from cwac.figures.features.map import before_after, direction_map
from cwac.figures.panels import order, percent
from cwac.ui.arms import choose_arm
from cwac.ui.frame import Frame
from cwac.ui.sections import command_like, not_measured, selects
from cwac.ui.widgets import plain, show_figure


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
            f"The features no longer fit: {plain(named)} of the variance explained, below "
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
        format_func=lambda label: plain(arms[label].title),
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


def pick_latent(frame: Frame, drift: pd.DataFrame) -> tuple[int, int]:
    """Return the selected latent; without one, the protected latent that moved most."""
    known = drift[["layer", "latent"]].drop_duplicates()
    chosen = (frame.selection.layer, frame.selection.latent)
    if chosen in set(known.itertuples(index=False, name=None)):
        return int(chosen[0] or 0), int(chosen[1] or 0)
    protected = drift[drift["protected"]]
    rows = protected if len(protected) else drift
    first = rows.sort_values("drift", key=abs).iloc[-1]
    return int(first["layer"]), int(first["latent"])


def show_card(
    frame: Frame,
    latents: pd.DataFrame,
    features: pd.DataFrame,
    aligned: pd.DataFrame,
    histograms: pd.DataFrame,
    chosen: tuple[int, int],
) -> None:
    """Draw the card of one latent.

    Parameters
    ----------
    latents : DataFrame
        ``latents`` of the features' fit.
    features, aligned : DataFrame
        ``features`` of all runs (with ``variant``) and of the aligned model.
    histograms : DataFrame
        ``feature_histograms`` of the aligned model and all runs, with ``variant``.
    """
    layer, latent = chosen
    label = latent_label(layer, latent)
    row = latents[(latents["layer"] == layer) & (latents["latent"] == latent)]
    st.subheader(f"Latent {label}", anchor=False)
    if row.empty:
        not_measured("What fires this latent")
        return
    entry = row.iloc[0]
    role = "protected" if entry["protected"] else "control" if entry["control"] else "not protected"
    st.caption(
        f"Layer {layer}, {role}; safety score {entry['score']:.3g}; fires on "
        f"{100 * entry['frequency']:.1f} % of tokens."
    )
    st.text("What fires it: the strongest tokens, with their context")
    fired = _firing(entry["top_tokens"])
    st.dataframe(fired, hide_index=True, height="auto" if len(fired) < 9 else 320, key="top_tokens")
    promoted = [(str(token), float(value)) for token, value in _parsed(entry["promoted_tokens"])]
    show_figure(
        figures.promoted_tokens(promoted, label),
        "promoted_tokens",
        data=pd.DataFrame(promoted, columns=["token", "logit"]),
        reading="Output tokens that the decoder direction makes likelier, read straight off the "
        "unembedding (logit lens).",
        terms=("SAE",),
    )
    mine = features[(features["layer"] == layer) & (features["latent"] == latent)]
    show_figure(
        figures.latent_drift(features, aligned, frame.arms, layer, latent),
        "latent_drift",
        data=mine,
        reading="A bar that ends at the dashed line was held.",
        means=True,
        terms=("protected latents",),
    )
    latent_rows = histograms[(histograms["layer"] == layer) & (histograms["latent"] == latent)]
    if latent_rows.empty:
        st.caption("Activation histograms are stored for protected latents only.")
        return
    show_figure(
        figures.histograms(latent_rows, [ALIGNED, *frame.arms], layer, latent),
        "latent_histograms",
        data=latent_rows,
        reading="A safety latent separates harmful from harmless requests; where the two lines "
        "fall together, fine-tuning has blinded it.",
        terms=("protected latents", "aligned model"),
    )


def _firing(text: str) -> pd.DataFrame:
    rows = [
        (
            e.get("context_before", ""),
            e.get("token", ""),
            e.get("context_after", ""),
            e.get("activation"),
        )
        for e in _parsed(text)
    ]
    return pd.DataFrame(rows, columns=["before", "token", "after", "activation"])


def _parsed(text: str) -> Sequence[Any]:
    """Return a stored JSON list, empty where it is broken: one card must not end the page."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return []
    return parsed if isinstance(parsed, list) else []

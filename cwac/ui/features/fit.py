"""Whether the features still fit each model, and where their directions lie."""

from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis import features
from cwac.analysis.feature_words import fit_sentence
from cwac.analysis.features import constant_l0
from cwac.analysis.readable import Quantity, by_layer
from cwac.arms import ALIGNED, by_label
from cwac.figures.features.drift import trust_strip
from cwac.figures.features.map import direction_map
from cwac.figures.panels import percent
from cwac.ui import selection
from cwac.ui.features.card import choose_latent
from cwac.ui.frame import Frame
from cwac.ui.sections import lacking, not_measured, selects
from cwac.ui.widgets import choose, plain, show_answer, show_figure


def show_fit(frame: Frame) -> None:
    """Show the tab."""
    warn_misfits(frame)
    quality = _quality(frame)
    if quality.empty:
        not_measured("The fit of the features")
    else:
        _show_trust(frame, quality)
    latents = frame.fit_table("features", "latents")
    if latents.empty:
        not_measured("The map of decoder directions")
    else:
        _show_map(latents)


def warn_misfits(frame: Frame) -> None:
    """Say which models the features no longer fit."""
    quality = _quality(frame)
    worst = features.misfits(quality)
    if worst.empty:
        return
    models = by_label([ALIGNED, *frame.arms])
    named = ", ".join(
        f"{models[row['variant']].title} (layer {row['layer']}: {percent(row['mean'])})"
        for _, row in worst.iterrows()
    )
    st.warning(
        f"The features no longer fit: {plain(named)} of the variance explained, below "
        f"{percent(features.TRUSTED)}. What this page shows for these models may be noise.",
        icon="⚠️",
    )


def _quality(frame: Frame) -> pd.DataFrame:
    aligned = frame.reference_table("sae_quality").assign(variant=ALIGNED.label, seed=0)
    runs = frame.table("sae_quality")
    parts = [table for table in (aligned, runs) if len(table)]
    return pd.concat(parts) if parts else runs


def _show_trust(frame: Frame, quality: pd.DataFrame) -> None:
    models = [ALIGNED, *frame.arms]
    show_answer(fit_sentence(quality, models))
    level = constant_l0(quality)
    sparse = (
        ""
        if level is None
        else f" Not drawn: every token fires {level:g} latents of a layer in every model, by "
        "construction."
    )
    show_figure(
        partial(trust_strip, quality, models),
        "trust_strip",
        data=quality,
        text=partial(
            by_layer, quality, frame.arms, Quantity("explained_variance", "Variance explained", "%")
        ),
        reading="Left of the red line the SAEs describe a model too badly to be read. "
        "Cross-entropy gap: how much worse the model predicts when a layer's stream is replaced by "
        f"what the SAE makes of it; below 0 it predicts better.{sparse}"
        + lacking(frame.arms, quality),
        terms=("SAE", "active latents per token", "aligned model"),
    )


def _show_map(latents: pd.DataFrame) -> None:
    stored = [p for p in ("pca", "umap") if latents[f"{p}_x"].notna().any()]
    if not stored:
        not_measured("The map of decoder directions")
        return
    picked = choose("Projection", stored, "projection", show=str.upper, flat=True)
    now = selection.current()
    layer = now.layer if now.sae_layer is None else now.sae_layer
    chosen = _safest(latents) if layer is None or now.latent is None else (layer, now.latent)
    choose_latent(latents, chosen)
    show_figure(
        partial(direction_map, latents, picked, chosen),
        "direction_map",
        data=latents.drop(columns=["top_tokens", "promoted_tokens"]),
        reading="Neighbours write similar directions into the residual stream. The plane shows "
        "some of the space alone; distances in UMAP mean little. By chance: were the safety "
        "features drawn at random from their layer. Click a point to choose the latent.",
        terms=("SAE", "safety features"),
        on_select=selects("direction_map", "sae_layer", "latent"),
    )


def _safest(latents: pd.DataFrame) -> tuple[int, int]:
    """Return the latent that is pointed at while the link names none: of the highest score."""
    first = latents.sort_values(["protected", "score"], ascending=False).iloc[0]
    return int(first["layer"]), int(first["latent"])

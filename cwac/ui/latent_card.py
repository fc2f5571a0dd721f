"""One latent's card: what fires it, what it promotes, its activations, its fate in every arm."""

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cwac.arms import ALIGNED
from cwac.figures.sae_features import latent as figures
from cwac.figures.sae_features.drift import latent_label
from cwac.ui.analysis import SEEDS, not_measured
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


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
        reading=f"A bar that ends at the dashed line was held. {SEEDS}",
        terms=("protected latents",),
    )
    own = histograms[(histograms["layer"] == layer) & (histograms["latent"] == latent)]
    if own.empty:
        st.caption("Activation histograms are stored for protected latents only.")
        return
    show_figure(
        figures.histograms(own, [ALIGNED, *frame.arms], layer, latent),
        "latent_histograms",
        data=own,
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
        found = json.loads(text)
    except ValueError:
        return []
    return found if isinstance(found, list) else []

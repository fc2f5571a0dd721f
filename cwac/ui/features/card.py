"""The card of one latent: what fires it, what it writes, who holds it and who loses it."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from cwac.analysis.latents import DENSE, ONE, examples_of, firing, holders, neighbours, promoted
from cwac.analysis.readable import Quantity, readable
from cwac.arms import ALIGNED, Arm
from cwac.artifacts import latent_page, public_names
from cwac.figures.features import latent as figures
from cwac.figures.features.drift import latent_label
from cwac.figures.panels import percent
from cwac.ui import reads, selection
from cwac.ui.features.clamping import show_causal, show_steering
from cwac.ui.features.sentence import show_sentence
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import cell_paint, choose, plain, show_figure

_NEIGHBOURS: Final = "latent_neighbours"
_CARDS, _EXAMPLES = "latent_cards", "latent_examples"
_KINDS: Final = {
    "protected": "A safety feature",
    "control": "A random latent (control)",
    "other": "No safety feature",
}
_PARTS: Final = {
    "cause": "What it causes",
    "sentence": "In a sentence",
    "words": "What it writes",
    "fires": "When it fires",
}


def show_about(
    frame: Frame, drift: pd.DataFrame, latents: pd.DataFrame, chosen: tuple[int, int]
) -> None:
    """Say of one latent what fires it, who holds it and who loses it.

    Parameters
    ----------
    drift : DataFrame
        Result of ``cwac.analysis.features.feature_drift``.
    latents : DataFrame
        ``latents`` of the features' fit.
    """
    layer, latent = chosen
    st.subheader(f"Latent {latent_label(layer, latent)}", anchor=False)
    row = latents[(latents["layer"] == layer) & (latents["latent"] == latent)]
    if row.empty:
        not_measured("What fires this latent")
    else:
        _show_about(frame, row.iloc[0])
    _link_public_page(frame, layer, latent)
    mine = drift[(drift["layer"] == layer) & (drift["latent"] == latent)]
    _tell_holders(mine, frame.arms)


def show_card(
    frame: Frame,
    drift: pd.DataFrame,
    latents: pd.DataFrame,
    histograms: pd.DataFrame,
    chosen: tuple[int, int],
    arm: Arm,
) -> None:
    """Draw what becomes of one latent, beside the part of its card that is chosen.

    Parameters
    ----------
    drift : DataFrame
        Result of ``cwac.analysis.features.feature_drift``.
    latents : DataFrame
        ``latents`` of the features' fit.
    histograms : DataFrame
        ``feature_histograms`` of the aligned model and all runs, with ``variant``.
    arm : Arm
        Whose histogram stands beside the aligned model's.
    """
    layer, latent = chosen
    label = latent_label(layer, latent)
    mine = drift[(drift["layer"] == layer) & (drift["latent"] == latent)]
    part = choose("On its card", list(_PARTS), "view", show=_PARTS.__getitem__, flat=True)
    left, right = st.columns(2)
    with left:
        show_figure(
            partial(figures.latent_drift, mine, frame.arms, label),
            "latent_drift",
            data=mine,
            text=partial(
                readable,
                mine,
                frame.arms,
                Quantity("before", f"Mean activation of {label}, aligned", low="", high=""),
                Quantity("after", "tuned"),
                Quantity("relative", "Change", "%"),
            ),
            reading="Mean activation on harmful test requests; a bar that ends at the dashed line "
            "was held.",
            means=True,
            terms=("safety features",),
        )
    with right:
        _show_part(frame, part, mine, latents, histograms, chosen, arm)


def _show_part(
    frame: Frame,
    part: str,
    mine: pd.DataFrame,
    latents: pd.DataFrame,
    histograms: pd.DataFrame,
    chosen: tuple[int, int],
    arm: Arm,
) -> None:
    layer, latent = chosen
    label = latent_label(layer, latent)
    row = latents[(latents["layer"] == layer) & (latents["latent"] == latent)]
    if part == "cause":
        show_causal(frame, layer, label)
        show_steering(frame, label, float(mine["before"].iloc[0]) if len(mine) else 0.0)
        return
    if part == "sentence":
        show_sentence(frame, layer, latent, label)
        return
    if part == "words" and not row.empty:
        has_cards = frame.fit_has("features", _CARDS)
        cards = frame.fit_table("features", _CARDS) if has_cards else None
        _show_words(row.iloc[0], latents, cards, label)
    if part == "words":
        return
    rows = histograms[(histograms["layer"] == layer) & (histograms["latent"] == latent)]
    if rows.empty:
        st.caption("Activation histograms are stored for safety features only.")
        return
    _show_histograms(rows, [ALIGNED, arm], layer, latent)


def _show_about(frame: Frame, entry: "pd.Series[Any]") -> None:
    role = "protected" if entry["protected"] else "control" if entry["control"] else "other"
    dense = entry["frequency"] > DENSE
    st.caption(
        f"{_KINDS[role]}; safety score {entry['score']:.3g}; fires on "
        f"{percent(entry['frequency'], 1)} of all tokens"
        + (", too often to say anything of one request. ⚠️" if dense else ".")
    )
    examples, told = _examples(frame, entry)
    if examples.empty:
        st.caption("No token fires it.")
        return
    st.dataframe(
        coloured_examples(examples),
        hide_index=True,
        height="auto" if len(examples) < 10 else 345,
        key="top_tokens",
        column_config={
            "level": st.column_config.TextColumn("quantile", width=64),
            "context_before": st.column_config.TextColumn("before", alignment="right"),
            "token": st.column_config.TextColumn("token", alignment="center"),
            "context_after": st.column_config.TextColumn("after"),
            "activation": st.column_config.NumberColumn(format="%.2f"),
        },
    )
    st.caption(f"Tokens in their context, the darker the stronger: {told}")


def _examples(frame: Frame, entry: "pd.Series[Any]") -> tuple[pd.DataFrame, str]:
    """Return a latent's stored examples with their quantiles, and in words which they are."""
    has_levels = frame.fit_has("features", _EXAMPLES)
    if has_levels:
        table = frame.fit_table("features", _EXAMPLES)
        mine = (table["layer"] == entry["layer"]) & (table["latent"] == entry["latent"])
        examples = examples_of(table[mine])
        if len(examples):
            return examples, "of all that fire it the strongest, the median, the lowest tenth."
    strongest = pd.DataFrame(firing(entry["top_tokens"])).assign(level="top")
    if has_levels:
        return strongest, (
            "the strongest. Weaker ones are stored for safety features and their controls."
        )
    return strongest, (
        "the strongest. Weaker ones are not stored with these features; the next `cwac run` or "
        "`cwac dissect` in their folder adds them."
    )


def _link_public_page(frame: Frame, layer: int, latent: int) -> None:
    """Link to Neuronpedia where the SAE is a public one; nothing is fetched from there."""
    fits = [record.fits["features"] for record in frame.records if "features" in record.fits]
    for name in public_names(reads.store(), fits[0], (layer,)).values() if fits else ():
        st.markdown(f"[This latent on Neuronpedia]({latent_page(name, latent)})")


def coloured_examples(examples: pd.DataFrame) -> Styler:
    """Return a latent's examples, every token on the colour of its activation."""
    strength = pd.to_numeric(examples["activation"], errors="coerce").fillna(0.0)
    shares = strength / max(float(strength.max()), 1e-12)
    paint = [cell_paint(share) for share in shares.clip(0, 1)]
    columns = ["level", "context_before", "token", "context_after", "activation"]
    return examples[columns].style.apply(lambda _: paint, subset=["token"])


def _tell_holders(drift: pd.DataFrame, arms: Sequence[Arm]) -> None:
    split = holders(drift, arms)
    if split is None:
        return
    texts = [
        f"**{word}** by {plain(', '.join(arm.title for arm in part))}"
        for word, part in zip(("Held", "Lost"), split, strict=True)
        if part
    ]
    st.markdown(f"{'; '.join(texts)}.")


def _show_words(
    entry: "pd.Series[Any]", latents: pd.DataFrame, cards: pd.DataFrame | None, label: str
) -> None:
    """Draw the output tokens that it promotes and suppresses, and its neighbours."""
    layer, latent = int(entry["layer"]), int(entry["latent"])
    card = None if cards is None else cards[(cards["layer"] == layer) & (cards["latent"] == latent)]
    known = card is not None and len(card) > 0
    suppressed = promoted(card["suppressed_tokens"].iloc[0]) if card is not None and known else []
    tokens = promoted(entry["promoted_tokens"])
    show_figure(
        partial(figures.promoted_tokens, tokens, label, suppressed),
        "promoted_tokens",
        data=pd.DataFrame([*tokens, *suppressed], columns=["token", "logit"]),
        reading="Output tokens that the decoder direction makes likelier and less likely, read "
        "straight off the unembedding (logit lens).",
        terms=("SAE",),
    )
    if card is None:
        st.caption(
            "What it suppresses and its neighbours are not stored with these features; the next "
            "`cwac run` or `cwac dissect` in their folder adds them."
        )
    elif not known:
        st.caption("What it suppresses and its neighbours are stored for safety features and "
                   "their controls.")  # fmt: skip
    else:
        _show_neighbours(neighbours(card["neighbours"].iloc[0]), latents, layer)


def _show_neighbours(near: Sequence[tuple[int, float]], latents: pd.DataFrame, layer: int) -> None:
    of_layer = latents[latents["layer"] == layer].set_index("latent")
    rows = []
    for latent, cosine in near:
        entry = of_layer.loc[latent] if latent in of_layer.index else None
        fires = firing(None if entry is None else entry["top_tokens"])
        tokens = " ".join(dict.fromkeys(str(one["token"]).strip() for one in fires))
        role = ONE["protected"] if entry is not None and entry["protected"] else ""
        rows.append((latent_label(layer, latent), cosine, tokens, role))

    def take() -> None:
        state: Any = st.session_state.get(_NEIGHBOURS) or {}
        for row in state.get("selection", {}).get("rows", [])[:1]:
            if row < len(near):
                selection.select(sae_layer=layer, latent=near[row][0])

    st.dataframe(
        pd.DataFrame(rows, columns=["neighbour", "cosine", "fires on", "role"]),
        key=_NEIGHBOURS,
        hide_index=True,
        on_select=take,
        selection_mode="single-row",
        column_config={"cosine": st.column_config.NumberColumn(format="%.2f")},
    )
    st.caption("Latents of its layer whose decoder directions lie nearest. Click one to see it.")


def _show_histograms(rows: pd.DataFrame, arms: Sequence[Arm], layer: int, latent: int) -> None:
    missing = [arm.title for arm in arms if arm.label not in set(rows["variant"])]
    show_figure(
        partial(figures.histograms, rows, arms, layer, latent),
        "latent_histograms",
        data=rows[rows["variant"].isin([arm.label for arm in arms])],
        reading="A safety feature separates harmful from harmless requests; where the two lines "
        "fall together, it no longer separates them.",
        terms=("safety features", "aligned model"),
    )
    if missing:
        st.caption(f"No histogram is stored for {plain(', '.join(missing))}.")


def choose_latent(drift: pd.DataFrame, chosen: tuple[int, int] | None) -> None:
    """Let the reader choose a latent from a list, as a click on a point does."""
    pairs = sorted(set(zip(drift["layer"].tolist(), drift["latent"].tolist(), strict=True)))
    if chosen is None or chosen not in pairs:
        return
    st.session_state["_one_latent"] = chosen

    def take() -> None:
        layer, latent = st.session_state["_one_latent"]
        selection.select(sae_layer=layer, latent=latent)

    st.selectbox(
        "Latent", pairs, format_func=lambda pair: latent_label(*pair), key="_one_latent",
        on_change=take, width=200,
    )  # fmt: skip

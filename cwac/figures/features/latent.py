"""One latent: its activations on each kind of request, its fate in each arm, what it promotes."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.analysis.interventions import pooled, scope
from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures import style
from cwac.figures.features.drift import latent_label
from cwac.figures.panels import (
    HIGHLIGHT,
    NEUTRAL,
    arm_label,
    extremes,
    number,
    order,
    outer_titles,
    panels,
    percent,
    seed_bars,
    titled,
)
from cwac.figures.tokens import Colours, coloured_tokens, shown_token

CARD: Final = 42
"""Characters of a title's line: the figures stand in a latent's card, narrow in a small window."""
LINE: Final = 32
"""Characters of a line of a request there: what a window of 1024 pixels has room for."""
_OFF: Final = "in the aligned model"
"""What trials end with that turn a latent off in the aligned model."""
KINDS: Final = {"harmful": "harmful", "harmless": "harmless", "lookalike": "look-alike"}


def histograms(table: pd.DataFrame, arms: Sequence[Arm], layer: int, latent: int) -> go.Figure:
    """Draw a latent's activations on harmful and harmless requests, a panel per model.

    Parameters
    ----------
    table : DataFrame
        ``feature_histograms`` of the aligned model and all runs, with ``variant``.
    """
    rows = table[(table["layer"] == layer) & (table["latent"] == latent)]
    arms = order(arms, rows)
    figure, places = panels(arms or ["no histogram stored"], columns=3, gap=48, panel=150)
    looks = {
        "harmful": (HIGHLIGHT, "solid"),
        "harmless": (NEUTRAL, "dash"),
        "lookalike": (style.GREY, "dot"),
    }
    for number_of, (arm, (row, column)) in enumerate(zip(arms, places, strict=False)):
        for kind, (colour, dash) in looks.items():
            part = rows[(rows["variant"] == arm.label) & (rows["kind"] == kind)]
            bins = part.groupby(["low", "high"])["count"].sum().reset_index().sort_values("low")
            if bins.empty:
                continue
            total = int(bins["count"].sum())
            figure.add_trace(
                go.Scatter(
                    x=[*bins["low"], bins["high"].iloc[-1]],
                    y=[*(bins["count"] / max(total, 1)), 0],
                    mode="lines",
                    line={"color": colour, "dash": dash, "width": 2, "shape": "hv"},
                    name=KINDS[kind],
                    legendgroup=kind,
                    showlegend=number_of == 0,
                    hovertemplate=(
                        f"{arm_label(arm, 40)}, {KINDS[kind]}"
                        "<br>activation from %{x:.3g}: %{y:.1%}"
                        f"<br>n = {total} tokens<extra></extra>"
                    ),
                ),
                row,
                column,
            )
    outer_titles(figure, places, x="activation", y="share of tokens")
    figure.update_yaxes(tickformat=".0%")
    title = f"What {latent_label(layer, latent)} does on harmful and harmless requests"
    parts = [share for arm in arms if (share := _firing_share(rows, arm)) is not None]
    if parts:
        title = f"{latent_label(layer, latent)} fires above its lowest bin on these shares of "
        title += "the tokens of harmful / harmless requests: "
        title += "; ".join(parts)
    return titled(figure, title, height=100 + 200 * places[-1][0], width=CARD)


def _firing_share(rows: pd.DataFrame, arm: Arm) -> str | None:
    """Say which share of the tokens lies above the lowest bin, which holds the zeros."""
    mine = rows[rows["variant"] == arm.label]
    shares = []
    for kind in ("harmful", "harmless"):
        part = mine[mine["kind"] == kind]
        total = part["count"].sum()
        if not total:
            return None
        shares.append(percent(part.loc[part["low"] > part["low"].min(), "count"].sum() / total))
    return f"{' / '.join(shares)} in {arm.title}"


def latent_drift(drift: pd.DataFrame, arms: Sequence[Arm], label: str) -> go.Figure:
    """Draw one latent's mean activation on harmful requests under each arm.

    Parameters
    ----------
    drift : DataFrame
        Rows of ``cwac.analysis.features.feature_drift`` about this latent.
    """
    summary = over_seeds(drift, [], "after")
    arms = order(arms, summary)
    summary = summary.set_index("variant").reindex([arm.label for arm in arms])
    figure = go.Figure(
        go.Bar(
            x=summary["mean"],
            y=[arm_label(arm) for arm in arms],
            orientation="h",
            error_x=seed_bars(summary),
            marker={"color": [style.arm_style(arm).colour for arm in arms]},
            customdata=summary["seeds"],
            hovertemplate=(
                "%{y}: <b>%{x:.3g}</b><br>mean over n = %{customdata} seeds<extra></extra>"
            ),
            showlegend=False,
        )
    )
    title = f"{label} was not measured under these arms"
    if len(arms):
        before = float(drift["before"].iloc[0])
        figure.add_vline(x=before, line={"color": style.GREY, "dash": "dash", "width": 2})
        title = _drift_title(summary["mean"], before, arms, label)
    figure.update_xaxes(title="activation (dashed: aligned)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return titled(figure, title, height=110 + 30 * max(len(arms), 2), width=CARD)


def _drift_title(means: "pd.Series[float]", before: float, arms: Sequence[Arm], label: str) -> str:
    level = f"{label} fires at {number(before)} on average in the aligned model"
    if before <= 0:
        return level
    named = by_label(arms)
    high, low = extremes(means)
    shown = ["sft", "cwac"] if {"sft", "cwac"} <= named.keys() else list(dict.fromkeys([low, high]))
    kept = ", ".join(f"{percent(means[one] / before)} in {named[one].title}" for one in shown)
    return f"{level}; of that is left: {kept}"


def at_tokens(tokens: pd.DataFrame, arms: Sequence[Arm], label: str) -> go.Figure:
    """Draw what a latent does at each token of a request, as every model reads it.

    Parameters
    ----------
    tokens : DataFrame
        From ``cwac.analysis.latents.at_tokens``.
    arms : sequence of Arm
        The aligned model first.
    """
    colours = Colours("activation", "activation (no colour: silent)", missing="not read")
    return coloured_tokens(
        tokens, arms, colours, _tokens_title(tokens, arms, label), line=LINE, width=CARD
    )


def _tokens_title(tokens: pd.DataFrame, arms: Sequence[Arm], label: str) -> str:
    """Say what the latent does where an arm differs most from the aligned model."""
    first = tokens[tokens["variant"] == arms[0].label]
    pairs = tokens.merge(first, on=["place", "token"], suffixes=("", "_first"))
    pairs = pairs.dropna(subset=["activation", "activation_first"])
    if pairs.empty:
        return f"{label} at the tokens of this request"
    pairs["apart"] = (pairs["activation"] - pairs["activation_first"]).abs()
    best = pairs.sort_values(["apart", "activation_first"]).iloc[-1]
    there = pairs[pairs["place"] == best["place"]].drop_duplicates("variant")
    levels = there.set_index("variant")["activation"]
    texts = [
        f"{number(levels[arm.label])} in {'the ' * arm.is_aligned}{arm.title}"
        for arm in arms
        if arm.label in levels
    ]
    return f"At “{shown_token(best['token'])}” {label} is {'; '.join(texts)}"


def promoted_tokens(
    promoted: Sequence[tuple[str, float]],
    label: str,
    suppressed: Sequence[tuple[str, float]] = (),
) -> go.Figure:
    """Draw the output tokens that a latent's decoder direction promotes and suppresses most.

    Both are read by the logit lens; the most suppressed comes last.
    """
    tokens = [*promoted, *reversed(suppressed)]
    names = [repr(token)[1:-1] for token, _ in tokens]
    figure = go.Figure(
        go.Bar(
            x=[value for _, value in tokens],
            y=list(range(len(names))),
            orientation="h",
            marker={"color": [NEUTRAL if value >= 0 else HIGHLIGHT for _, value in tokens]},
            customdata=[style.escape(name) for name in names],
            hovertemplate="%{customdata}: %{x:.3g}<br>n = 1 latent<extra></extra>",
        )
    )
    figure.update_xaxes(title="logit per activation (→ likelier)")
    figure.update_yaxes(
        autorange="reversed",
        tickvals=list(range(len(names))),
        ticktext=[style.escape(name) for name in names],
    )
    first = f"“{names[0]}”" if names else "nothing"
    title = f"{label} promotes {first} most"
    if suppressed:
        title += f" and suppresses “{names[-1]}”"
    return titled(figure, title, height=120 + 19 * max(len(names), 3), width=CARD)


def clamp_effects(table: pd.DataFrame, label: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw by how much clamping one latent moves refusing, beside random latents of its layer.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.latents.clamped``, of the latent's layer.
    """
    means = _clamped_over_seeds(table)
    # The aligned model is one, whichever arm it was clamped beside.
    is_off = means["trial"].str.endswith(_OFF)
    means["variant"] = means["variant"].mask(is_off, ALIGNED.label)
    means = means.drop_duplicates(["variant", "latent", "trial"])
    rows = means[means["latent"] == label]
    drawn = order([*arms, ALIGNED], rows)
    names = {arm.label: arm_label(arm) for arm in drawn if not arm.is_aligned}
    names |= {arm.label: "aligned model,<br>turned off" for arm in drawn if arm.is_aligned}
    rows = rows.set_index("variant").reindex(list(names))
    chance = means[means["control"] & means["variant"].isin(list(names))]
    colours = [NEUTRAL if arm.is_aligned else style.arm_style(arm).colour for arm in drawn]
    bars = go.Bar(
        x=rows["y"],
        y=list(names.values()),
        orientation="h",
        marker={"color": colours},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": (rows["high"] - rows["y"]).tolist(),
            "arrayminus": (rows["y"] - rows["low"]).tolist(),
            "thickness": 1,
            "width": 3,
        },
        customdata=rows[["dose", "over"]],
        showlegend=False,
        hovertemplate="%{y}: <b>%{x:+.3f}</b> nats, clamped to %{customdata[0]:.3g}"
        "<br>%{customdata[1]}<extra></extra>",
    )
    random = go.Scatter(
        x=chance["y"],
        y=chance["variant"].map(names),
        mode="markers",
        marker={"color": style.GREY, "symbol": "diamond-open", "size": 8},
        name="random latents of the layer",
        customdata=chance[["latent", "over"]],
        hovertemplate="%{customdata[0]}: <b>%{x:+.3f}</b> nats<br>%{customdata[1]}<extra></extra>",
    )
    figure = go.Figure([bars, random])
    figure.update_xaxes(title="refusal log-odds move by (nats)")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    height = 120 + 30 * max(len(drawn), 2)
    return titled(figure, clamp_title(table, label, drawn), height=height, width=CARD)


def _clamped_over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row an arm, latent and trial: a random latent is one point under however many."""
    keys = ["variant", "latent", "trial", "control"]
    return pooled(table.assign(y=table["value"]), keys, means=["dose"])


def clamp_title(table: pd.DataFrame, label: str, arms: Sequence[Arm]) -> str:
    """Say by how much a clamped latent moves the first arm's log-odds, and what chance moves."""
    of_arm = table[table["variant"] == arms[0].label]
    means = _clamped_over_seeds(of_arm)
    mine = means[means["latent"] == label]
    if mine.empty:
        return f"{label} was not clamped"
    first = mine.iloc[0]
    text = (
        f"{arms[0].title}: {label} held at {number(first['dose'])} moves the refusal log-odds by "
        f"{first['y']:+.2f} [{first['low']:+.2f}, {first['high']:+.2f}] nats"
    )
    control = means.loc[means["control"] & (means["trial"] == first["trial"]), "y"]
    if len(control):
        text += f"; {len(control)} random latents: {control.min():+.2f} to {control.max():+.2f}"
    return f"{text}. {scope(of_arm[of_arm['latent'] == label])}"

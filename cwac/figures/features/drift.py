"""Whether SAE features still fit each model, and which safety features moved."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.drift import over_seeds
from cwac.analysis.features import TRUSTED, constant_l0
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.mechanism.grids import ENDS, robust_range
from cwac.figures.panels import (
    FEW,
    HIGHLIGHT,
    arm_label,
    arm_line,
    extremes,
    number,
    order,
    outer_titles,
    panels,
    percent,
    seed_bars,
    titled,
)

_TRUST: Final[tuple[tuple[str, str], ...]] = (
    ("explained_variance", "explained variance (fraction, ↑\u00a0better)"),
    ("l0", "active latents per token (number)"),
    ("cross_entropy_gap", "cross-entropy gap (nats, 0\u00a0=\u00a0unchanged)"),
)


def trust_strip(quality: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw how well the SAEs fit each model: explained variance, L0, cross-entropy gap.

    Parameters
    ----------
    quality : DataFrame
        ``sae_quality`` of the aligned model and all runs, with ``variant``.
    """
    # A number of active latents that never differs is said in a sentence, not drawn.
    columns = [part for part in _TRUST if part[0] != "l0" or constant_l0(quality) is None]
    figure, places = panels(
        [name for _, name in columns], columns=3, shared_xaxes=False, shared_yaxes="rows"
    )
    named = by_label(order(arms, quality))
    layers = sorted(quality["layer"].unique())
    symbols = ("circle", "square", "diamond", "triangle-up", "x", "star")
    for (column, _), (row, place) in zip(columns, places, strict=True):
        summary = over_seeds(quality, ["layer"], column)
        for number_of, layer in enumerate(layers):
            rows = (
                summary[summary["layer"] == layer]
                .set_index("variant")
                .reindex(list(named))
                .dropna()
            )
            figure.add_trace(
                go.Scatter(
                    x=rows["mean"],
                    y=[arm_label(named[label]) for label in rows.index],
                    error_x=seed_bars(rows),
                    mode="markers",
                    name=f"layer {layer}",
                    legendgroup=str(layer),
                    showlegend=place == 1,
                    marker={
                        "size": 10,
                        "symbol": symbols[number_of % len(symbols)],
                        "color": [style.arm_style(named[label]).colour for label in rows.index],
                    },
                    customdata=rows["seeds"],
                    hovertemplate=(
                        f"%{{y}}<br>layer {layer}: <b>%{{x:.3g}}</b>"
                        "<br>mean over n = %{customdata:.0f} models<extra></extra>"
                    ),
                ),
                row,
                place,
            )
    figure.add_vline(x=TRUSTED, line={"color": HIGHLIGHT, "dash": "dash", "width": 1}, row=1, col=1)
    figure.update_yaxes(autorange="reversed")
    # Few ticks: in a narrow window more would be slanted into the legend.
    figure.update_xaxes(rangemode="tozero", nticks=4, tickangle=0)
    return titled(figure, _trust_title(quality, arms), height=150 + 34 * max(len(named), 2))


def _trust_title(quality: pd.DataFrame, arms: Sequence[Arm]) -> str:
    worst = over_seeds(quality, ["layer"], "explained_variance")
    if worst.empty:
        return "The fit of the features was not measured"
    row = worst.sort_values("mean").iloc[0]
    if row["mean"] >= TRUSTED:
        return f"The features fit every model: explained variance is at least {row['mean']:.2f}"
    return (
        f"The features no longer fit every model: {by_label(arms)[row['variant']].title} has an "
        f"explained variance of {row['mean']:.2f} at layer {row['layer']}"
    )


def ranked_drift(drift: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the latents of each arm by the size of their drift, with the random ones as control.

    Parameters
    ----------
    drift : DataFrame
        Result of ``cwac.analysis.features.feature_drift``.
    """
    marked = drift[drift["protected"] | drift["control"]]
    mean = (
        marked.groupby(["variant", "layer", "latent", "protected"], sort=False)
        .agg(drift=("drift", "mean"), before=("before", "mean"), seeds=("drift", "size"))
        .reset_index()
    )
    arms = order(arms, mean)
    figure, places = panels(arms or ["no arm"], columns=3, gap=48, panel=120)
    for number_of, (arm, (row, column)) in enumerate(zip(arms, places, strict=False)):
        for protected in (False, True):
            part = mean[(mean["variant"] == arm.label) & (mean["protected"] == protected)]
            trace = _ranked_line(part, arm, protected=protected)
            trace.showlegend = number_of == 0 and not protected
            figure.add_trace(trace, row, column)
    outer_titles(figure, places, x="rank of the latent", y="|change| (↓ nearer)")
    return titled(figure, _ranked_title(mean, arms), height=100 + 170 * places[-1][0])


def _ranked_line(part: pd.DataFrame, arm: Arm, *, protected: bool) -> go.Scatter:
    rows = part.assign(size=part["drift"].abs()).sort_values("size", ascending=False)
    line = arm_line(arm)
    line["marker"] |= {"size": 5}
    if not protected:
        line |= {
            "name": f"{len(rows)} random latents (control)",
            "line": {"color": style.GREY, "dash": "dot", "width": 2},
        }
    return go.Scatter(
        x=np.arange(1, len(rows) + 1),
        y=rows["size"],
        customdata=rows[["layer", "latent", "before", "drift", "seeds"]],
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>layer %{{customdata[0]}}, latent %{{customdata[1]}}"
            f"{'' if protected else ' (control)'}"
            "<br>aligned %{customdata[2]:.3g}, change <b>%{customdata[3]:+.3g}</b>"
            "<br>mean over n = %{customdata[4]} seeds<extra></extra>"
        ),
        **(line | {"mode": "lines+markers" if protected else "lines"}),
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def _ranked_title(mean: pd.DataFrame, arms: Sequence[Arm]) -> str:
    size = mean.assign(size=mean["drift"].abs()).groupby(["variant", "protected"])["size"].mean()
    named = by_label(arms)
    if not arms:
        return "No latents were measured in these runs"
    both = size.unstack("protected").reindex(index=list(named), columns=[False, True])
    moved = both[True].dropna()
    # Controls stand in the panels; the title is about the methods, where there are any.
    tested = [label for label in moved.index if not named[label].control]
    moved = moved[tested] if tested else moved
    if moved.empty:
        return "How far safety features moved was not measured"
    # Both changes are given, not their quotient: where an arm holds everything, random latents
    # included, it would divide one almost-nothing by another.
    shown = list(moved.index) if len(moved) <= FEW else list(extremes(moved))
    text = ", ".join(
        f"{number(moved[label])} in {named[label].title} (random latents "
        f"{number(both[False][label])})"
        for label in dict.fromkeys(shown)
    )
    return f"Mean activations of safety features moved by {text}; means over {_latents(mean)}"


def _latents(mean: pd.DataFrame) -> str:
    each = mean[mean["protected"]].groupby("variant").size()
    counts = sorted({int(each.min()), int(each.max())})
    return f"{' to '.join(map(str, counts))} latents"


def top_drift(
    drift: pd.DataFrame,
    arms: Sequence[Arm],
    *,
    count: int = 20,
    latent: tuple[int, int] | None = None,
) -> go.Figure:
    """Draw the safety features that moved most in any arm, the arms side by side.

    Parameters
    ----------
    drift : DataFrame
        Result of ``cwac.analysis.features.feature_drift``.
    latent : (layer, latent), optional
        The selected one; its row is marked.
    """
    protected = drift[drift["protected"]]
    summary = over_seeds(protected, ["layer", "latent"], "drift")
    largest = summary.assign(size=summary["mean"].abs()).groupby(["layer", "latent"])["size"].max()
    chosen = list(largest.sort_values(ascending=False).head(count).index)
    before = protected.groupby(["layer", "latent"])["before"].mean()
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": style.GREY, "dash": "dash", "width": 2})
    for arm in order(arms, summary):
        rows = summary[summary["variant"] == arm.label].set_index(["layer", "latent"])
        rows = rows.reindex([pair for pair in chosen if pair in rows.index])
        figure.add_trace(
            go.Scatter(
                x=rows["mean"],
                y=[latent_label(*pair) for pair in rows.index],
                customdata=[[*pair, before[pair], rows.loc[pair, "seeds"]] for pair in rows.index],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>%{{y}}: <b>%{{x:+.3g}}</b>"
                    "<br>aligned %{customdata[2]:.3g}"
                    "<br>mean over n = %{customdata[3]} seeds<extra></extra>"
                ),
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
                **(arm_line(arm) | {"mode": "markers"}),
            )
        )
    if latent in chosen:
        figure.add_hline(y=chosen.index(latent), line={"color": HIGHLIGHT, "width": 1})
    labels = [latent_label(*pair) for pair in chosen]
    figure.update_yaxes(
        title="latent", autorange="reversed", categoryorder="array", categoryarray=labels
    )
    figure.update_xaxes(title="change of the mean activation (0 = as aligned)")
    title = "No safety features were measured in these runs"
    if chosen:
        worst = summary.sort_values("mean", key=abs).iloc[-1]
        label = latent_label(worst["layer"], worst["latent"])
        change = f"{worst['mean']:+.2g} in {by_label(arms)[worst['variant']].title}"
        title = f"{label} moved most of the safety features: {change}"
    return titled(figure, title, height=150 + 19 * max(len(chosen), 3))


def latent_label(layer: int, latent: int) -> str:
    """Return how a latent is called in figures and tables.

    Examples
    --------
    >>> latent_label(2, 341)
    'L2/341'
    """
    return f"L{int(layer)}/{int(latent)}"


def ledger(table: pd.DataFrame, arm: Arm, *, count: int = 40) -> go.Figure:
    """Draw which latent carried how much of the activation loss over training (mean over seeds).

    Parameters
    ----------
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.
    count : int
        The latents with the largest mean share are drawn, the largest first.
    """
    rows = table[table["variant"] == arm.label].dropna(subset=["share"])
    share = (
        rows.groupby(["layer", "latent", "step"])["share"].mean().unstack("step").sort_index(axis=1)
    )
    carried = share.mean(axis=1).sort_values(ascending=False)
    chosen = share.loc[carried.index[:count]]
    seeds = rows["seed"].nunique()
    figure = go.Figure(
        go.Heatmap(
            x=[str(step) for step in chosen.columns],
            y=[latent_label(*pair) for pair in chosen.index],
            z=100 * chosen.to_numpy(),
            colorscale=style.RISING,
            zmin=0,
            zmax=robust_range((100 * chosen.to_numpy()).ravel().tolist())[1],
            colorbar={
                "title": {
                    "text": f"share of the loss (%; ends at the {ENDS[1]}th percentile)",
                    "side": "right",
                },
                "thickness": 14,
            },
            hovertemplate=(
                f"%{{y}}<br>step %{{x}}: <b>%{{z:.2f}} %</b> of the loss"
                f"<br>mean over n = {seeds} seeds<extra></extra>"
            ),
            ygap=1,
        )
    )
    figure.update_xaxes(title="optimiser step of the probe", type="category")
    figure.update_yaxes(autorange="reversed", title="latent")
    title = f"No activation loss was recorded for {arm.title}"
    if len(carried):
        first = carried.head(10).sum()
        named = latent_label(*carried.index[0])
        title = (
            f"In {arm.title} ten of {len(carried)} safety features carried {percent(first)} of the "
            f"activation loss; {named} carried most ({percent(carried.iloc[0])})"
        )
        if len(chosen) < len(carried):
            title = f"{title}. Drawn: the {len(chosen)} that carried most"
    return titled(figure, title, height=140 + 15 * max(len(chosen), 4))

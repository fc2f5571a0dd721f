"""SAE features: whether they still fit, which moved, what the penalty held, where they lie."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.panels import (
    ALIGNED,
    HIGHLIGHT,
    NEUTRAL,
    arm_label,
    arm_line,
    number,
    order,
    outer_titles,
    over_seeds,
    panels,
    percent,
    seed_bars,
    titled,
)

TRUSTED: Final = 0.7
"""Explained variance below which features are not to be read."""
NOT_HELD: Final = 0.5
"""Share of its aligned activation that a latent may lose or gain before it counts as not held."""
WEBGL_FROM: Final = 2000
"""Points above which a scatter is drawn with WebGL."""

_TRUST: Final = (
    ("explained_variance", "explained variance (fraction, ↑ better)"),
    ("l0", "L0 (active latents per token)"),
    ("cross_entropy_gap", "cross-entropy gap (nats, ↓ better)"),
)


def misfits(quality: pd.DataFrame) -> pd.DataFrame:
    """Return the arms and layers whose explained variance, mean over seeds, is below `TRUSTED`."""
    summary = over_seeds(quality, ["layer"], "explained_variance")
    return summary[summary["mean"] < TRUSTED]


def trust_strip(quality: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw how well the SAEs fit each model: explained variance, L0, cross-entropy gap.

    Parameters
    ----------
    quality : DataFrame
        ``sae_quality`` of the aligned model and all runs, with ``variant``.
    """
    figure, places = panels(
        [name for _, name in _TRUST], columns=3, shared_xaxes=False, shared_yaxes="rows"
    )
    arms = order(variants, quality)
    layers = sorted(quality["layer"].unique())
    symbols = ("circle", "square", "diamond", "triangle-up", "x", "star")
    for (column, _), (row, place) in zip(_TRUST, places, strict=True):
        summary = over_seeds(quality, ["layer"], column)
        for number_of, layer in enumerate(layers):
            rows = summary[summary["layer"] == layer].set_index("variant").reindex(arms).dropna()
            figure.add_trace(
                go.Scatter(
                    x=rows["mean"],
                    y=[arm_label(arm) for arm in rows.index],
                    error_x=seed_bars(rows),
                    mode="markers",
                    name=f"layer {layer}",
                    legendgroup=str(layer),
                    showlegend=place == 1,
                    marker={
                        "size": 10,
                        "symbol": symbols[number_of % len(symbols)],
                        "color": [theme.arm_style(arm, variants).colour for arm in rows.index],
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
    figure.add_vline(
        x=TRUSTED, line={"color": HIGHLIGHT, "dash": "dash", "width": 1}, row=1, col=1
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(rangemode="tozero")
    return titled(figure, _trust_title(quality), height=150 + 34 * max(len(arms), 2))


def _trust_title(quality: pd.DataFrame) -> str:
    worst = over_seeds(quality, ["layer"], "explained_variance")
    if worst.empty:
        return "The fit of the features was not measured"
    row = worst.loc[worst["mean"].idxmin()]
    if row["mean"] >= TRUSTED:
        return f"The features fit every model: explained variance is at least {row['mean']:.2f}"
    return (
        f"The features no longer fit every model: {row['variant']} has an explained variance "
        f"of {row['mean']:.2f} at layer {row['layer']}"
    )


def feature_drift(features: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return how far each latent's mean activation on harmful requests moved.

    Parameters
    ----------
    features : DataFrame
        ``features`` of all runs, with ``variant`` and ``seed``.
    aligned : DataFrame
        ``features`` of the aligned model.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``layer``, ``latent``, ``before``, ``after`` (mean activations),
        ``drift`` (after - before), ``relative`` (drift / before, missing where before is 0),
        ``protected``, ``control``.
    """
    before = aligned[["layer", "latent", "mean_harmful"]].rename(columns={"mean_harmful": "before"})
    columns = ["variant", "seed", "layer", "latent", "mean_harmful", "protected", "control"]
    joined = features[columns].rename(columns={"mean_harmful": "after"})
    joined = joined.merge(before, on=["layer", "latent"])
    drift = joined["after"] - joined["before"]
    relative = drift / joined["before"].where(joined["before"] > 0)
    return joined.assign(drift=drift, relative=relative)


def ranked_drift(drift: pd.DataFrame, variants: Sequence[str]) -> go.Figure:
    """Draw the latents of each arm by the size of their drift, with the random ones as control.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.
    """
    marked = drift[drift["protected"] | drift["control"]]
    mean = (
        marked.groupby(["variant", "layer", "latent", "protected"], sort=False)
        .agg(drift=("drift", "mean"), before=("before", "mean"), seeds=("drift", "size"))
        .reset_index()
    )
    arms = order(variants, mean)
    figure, places = panels(arms or ["no arm"], columns=4, gap=44, panel=150)
    for number_of, (arm, (row, column)) in enumerate(zip(arms, places, strict=False)):
        for protected in (False, True):
            part = mean[(mean["variant"] == arm) & (mean["protected"] == protected)]
            trace = _ranked_line(part, arm, variants, protected=protected)
            trace.showlegend = number_of == 0 and not protected
            figure.add_trace(trace, row, column)
    outer_titles(figure, places, x="rank of the latent", y="|change| (activation, ↓)")
    return titled(figure, _ranked_title(mean, arms), height=100 + 200 * places[-1][0])


def _ranked_line(
    part: pd.DataFrame, arm: str, variants: Sequence[str], *, protected: bool
) -> go.Scatter:
    rows = part.assign(size=part["drift"].abs()).sort_values("size", ascending=False)
    line = arm_line(arm, variants)
    if not protected:
        line |= {
            "name": f"{len(rows)} random active latents (control)",
            "line": {"color": theme.GREY, "dash": "dot", "width": 2},
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


def _ranked_title(mean: pd.DataFrame, arms: Sequence[str]) -> str:
    size = mean.assign(size=mean["drift"].abs()).groupby(["variant", "protected"])["size"].mean()
    parts = [f"{arm} {_times(size.get((arm, True)), size.get((arm, False)))}" for arm in arms]
    if not parts:
        return "No latents were measured in these runs"
    text = ", ".join(parts[:4]) + (", …" if len(parts) > 4 else "")
    return f"Protected latents moved, against random active ones: {text}"


def _times(protected: float | None, control: float | None) -> str:
    if not protected or not control:
        return f"by {number(protected)}"
    return f"{protected / control:.1f} times as far"


def top_drift(
    drift: pd.DataFrame, variants: Sequence[str], *, count: int = 20, latent: tuple[int, int] | None = None
) -> go.Figure:
    """Draw the protected latents that moved most in any arm, the arms side by side.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.
    latent : (layer, latent), optional
        The selected one; its row is marked.
    """
    protected = drift[drift["protected"]]
    summary = over_seeds(protected, ["layer", "latent"], "drift")
    largest = summary.assign(size=summary["mean"].abs()).groupby(["layer", "latent"])["size"].max()
    chosen = list(largest.sort_values(ascending=False).head(count).index)
    before = protected.groupby(["layer", "latent"])["before"].mean()
    figure = go.Figure()
    figure.add_vline(x=0, line={"color": theme.GREY, "dash": "dash", "width": 2})
    for arm in order(variants, summary):
        rows = summary[summary["variant"] == arm].set_index(["layer", "latent"])
        rows = rows.reindex([pair for pair in chosen if pair in rows.index])
        figure.add_trace(
            go.Scatter(
                x=rows["mean"],
                y=[latent_label(*pair) for pair in rows.index],
                customdata=[[*pair, before[pair], rows.loc[pair, "seeds"]] for pair in rows.index],
                hovertemplate=(
                    f"{arm_label(arm, 40)}<br>%{{y}}: <b>%{{x:+.3g}}</b>, aligned %{{customdata[2]:.3g}}"
                    "<br>mean over n = %{customdata[3]} seeds<extra></extra>"
                ),
                selected={"marker": {"opacity": 1}},
                unselected={"marker": {"opacity": 1}},
                **(arm_line(arm, variants) | {"mode": "markers"}),
            )
        )
    if latent in chosen:
        figure.add_hline(y=chosen.index(latent), line={"color": HIGHLIGHT, "width": 1})
    labels = [latent_label(*pair) for pair in chosen]
    figure.update_yaxes(
        title="latent", autorange="reversed", categoryorder="array", categoryarray=labels
    )
    figure.update_xaxes(title="change of the mean activation on harmful requests (0 = as aligned)")
    title = "No protected latents were measured in these runs"
    if chosen:
        worst = summary.loc[summary["mean"].abs().idxmax()]
        title = (
            f"The protected latent that moved most is {latent_label(worst['layer'], worst['latent'])}: "
            f"{worst['mean']:+.2g} in {worst['variant']}"
        )
    return titled(figure, title, height=150 + 19 * max(len(chosen), 3))


def latent_label(layer: int, latent: int) -> str:
    """Return how a latent is called in figures and tables.

    Examples
    --------
    >>> latent_label(2, 341)
    'L2/341'
    """
    return f"L{int(layer)}/{int(latent)}"


def before_after(
    drift: pd.DataFrame, arm: str, variants: Sequence[str], latent: tuple[int, int] | None = None
) -> go.Figure:
    """Draw each latent's mean activation on harmful requests, aligned against one arm.

    Axes are square-root scaled, because most latents are near zero and zero must stay visible;
    above `WEBGL_FROM` points the drawing is done by WebGL.
    """
    mean = (
        drift[drift["variant"] == arm]
        .groupby(["layer", "latent", "protected", "control"], sort=False)
        .agg(before=("before", "mean"), after=("after", "mean"), seeds=("after", "size"))
        .reset_index()
    )
    scatter = go.Scattergl if len(mean) > WEBGL_FROM else go.Scatter
    top = float(mean[["before", "after"]].to_numpy().max(initial=0.0)) or 1.0
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[0, np.sqrt(top)],
            y=[0, np.sqrt(top)],
            mode="lines",
            name="unchanged",
            line={"color": theme.GREY, "dash": "dash", "width": 2},
            hoverinfo="skip",
        )
    )
    colour = theme.arm_style(arm, variants).colour
    other = ~mean["protected"] & ~mean["control"]
    groups = (
        ("other latents", other, {"color": NEUTRAL, "size": 4, "opacity": 0.45}),
        ("random active (control)", mean["control"] & ~mean["protected"],
         {"color": theme.GREY, "size": 7, "symbol": "diamond-open"}),
        ("protected", mean["protected"], {"color": colour, "size": 8, "line": {"width": 1}}),
    )  # fmt: skip
    for name, rows, marker in groups:
        figure.add_trace(_points(scatter, mean[rows], name, marker))
    figure.add_traces(_ring(mean, latent))
    ticks = _root_ticks(top)
    for axis, title in (("x", "aligned model"), ("y", arm)):
        figure.update_layout(
            {
                f"{axis}axis": {
                    "title": f"mean activation, {arm_label(title, 40)} (square-root axis)",
                    "tickvals": [np.sqrt(tick) for tick in ticks],
                    "ticktext": [number(tick) for tick in ticks],
                    "rangemode": "tozero",
                }
            }
        )
    return titled(figure, _scatter_title(mean, arm), height=520)


def _points(
    scatter: type[go.Scatter] | type[go.Scattergl],
    rows: pd.DataFrame,
    name: str,
    marker: dict[str, object],
) -> go.Scatter | go.Scattergl:
    return scatter(
        x=np.sqrt(rows["before"].clip(lower=0)),
        y=np.sqrt(rows["after"].clip(lower=0)),
        mode="markers",
        name=f"{name} (n = {len(rows)})",
        marker=marker,
        customdata=rows[["layer", "latent", "before", "after", "seeds"]],
        hovertemplate=(
            f"{name}<br>layer %{{customdata[0]}}, latent %{{customdata[1]}}"
            "<br>aligned %{customdata[2]:.3g}, after <b>%{customdata[3]:.3g}</b>"
            "<br>mean over n = %{customdata[4]} seeds<extra></extra>"
        ),
    )


def _ring(rows: pd.DataFrame, latent: tuple[int, int] | None) -> list[go.Scatter]:
    if latent is None:
        return []
    found = rows[(rows["layer"] == latent[0]) & (rows["latent"] == latent[1])]
    return [
        go.Scatter(
            x=np.sqrt(found["before"].clip(lower=0)),
            y=np.sqrt(found["after"].clip(lower=0)),
            mode="markers",
            name=f"selected: {latent_label(*latent)}",
            marker={
                "size": 16,
                "symbol": "circle-open",
                "color": HIGHLIGHT,
                "line": {"width": 3},
            },
            hoverinfo="skip",
        )
    ]


def _root_ticks(top: float) -> list[float]:
    step = 10.0 ** np.floor(np.log10(top))
    ladder = [0.0, 0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0]
    return [step * tick for tick in ladder if step * tick <= top * 1.05]


def _scatter_title(mean: pd.DataFrame, arm: str) -> str:
    protected = mean[mean["protected"] & (mean["before"] > 0)]
    if protected.empty:
        return f"No protected latents were measured for {arm}"
    fell = int((protected["after"] < protected["before"]).sum())
    return f"In {arm} {fell} of {len(protected)} protected latents fire less than in the aligned model"


def histograms(
    table: pd.DataFrame, variants: Sequence[str], layer: int, latent: int
) -> go.Figure:
    """Draw a latent's activations on harmful and harmless requests, a panel per model.

    Parameters
    ----------
    table : DataFrame
        ``feature_histograms`` of the aligned model and all runs, with ``variant``.
    """
    rows = table[(table["layer"] == layer) & (table["latent"] == latent)]
    arms = order(variants, rows)
    figure, places = panels(arms or ["no histogram stored"], columns=4, gap=44, panel=150)
    looks = {"harmful": (HIGHLIGHT, "solid"), "harmless": (NEUTRAL, "dash"), "lookalike": (theme.GREY, "dot")}
    for number_of, (arm, (row, column)) in enumerate(zip(arms, places, strict=False)):
        for kind, (colour, dash) in looks.items():
            part = rows[(rows["variant"] == arm) & (rows["kind"] == kind)]
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
                    name=kind,
                    legendgroup=kind,
                    showlegend=number_of == 0,
                    hovertemplate=(
                        f"{arm_label(arm, 40)}, {kind}<br>activation from %{{x:.3g}}: %{{y:.1%}}"
                        f"<br>n = {total} tokens<extra></extra>"
                    ),
                ),
                row,
                column,
            )
    outer_titles(figure, places, x="activation", y="share of tokens")
    figure.update_yaxes(tickformat=".0%")
    title = f"What {latent_label(layer, latent)} does on harmful and harmless requests"
    return titled(figure, title, height=100 + 200 * places[-1][0])


def latent_drift(
    features: pd.DataFrame, aligned: pd.DataFrame, variants: Sequence[str], layer: int, latent: int
) -> go.Figure:
    """Draw one latent's mean activation on harmful requests under each arm."""
    rows = features[(features["layer"] == layer) & (features["latent"] == latent)]
    summary = over_seeds(rows, [], "mean_harmful")
    arms = order(variants, summary)
    summary = summary.set_index("variant").reindex(arms)
    figure = go.Figure(
        go.Bar(
            x=summary["mean"],
            y=[arm_label(arm) for arm in arms],
            orientation="h",
            error_x=seed_bars(summary),
            marker={"color": [theme.arm_style(arm, variants).colour for arm in arms]},
            customdata=summary["seeds"],
            hovertemplate="%{y}: <b>%{x:.3g}</b><br>mean over n = %{customdata} seeds<extra></extra>",
            showlegend=False,
        )
    )
    before = aligned[(aligned["layer"] == layer) & (aligned["latent"] == latent)]["mean_harmful"]
    title = f"{latent_label(layer, latent)} under each arm"
    if len(before):
        level = float(before.iloc[0])
        figure.add_vline(
            x=level,
            line={"color": theme.GREY, "dash": "dash", "width": 2},
            annotation={"text": "aligned model", "yanchor": "bottom"},
        )
        title += f"; it fires at {number(level)} on average in the aligned model"
    figure.update_xaxes(title="mean activation on harmful requests (aligned = held)", rangemode="tozero")
    figure.update_yaxes(autorange="reversed")
    return titled(figure, title, height=110 + 36 * max(len(arms), 2))


def promoted_tokens(tokens: Sequence[tuple[str, float]], label: str) -> go.Figure:
    """Draw the output tokens that a latent's decoder direction promotes most (logit lens)."""
    names = [repr(token)[1:-1] for token, _ in tokens]
    figure = go.Figure(
        go.Bar(
            x=[value for _, value in tokens],
            y=list(range(len(names))),
            orientation="h",
            marker={"color": NEUTRAL},
            customdata=[theme.escape(name) for name in names],
            hovertemplate="%{customdata}: %{x:.3g}<br>n = 1 latent<extra></extra>",
        )
    )
    figure.update_xaxes(title="logit per unit of activation (↑ likelier)")
    figure.update_yaxes(
        autorange="reversed",
        tickvals=list(range(len(names))),
        ticktext=[theme.escape(name) for name in names],
    )
    first = f"“{names[0]}”" if names else "nothing"
    return titled(figure, f"{label} promotes {first} most", height=120 + 22 * max(len(names), 3))


def ledger(table: pd.DataFrame, arm: str, *, count: int = 40) -> go.Figure:
    """Draw which latent carried how much of the activation loss over training (mean over seeds).

    Parameters
    ----------
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.
    count : int
        The latents with the largest mean share are drawn, the largest first.
    """
    rows = table[table["variant"] == arm].dropna(subset=["share"])
    share = rows.groupby(["layer", "latent", "step"])["share"].mean().unstack("step").sort_index(axis=1)
    carried = share.mean(axis=1).sort_values(ascending=False)
    chosen = share.loc[carried.index[:count]]
    seeds = rows["seed"].nunique()
    figure = go.Figure(
        go.Heatmap(
            x=[str(step) for step in chosen.columns],
            y=[latent_label(*pair) for pair in chosen.index],
            z=100 * chosen.to_numpy(),
            colorscale="Cividis",
            colorbar={"title": {"text": "share of the loss (%)", "side": "right"}, "thickness": 14},
            hovertemplate=(
                f"%{{y}}<br>step %{{x}}: <b>%{{z:.2f}} %</b> of the loss"
                f"<br>mean over n = {seeds} seeds<extra></extra>"
            ),
            ygap=1,
        )
    )
    figure.update_xaxes(title="optimiser step of the probe", type="category")
    figure.update_yaxes(autorange="reversed", title="latent")
    title = f"No activation loss was recorded for {arm}"
    if len(carried):
        first = carried.head(10).sum()
        title = (
            f"In {arm} ten of {len(carried)} latents carried {percent(first)} of the activation "
            f"loss; {latent_label(*carried.index[0])} carried most ({percent(carried.iloc[0])})"
        )
    return titled(figure, title, height=140 + 15 * max(len(chosen), 4))


def held(drift: pd.DataFrame, table: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return each protected latent's fate under one arm, the least held first.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.

    Returns
    -------
    DataFrame
        ``layer``, ``latent``, ``before``, ``after``, ``relative`` (change over the aligned
        activation, mean over seeds), ``share`` (mean share of the loss over training),
        ``last_share`` (at the last probe), ``held``.
    """
    mine = drift[(drift["variant"] == arm) & drift["protected"] & (drift["before"] > 0)]
    fate = mine.groupby(["layer", "latent"])[["before", "after", "relative"]].mean()
    rows = table[table["variant"] == arm]
    fate["share"] = rows.groupby(["layer", "latent"])["share"].mean()
    last = rows[rows["step"] == rows["step"].max()]
    fate["last_share"] = last.groupby(["layer", "latent"])["share"].mean()
    fate["held"] = fate["relative"].abs() <= NOT_HELD
    by_size = fate["relative"].abs().sort_values(ascending=False).index
    return fate.loc[by_size].reset_index()


def direction_map(
    latents: pd.DataFrame, projection: str, latent: tuple[int, int] | None = None
) -> go.Figure:
    """Draw the SAE's decoder directions in two dimensions, fitted once on the aligned model.

    Parameters
    ----------
    latents : DataFrame
        ``latents`` of the features' fit.
    projection : str
        ``pca`` or ``umap``: which stored coordinates are drawn.
    """
    x, y = f"{projection}_x", f"{projection}_y"
    placed = latents.dropna(subset=[x, y])
    scatter = go.Scattergl if len(placed) > WEBGL_FROM else go.Scatter
    layers = sorted(placed["layer"].unique())
    figure, places = panels(
        [f"layer {layer}" for layer in layers] or ["not stored"],
        columns=3,
        gap=60,
        panel=380,
        shared_xaxes=False,
        shared_yaxes=False,
    )
    groups = (
        ("other latents", ~placed["protected"] & ~placed["control"],
         {"color": NEUTRAL, "size": 4, "opacity": 0.45}),
        ("random active (control)", placed["control"] & ~placed["protected"],
         {"color": theme.GREY, "size": 7, "symbol": "diamond-open"}),
        ("protected", placed["protected"], {"color": HIGHLIGHT, "size": 8}),
    )  # fmt: skip
    for number_of, (layer, (row, column)) in enumerate(zip(layers, places, strict=False)):
        for name, members, marker in groups:
            rows = placed[members & (placed["layer"] == layer)]
            figure.add_trace(
                scatter(
                    x=rows[x],
                    y=rows[y],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=number_of == 0,
                    marker=marker,
                    customdata=rows[["layer", "latent", "score", "frequency"]],
                    hovertemplate=(
                        f"{name}<br>layer %{{customdata[0]}}, latent %{{customdata[1]}}"
                        "<br>safety score %{customdata[2]:.3g}, fires on %{customdata[3]:.1%} of tokens"
                        f"<br>n = {len(rows)} latents<extra></extra>"
                    ),
                ),
                row,
                column,
            )
        chosen = placed[(placed["layer"] == layer) & (placed["latent"] == (latent or (-1, -1))[1])]
        if latent is not None and latent[0] == layer and len(chosen):
            figure.add_trace(
                go.Scatter(
                    x=chosen[x],
                    y=chosen[y],
                    mode="markers",
                    name=f"selected: {latent_label(*latent)}",
                    marker={"size": 16, "symbol": "circle-open", "color": HIGHLIGHT, "line": {"width": 3}},
                    hoverinfo="skip",
                ),
                row,
                column,
            )
    name = projection.upper()
    figure.update_xaxes(title=f"{name} 1 (no unit)", showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    outer_titles(figure, places, x=None, y=f"{name} 2 (no unit)")
    title = f"No {name} map is stored"
    if len(placed):
        title = (
            f"{int(placed['protected'].sum())} protected latents among {len(placed)} decoder "
            f"directions, {name} fitted once on the aligned model"
        )
    return titled(figure, title, height=110 + 380 * places[-1][0])

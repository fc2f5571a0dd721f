"""Every latent as a point: before against after, and where its decoder direction lies."""

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.arms import ALIGNED, Arm
from cwac.figures import style
from cwac.figures.features.drift import latent_label
from cwac.figures.panels import (
    HIGHLIGHT,
    NEUTRAL,
    arm_label,
    number,
    outer_titles,
    panels,
    percent,
    titled,
)
from cwac.statistics import wilson

WEBGL_FROM: Final = 2000
"""Points above which a scatter is drawn with WebGL."""


def before_after(drift: pd.DataFrame, arm: Arm, latent: tuple[int, int] | None = None) -> go.Figure:
    """Draw each latent's mean activation on harmful requests, aligned against one arm.

    Axes are square-root scaled, because most latents are near zero and zero must stay visible;
    above `WEBGL_FROM` points the drawing is done by WebGL.
    """
    mean = (
        drift[drift["variant"] == arm.label]
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
            line={"color": style.GREY, "dash": "dash", "width": 2},
            hoverinfo="skip",
        )
    )
    colour = style.arm_style(arm).colour
    protected = {"color": colour, "size": 8, "line": {"width": 1}}
    for name, rows, marker in _groups(mean, protected):
        figure.add_trace(_points(scatter, mean[rows], name, marker))
    chosen = _selected(mean, latent)
    figure.add_traces(_ring(_root(chosen["before"]), _root(chosen["after"]), latent))
    ticks = _root_ticks(top)
    for axis, model in (("x", ALIGNED), ("y", arm)):
        figure.update_layout(
            {
                f"{axis}axis": {
                    "title": f"mean activation, {arm_label(model, 40)} (square-root axis)",
                    "tickvals": [np.sqrt(tick) for tick in ticks],
                    "ticktext": [number(tick) for tick in ticks],
                    "rangemode": "tozero",
                }
            }
        )
    return titled(figure, _scatter_title(mean, arm), height=460)


def _groups(
    latents: pd.DataFrame, protected: dict[str, object]
) -> list[tuple[str, "pd.Series[bool]", dict[str, object]]]:
    """Return which latents are drawn how: name, rows, marker; the safety features on top."""
    special = latents["protected"] | latents["control"]
    control = latents["control"] & ~latents["protected"]
    faint = {"color": NEUTRAL, "size": 4, "opacity": 0.45}
    hollow = {"color": style.GREY, "size": 7, "symbol": "diamond-open"}
    return [
        ("other latents", ~special, faint),
        ("random latents (control)", control, hollow),
        ("safety features", latents["protected"], protected),
    ]


def _points(
    scatter: type[go.Scatter] | type[go.Scattergl],
    rows: pd.DataFrame,
    name: str,
    marker: dict[str, object],
) -> go.Scatter | go.Scattergl:
    return scatter(
        x=_root(rows["before"]),
        y=_root(rows["after"]),
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


def _root(values: pd.Series) -> pd.Series:
    return values.clip(lower=0) ** 0.5


def _selected(rows: pd.DataFrame, latent: tuple[int, int] | None) -> pd.DataFrame:
    layer, number_of = latent or (-1, -1)
    return rows[(rows["layer"] == layer) & (rows["latent"] == number_of)]


def _ring(x: pd.Series, y: pd.Series, latent: tuple[int, int] | None) -> list[go.Scatter]:
    """Return the ring around the selected latent, if it is among the points."""
    if latent is None or x.empty:
        return []
    return [
        go.Scatter(
            x=x,
            y=y,
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


def _scatter_title(mean: pd.DataFrame, arm: Arm) -> str:
    protected = mean[mean["protected"] & (mean["before"] > 0)]
    if protected.empty:
        return f"No safety features were measured for {arm.title}"
    fell = int((protected["after"] < protected["before"]).sum())
    return (
        f"In {arm.title} {fell} of {len(protected)} safety features fire less than in "
        "the aligned model"
    )


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
    groups = _groups(placed, {"color": HIGHLIGHT, "size": 8})
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
                        "<br>safety score %{customdata[2]:.3g}"
                        "<br>fires on %{customdata[3]:.1%} of tokens"
                        f"<br>n = {len(rows)} latents<extra></extra>"
                    ),
                ),
                row,
                column,
            )
        chosen = _selected(placed[placed["layer"] == layer], latent)
        for ring in _ring(chosen[x], chosen[y], latent):
            figure.add_trace(ring, row, column)
    name = projection.upper()
    figure.update_xaxes(title=f"{name} 1 (no unit)", showticklabels=False)
    figure.update_yaxes(showticklabels=False)
    outer_titles(figure, places, x=None, y=f"{name} 2 (no unit)")
    title = f"No {name} map is stored"
    if len(placed):
        title = _map_title(placed, name, (x, y))
    return titled(figure, title, height=110 + 380 * places[-1][0])


def _map_title(placed: pd.DataFrame, name: str, plane: tuple[str, str]) -> str:
    """Return whether safety features lie by each other: whose nearest neighbour is one, too."""
    found, by_chance, asked, count = 0, 0.0, 0, int(placed["protected"].sum())
    for _, rows in placed.groupby("layer"):
        points, protected = rows[list(plane)].to_numpy(), rows["protected"].to_numpy(dtype=bool)
        mine = int(protected.sum())
        if len(rows) < 2 or not mine:
            continue
        apart = ((points[protected][:, None] - points[None]) ** 2).sum(axis=2)
        apart[np.arange(mine), np.flatnonzero(protected)] = np.inf
        found += int(protected[apart.argmin(axis=1)].sum())
        by_chance += mine * (mine - 1) / (len(rows) - 1)
        asked += mine
    among = f"{count} safety features among {len(placed)} decoder directions of the aligned SAEs"
    if not asked:
        return among
    low, high = wilson(found, asked)
    return (
        f"The nearest neighbour of {found} of {asked} safety features in the plane ({name}) is "
        f"one too ({percent(found / asked)} [{percent(low)}, {percent(high)}]; by chance "
        f"{percent(by_chance / asked)}); {among}"
    )

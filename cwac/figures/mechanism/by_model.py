"""What restoring each layer returns on every model, over the depth, beside the inside removed."""

import textwrap
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.analysis.causes import RESTORE
from cwac.analysis.causes_by_model import ENERGY, INSIDE, RANK
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism.causes import RANDOM
from cwac.figures.panels import HEADING, titled

_NAMES: Final = {
    INSIDE: "the<br>inside",
    ENERGY: "random,<br>energy",
    RANK: "random,<br>rank",
}
_PANEL, _GAP = 130, 62
"""Pixels of a model's row, and between two of them."""


def causes_by_model(table: pd.DataFrame, arm: Arm, title: str) -> go.Figure:
    """Draw a row per model: each layer restored alone over the depth, and the inside removed.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.causes_by_model.on_models``.
    arm : Arm
        Whose colour it has.
    title : str
        What the figure shows, in one sentence.
    """
    models = list(dict.fromkeys(table["model"]))
    height = len(models) * _PANEL + (len(models) - 1) * _GAP
    figure = make_subplots(
        rows=len(models),
        cols=2,
        column_widths=[0.68, 0.32],
        horizontal_spacing=0.07,
        vertical_spacing=_GAP / height,
        subplot_titles=[text for model in models for text in (_heading(table, model), "")],
    )
    figure.update_annotations(font_size=12, name=HEADING)
    for row, model in enumerate(models, start=1):
        mine = table[table["model"] == model]
        layers, split = mine[mine["intervention"] == RESTORE], mine[mine["intervention"] != RESTORE]
        for trace in _layers(layers, arm, first=row == 1):
            figure.add_trace(trace, row=row, col=1)
        figure.add_trace(_split(split, arm), row=row, col=2)
    figure.update_xaxes(range=[-1, 101], tickvals=[0, 25, 50, 75, 100], col=1)
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=list(_NAMES.values()),
        range=[-0.6, 2.6], tickangle=0, showgrid=False, col=2,
    )  # fmt: skip
    for row in range(1, len(models)):
        figure.update_xaxes(showticklabels=False, row=row)
    figure.update_xaxes(title="depth (% of the layers)", row=len(models), col=1)
    figure.update_xaxes(title="removed (random: of equal ...)", row=len(models), col=2)
    # One scale for all: a model where no layer returns much shall not look like one where one does.
    figure.update_yaxes(range=_range(table))
    figure.update_yaxes(title="returned (%)", col=1)
    figure.update_layout(bargap=0.35)
    return titled(figure, title, height=110 + height)


def _range(rows: pd.DataFrame) -> list[float]:
    """Return the ends of an axis that holds every share with its interval, and 0."""
    values = 100 * rows[["y", "low", "high"]].to_numpy(dtype=float)
    low, high = min(np.nanmin(values), 0.0), max(np.nanmax(values), 0.0)
    return [float(low - 0.06 * (high - low)), float(high + 0.06 * (high - low))]


def _heading(table: pd.DataFrame, model: str) -> str:
    row = table[table["model"] == model].iloc[0]
    text = f"{model}, {row['layers']} layers. {row['scope']}"
    return "<br>".join(map(style.escape, textwrap.wrap(text, 84)))


def _layers(layers: pd.DataFrame, arm: Arm, *, first: bool) -> list[go.Bar | go.Scatter]:
    mine, chance = layers[~layers["control"]], layers[layers["control"]]
    bars = go.Bar(
        x=100 * mine["depth"],
        y=100 * mine["y"],
        width=(80 / mine["layers"]).tolist(),
        marker={"color": style.arm_style(arm).colour},
        error_y=_ends(mine),
        customdata=mine[["part", "layers", "low", "high", "over"]],
        name="a layer restored alone",
        showlegend=False,
        hovertemplate="%{customdata[0]} of %{customdata[1]}: <b>%{y:.3g} %</b> "
        "[%{customdata[2]:.0%}, %{customdata[3]:.0%}]<br>%{customdata[4]}<extra></extra>",
    )
    diamonds = go.Scatter(
        x=100 * chance["depth"],
        y=100 * chance["y"],
        mode="markers",
        marker={"symbol": "diamond-open", "color": style.GREY, "size": 8, "line": {"width": 2}},
        name=f"control: {RANDOM} restored",
        showlegend=first,
        customdata=chance[["part", "over"]],
        hovertemplate=f"{RANDOM} as %{{customdata[0]}}: <b>%{{y:.3g}} %</b>"
        "<br>%{customdata[1]}<extra></extra>",
    )
    return [bars, diamonds]


def _split(split: pd.DataFrame, arm: Arm) -> go.Bar | go.Scatter:
    if split.empty:
        return go.Scatter(
            x=[_NAMES[ENERGY]],
            y=[0],
            mode="text",
            text=["not measured"],
            textposition="top center",
            textfont={"size": 11},
            showlegend=False,
            hoverinfo="skip",
        )
    colours = [
        style.GREY if control else style.arm_style(arm).colour for control in split["control"]
    ]
    return go.Bar(
        x=split["trial"].map(_NAMES),
        y=100 * split["y"],
        marker={"color": colours},
        error_y=_ends(split),
        customdata=split[["trial", "low", "high", "over"]],
        name="the inside removed",
        showlegend=False,
        hovertemplate="%{customdata[0]}: <b>%{y:.3g} %</b> "
        "[%{customdata[1]:.0%}, %{customdata[2]:.0%}]<br>%{customdata[3]}<extra></extra>",
    )


def _ends(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (100 * (rows["high"] - rows["y"])).tolist(),
        "arrayminus": (100 * (rows["y"] - rows["low"])).tolist(),
        "thickness": 1,
        "width": 3,
    }

"""A run as it goes: losses, probe refusals and drift, one line per run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.figures.panels import titled
from cwac.figures.theme import arm_name, arm_style, escape, translucent

COLUMNS: Final = (
    "run_id",
    "variant",
    "seed",
    "step",
    "task_loss",
    "safety_loss",
    "refusal_rate",
    "refusal_n",
    "refusal_low",
    "refusal_high",
    "drift_inside",
    "drift_outside",
)
_PANELS: Final = (
    ("task_loss", "task loss (nats per token, ↓ better)"),
    ("safety_loss", "safety loss (squared activation, ↓ nearer)"),
    ("refusal_rate", "probe refusal rate (%, ↑ safer)"),
    ("drift_outside", "drift ‖ΔW‖ (Frobenius, weight units)"),
)


def probes(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of a progress file that hold a probe, with the columns of ``COLUMNS``."""
    table = pd.DataFrame([row for row in rows if row.get("step") is not None])
    table = table.reindex(columns=list(COLUMNS))
    numbers = [name for name in COLUMNS if name not in {"run_id", "variant"}]
    return table.astype(dict.fromkeys(numbers, "float"))


def live_figure(table: pd.DataFrame) -> go.Figure:
    """Draw what the probes of a job have seen so far.

    Parameters
    ----------
    table : DataFrame
        From :func:`probes`.

    Notes
    -----
    The last panel's solid lines are the drift outside the safety subspace, the dotted ones the
    drift inside. A quantity that an arm does not have (plain SFT has no safety loss) has no line.
    """
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes="all",
        horizontal_spacing=0.09,
        vertical_spacing=0.12,
    )
    for name, part in table.groupby("run_id", sort=False):
        del name
        _run_lines(figure, part.sort_values("step"))
    for number, (_, title) in enumerate(_PANELS):
        row, column = divmod(number, 2)
        figure.update_yaxes(title=title, rangemode="tozero", row=row + 1, col=column + 1)
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", row=2, col=1)
    figure.update_xaxes(title="optimiser steps", row=2)
    return titled(figure, _title(table), height=560)


def _run_lines(figure: go.Figure, part: pd.DataFrame) -> None:
    variant, seed = str(part["variant"].iloc[0]), int(part["seed"].iloc[0])
    style = arm_style(variant)
    name = f"{escape(style.label)}, seed {seed}"
    line = {"color": style.colour, "dash": style.dash, "width": 2}
    marker = {"color": style.colour, "symbol": style.symbol, "size": 6}
    band = part.dropna(subset=["refusal_low", "refusal_high"])
    if len(band) > 1:
        figure.add_scatter(
            x=[*band["step"], *band["step"][::-1]],
            y=[*band["refusal_high"], *band["refusal_low"][::-1]],
            fill="toself",
            fillcolor=translucent(style.colour, 0.15),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
            row=2,
            col=1,
        )
    for number, (column, _) in enumerate(_PANELS):
        row, place = divmod(number, 2)
        known = part.dropna(subset=[column])
        probe = " of n = %{customdata:.0f} probe prompts" if column == "refusal_rate" else ""
        figure.add_scatter(
            x=known["step"],
            y=known[column],
            customdata=known["refusal_n"],
            mode="lines+markers",
            line=line,
            marker=marker,
            name=name,
            legendgroup=name,
            showlegend=number == 0,
            hovertemplate=f"{name}<br>step %{{x}}: <b>%{{y:.3g}}</b>{probe}<extra></extra>",
            row=row + 1,
            col=place + 1,
        )
    inside = part.dropna(subset=["drift_inside"])
    figure.add_scatter(
        x=inside["step"],
        y=inside["drift_inside"],
        mode="lines",
        line=line | {"dash": "dot", "width": 1.5},
        name=f"{name}, inside",
        legendgroup=name,
        showlegend=False,
        hovertemplate=f"{name}<br>inside, step %{{x}}: <b>%{{y:.3g}}</b><extra></extra>",
        row=2,
        col=2,
    )


def _title(table: pd.DataFrame) -> str:
    if table.empty:
        return "No probe yet"
    last = table.sort_values("step").groupby(["variant", "seed"], sort=False).last()
    row = last.iloc[-1]
    if pd.isna(row["refusal_rate"]):
        return f"Step {row['step']:.0f}"
    variant, seed = last.index[-1]
    return (
        f"{arm_name(variant)}, seed {seed:.0f}: refuses {100 * row['refusal_rate']:.0f} % of the "
        f"probe prompts at step {row['step']:.0f}"
    )

"""Rates with intervals per arm and category, drawn."""

import math
from collections.abc import Sequence
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures import style
from cwac.figures.panels import (
    arm_label,
    extremes,
    order,
    outer_titles,
    panels,
    percent,
    rate_point,
    titled,
)
from cwac.rates import REQUESTS

VERBS: Final = {
    "refusal": "refused",
    "hybrid": "declined and taken up",
    "compliance": "complied with",
    "undetermined": "undetermined",
}
LOOKALIKES: Final = "look-alikes"
"""The row beneath the harm categories."""


def rates_by_arm(rates: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw each arm's rate with its interval, a panel per group of requests.

    Parameters
    ----------
    rates : DataFrame
        Result of ``cwac.analysis.refusals.outcome_rates``.
    arms : sequence of Arm
        The arms with the aligned model first.
    """
    groups = [group for group in REQUESTS if group in set(rates["group"])]
    heads = [f"{group} {_arrow(group, outcome)}".strip() for group in groups]
    arms = order(arms, rates)
    panel = 30 + 22 * max(len(arms), 2)
    figure, places = panels(heads or ["no requests"], columns=3, gap=44, panel=panel)
    for group, (row, column) in zip(groups, places, strict=False):
        part = rates[rates["group"] == group]
        _add_points(figure, order(arms, part), part, (row, column))
        aligned = part.loc[part["variant"] == ALIGNED.label, "value"]
        if len(aligned):
            figure.add_vline(
                x=100 * float(aligned.iloc[0]),
                line={"color": style.GREY, "dash": "dash", "width": 1},
                row=row,
                col=column,
            )
    figure.update_xaxes(range=[-4, 104], tickvals=[0, 25, 50, 75, 100])
    outer_titles(figure, places, x=f"{VERBS[outcome]} (%)", y=None)
    figure.update_yaxes(
        autorange="reversed", categoryorder="array", categoryarray=[arm_label(a) for a in arms]
    )
    figure.update_layout(showlegend=False)
    return titled(
        figure, _rates_title(rates, outcome, arms), height=90 + places[-1][0] * (panel + 44)
    )


def _arrow(group: str, outcome: str) -> str:
    harmful = REQUESTS[group].kind == "harmful"
    if outcome == "undetermined" or (outcome == "hybrid" and not harmful):
        return ""
    safer_up = (outcome == "refusal") == harmful
    # A space that does not break: the arrow stays with its word.
    return "→\u00a0better" if safer_up else "←\u00a0better"


def _add_points(
    figure: go.Figure, arms: Sequence[Arm], part: pd.DataFrame, place: tuple[int, int]
) -> None:
    points = [
        rate_point(row, arm)
        for arm in arms
        for row in part[part["variant"] == arm.label].to_dict("records")
    ]
    figure.add_traces(points, rows=place[0], cols=place[1])


def _rates_title(rates: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> str:
    harmful = rates[rates["group"] == "harmful requests"].set_index("variant")["value"]
    alike = rates[rates["group"] == "look-alikes"].set_index("variant")["value"]
    if harmful.empty:
        return "No answers to harmful requests are stored"
    named = [arm for arm in arms if arm.label in harmful.index]
    text = f"Harmful requests {VERBS[outcome]}: {_ends(harmful, named)}"
    named = [arm for arm in named if arm.label in alike.index]
    return f"{text}; look-alikes: {_ends(alike, named)}" if named else text


def _ends(values: pd.Series, arms: Sequence[Arm]) -> str:
    """Name the aligned model, the lowest and the highest arm."""
    named = by_label(arms)
    shown = [label for label, arm in named.items() if arm.is_aligned]
    tuned = [label for label, arm in named.items() if not arm.is_aligned]
    if tuned:
        high, low = extremes(values[tuned])
        shown += [low] if low == high else [low, high]
    return ", ".join(f"{named[label].title} {percent(values[label])}" for label in shown)


def rates_by_category(rates: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw categories x arms on one colour scale, the look-alikes beneath them.

    Parameters
    ----------
    rates : DataFrame
        Result of ``cwac.analysis.refusals.category_rates``.
    """
    groups = list(dict.fromkeys(rates["group"]))
    arms = order(arms, rates)
    cells = rates.set_index(["group", "variant"])
    wide = {
        name: cells[name]
        .unstack("variant")
        .reindex(index=groups, columns=[arm.label for arm in arms])
        for name in ("value", "low", "high", "n", "seeds")
    }
    value = 100 * wide["value"]
    hover = [[_category_hover(wide, group, arm) for arm in arms] for group in groups]
    figure = go.Figure(
        go.Heatmap(
            # On one line: slanted labels of several lines run into each other.
            x=[style.escape(arm.title) for arm in arms],
            y=[style.escape(group) for group in groups],
            z=value.to_numpy(),
            zmin=0,
            zmax=100,
            text=[["" if math.isnan(v) else f"{v:.0f}" for v in line] for line in value.to_numpy()],
            texttemplate="%{text}",
            textfont={"color": style.CELL_TEXT},
            customdata=hover,
            hovertemplate="%{customdata}<extra></extra>",
            colorscale=style.RISING,
            colorbar={"title": {"text": f"{VERBS[outcome]} (%)", "side": "right"}, "thickness": 14},
            xgap=2,
            ygap=1,
        )
    )
    if LOOKALIKES in groups:
        figure.add_hline(y=len(groups) - 1.5, line={"color": style.GREY, "width": 2})
    figure.update_xaxes(showgrid=False, tickangle=-40)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return titled(
        figure, _category_title(wide["value"], outcome, arms), height=190 + 19 * max(len(groups), 3)
    )


def _category_hover(wide: dict[str, pd.DataFrame], group: str, arm: Arm) -> str:
    value, low, high, n, seeds = (float(wide[name][arm.label][group]) for name in wide)
    if math.isnan(value):
        return "not measured"
    return (
        f"{style.escape(group)}<br>{arm_label(arm, 40)}: <b>{percent(value)}</b>"
        f" [{percent(low)}, {percent(high)}]<br>n = {n:.0f} requests, {seeds:.0f} seeds"
    )


def _category_title(values: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> str:
    tuned = values.drop(index=LOOKALIKES, errors="ignore").drop(
        columns=ALIGNED.label, errors="ignore"
    )
    if tuned.empty:
        return "No arm's answers are stored by harm category"
    spread = tuned.max() - tuned.min()
    label, _ = extremes(spread)
    high, low = extremes(tuned[label])
    return (
        f"Categories differ most in {by_label(arms)[label].title}: {VERBS[outcome]} from "
        f"{percent(tuned[label][low])} ({low}) to {percent(tuned[label][high])} ({high})"
    )

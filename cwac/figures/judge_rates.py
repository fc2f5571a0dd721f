"""What each judge says of the same answers: rates per arm, and the answers they differ on."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm, by_label
from cwac.figures import rates, style
from cwac.figures.agreement import PREFIX, judges_of
from cwac.figures.panels import (
    arm_label,
    extremes,
    order,
    outer_titles,
    panels,
    percent,
    titled,
)
from cwac.figures.refusal import VERBS

COLUMNS: Final = ("judge", *rates.COLUMNS)
GROUPS: Final = ("harmful requests", "look-alikes", "harmless requests")
_SYMBOLS: Final = ("circle", "diamond-open", "square", "triangle-up-open", "star", "x-thin-open")
_SPREAD: Final = 0.6
"""Share of an arm's line that its judges' points take."""


def judge_rates(table: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the share of answers to which each judge gives an outcome, per arm and group.

    Parameters
    ----------
    table : DataFrame
        From ``agreement.judged``, with ``variant`` and ``seed``.
    outcome : str
        ``refusal``, ``compliance`` or ``undetermined``.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`; fractions with their 95 % interval over the ``n`` requests that the
        judge judged under every seed of the arm. What a judge did not judge has no row.
    """
    parts = []
    for judge in judges_of(table):
        mine = table.dropna(subset=[PREFIX + judge])
        found = rates.outcome_rates(mine.assign(outcome=mine[PREFIX + judge]), outcome)
        parts.append(found[found["group"].isin(GROUPS)].assign(judge=judge))
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def judge_rates_figure(table: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw every judge's rate of every arm with its interval, a panel per group of requests.

    Parameters
    ----------
    table : DataFrame
        From :func:`judge_rates`.
    arms : sequence of Arm
        The arms with the aligned model first.
    """
    groups = [group for group in GROUPS if group in set(table["group"])]
    judges = list(dict.fromkeys(table["judge"]))
    arms = order(arms, table)
    line = 18 + 12 * max(len(judges), 2)
    panel = 30 + line * max(len(arms), 2)
    figure, places = panels(groups or ["no requests"], columns=3, gap=44, panel=panel)
    for group, (row, column) in zip(groups, places, strict=False):
        for number, judge in enumerate(judges):
            mine = table[(table["group"] == group) & (table["judge"] == judge)]
            figure.add_trace(
                _points(mine, arms, judge, number, len(judges), legend=group == groups[0]),
                row=row,
                col=column,
            )
    figure.update_xaxes(range=[-4, 104], tickvals=[0, 25, 50, 75, 100])
    outer_titles(figure, places, x=f"{VERBS[outcome]} (%)", y=None)
    figure.update_yaxes(
        tickvals=list(range(len(arms))),
        ticktext=[arm_label(arm) for arm in arms],
        range=[len(arms) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    height = 110 + places[-1][0] * (panel + 44)
    return titled(figure, _title(table, outcome, arms), height=height)


def _points(
    mine: pd.DataFrame, arms: Sequence[Arm], judge: str, number: int, count: int, *, legend: bool
) -> go.Scatter:
    named = by_label(arms)
    heights = {label: height for height, label in enumerate(named)}
    rows = [row for label in named for row in mine[mine["variant"] == label].to_dict("records")]
    shift = _SPREAD * ((number + 0.5) / count - 0.5)
    return go.Scatter(
        x=[100 * row["value"] for row in rows],
        y=[heights[row["variant"]] + shift for row in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (row["high"] - row["value"]) for row in rows],
            "arrayminus": [100 * (row["value"] - row["low"]) for row in rows],
            "color": style.GREY,
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        # Colour is the arm's, as everywhere; the symbol is the judge's.
        marker={
            "color": [style.arm_style(named[row["variant"]]).colour for row in rows],
            "symbol": _SYMBOLS[number % len(_SYMBOLS)],
            "size": 9,
            "line": {"width": 1.5},
        },
        name=style.escape(judge),
        legendgroup=judge,
        showlegend=legend,
        hovertext=[_hover(row, named[row["variant"]], judge) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _hover(row: Mapping[Hashable, Any], arm: Arm, judge: str) -> str:
    value, low, high = (percent(row[name], 1) for name in ("value", "low", "high"))
    return (
        f"{arm_label(arm, 40)}, {style.escape(judge)}: <b>{value}</b> [{low}, {high}]"
        f"<br>n = {row['n']} requests, {row['seeds']} seeds ({row['method']})"
    )


def _title(table: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> str:
    """Name the arm whose rate depends most on who judges."""
    harmful = table[table["group"] == "harmful requests"]
    found = {arm: harmful[harmful["variant"] == arm.label] for arm in order(arms, harmful)}
    if not found:
        return "No answers to harmful requests were judged"
    rated = {arm: mine.set_index("judge")["value"].astype(float) for arm, mine in found.items()}
    arm = max(rated, key=lambda one: float(rated[one].max() - rated[one].min()))
    high, low = extremes(rated[arm])
    if rated[arm][high] == rated[arm][low]:
        return f"Harmful requests {VERBS[outcome]}: every judge gives every arm the same rate"
    return (
        f"Most depends on the judge: {arm.title}, harmful requests {VERBS[outcome]} "
        f"from {percent(rated[arm][low])} ({low}) to {percent(rated[arm][high])} ({high})"
    )


def disputed(table: pd.DataFrame, arm: Arm, seed: int, judges: Sequence[str]) -> pd.DataFrame:
    """Return the answers of one arm that not all of some judges judged alike.

    Parameters
    ----------
    table : DataFrame
        From ``agreement.judged``, with ``variant`` and ``seed``.
    seed : int
        The arm's run of this seed; the aligned model has one alone.
    judges : sequence of str
        Whose verdicts count.

    Returns
    -------
    DataFrame
        ``run_id``, ``prompt_id``, ``kind`` and a column per judge, harmful requests first; a
        verdict is missing where a judge did not judge the answer.
    """
    rows = table[table["variant"] == arm.label]
    if not arm.is_aligned:
        rows = rows[rows["seed"] == seed]
    verdicts = rows[[PREFIX + judge for judge in judges]]
    found = rows[verdicts.nunique(axis=1, dropna=True) > 1]
    named = found.rename(columns={PREFIX + judge: judge for judge in judges})
    kinds = {"harmful": 0, "lookalike": 1, "harmless": 2}
    named = named.sort_values("kind", key=lambda kind: kind.map(kinds), kind="stable")
    return named[["run_id", "prompt_id", "kind", *judges]].reset_index(drop=True)

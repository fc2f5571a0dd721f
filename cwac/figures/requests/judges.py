"""Judges of the same answers, drawn: how far they agree, and each one's rates per arm."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.judges import GROUPS
from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import arm_label, extremes, order, outer_titles, panels, percent, titled
from cwac.figures.requests.rates import VERBS

_SYMBOLS: Final = ("circle", "diamond-open", "square", "triangle-up-open", "star", "x-thin-open")
_SPREAD: Final = 0.6
"""Share of an arm's line that its judges' points take."""


def agreement_figure(table: pd.DataFrame) -> go.Figure:
    """Draw every pair of judges: raw agreement; the hover adds interval, kappa and counts.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.judges.agreement_table``.
    """
    groups = list(dict.fromkeys(table["group"]))
    names = list(dict.fromkeys([*table["first"], *table["second"]]))
    figure, places = panels(groups or ["no answers"], columns=3, gap=60)
    for group, (row, column) in zip(groups, places, strict=False):
        part = table[table["group"] == group]
        raw, text, hover = _square(part, names)
        figure.add_trace(
            go.Heatmap(
                x=[style.escape(name) for name in names],
                y=[style.escape(name) for name in names],
                z=raw,
                text=text,
                texttemplate="%{text}",
                textfont={"color": style.CELL_TEXT},
                hovertext=hover,
                hovertemplate="%{y} and %{x}: %{hovertext}<extra></extra>",
                coloraxis="coloraxis",
                xgap=2,
                ygap=2,
            ),
            row=row,
            col=column,
        )
    figure.update_layout(
        coloraxis={
            "cmin": 0,
            "cmax": 100,
            "colorscale": style.RISING,
            "colorbar": {"title": {"text": "same verdict (%)", "side": "right"}, "thickness": 14},
        }
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False, autorange="reversed")
    return titled(figure, _agreement_title(table), height=190 + 46 * max(len(names), 2))


def _square(
    table: pd.DataFrame, names: list[str]
) -> tuple[list[list[float | None]], list[list[str]], list[list[str]]]:
    raw: list[list[float | None]] = [[None] * len(names) for _ in names]
    text = [[""] * len(names) for _ in names]
    hover = [[""] * len(names) for _ in names]
    for pair in table.astype(object).to_dict("records"):
        kappa = "κ undefined" if pd.isna(pair["kappa"]) else f"κ {pair['kappa']:.2f}"
        share, low, high = (100 * float(pair[name]) for name in ("raw", "low", "high"))
        i, j = names.index(pair["first"]), names.index(pair["second"])
        for one, other in ((i, j), (j, i)):
            raw[one][other] = share
            # More than a number would shrink until nobody could read it.
            text[one][other] = f"{share:.0f}"
            hover[one][other] = (
                f"<b>{share:.1f} %</b> [{low:.1f}, {high:.1f}], {kappa}"
                f"<br>{pair['same']} of {pair['n']} answers"
            )
    return raw, text, hover


def _agreement_title(table: pd.DataFrame) -> str:
    harmful = table[table["group"] == "harmful requests"]
    if harmful.empty:
        return "No answers were judged twice"
    least = harmful.sort_values("raw").iloc[0]
    kappa = "κ is undefined" if pd.isna(least["kappa"]) else f"κ {least['kappa']:.2f}"
    return (
        f"On harmful requests {least['first']} and {least['second']} agree least: "
        f"{100 * least['raw']:.0f} % of {least['n']:.0f} answers ({kappa})"
    )


def judge_rates_figure(table: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw every judge's rate of every arm with its interval, a panel per group of requests.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.judges.judge_rates``.
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
            part = table[(table["group"] == group) & (table["judge"] == judge)]
            figure.add_trace(
                _points(part, arms, judge, number, len(judges), legend=group == groups[0]),
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
    return titled(figure, _rates_title(table, outcome, arms), height=height)


def _points(
    part: pd.DataFrame, arms: Sequence[Arm], judge: str, number: int, count: int, *, legend: bool
) -> go.Scatter:
    named = by_label(arms)
    heights = {label: height for height, label in enumerate(named)}
    rows = [row for label in named for row in part[part["variant"] == label].to_dict("records")]
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


def _rates_title(table: pd.DataFrame, outcome: str, arms: Sequence[Arm]) -> str:
    """Name the arm whose rate depends most on who judges."""
    harmful = table[table["group"] == "harmful requests"]
    by_arm = {arm: harmful[harmful["variant"] == arm.label] for arm in order(arms, harmful)}
    if not by_arm:
        return "No answers to harmful requests were judged"
    rated = {arm: part.set_index("judge")["value"].astype(float) for arm, part in by_arm.items()}
    arm = max(rated, key=lambda one: float(rated[one].max() - rated[one].min()))
    high, low = extremes(rated[arm])
    if rated[arm][high] == rated[arm][low]:
        return f"Harmful requests {VERBS[outcome]}: every judge gives every arm the same rate"
    return (
        f"Most depends on the judge: {arm.title}, harmful requests {VERBS[outcome]} "
        f"from {percent(rated[arm][low])} ({low}) to {percent(rated[arm][high])} ({high})"
    )

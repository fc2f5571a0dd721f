"""Each defence's harmful scores over attackers: from the mildest to the worst that counts."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.enumeration import enumerated
from cwac.analysis.outcomes import interval_text
from cwac.arms import BASELINE, Arm, by_label, in_order
from cwac.figures import style
from cwac.figures.panels import arm_rows, titled
from cwac.figures.style import rate_axis

_RATE: Final = "harmful_score"


def worst_figure(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw a row per defence: a line over its attackers' scores, a dot with interval at the worst.

    Parameters
    ----------
    table : DataFrame
        Of one setting, from ``cwac.analysis.attacks.worst_cases``.
    arms : sequence of Arm
        The defences in it.
    """
    table = table.dropna(subset=["value"])
    shown = [arm for arm in in_order(arms) if arm.label in set(table["variant"])][::-1]
    named, places = by_label(shown), {arm.label: height for height, arm in enumerate(shown)}
    figure = go.Figure()
    for row in table.to_dict("records"):
        figure.add_trace(_range(row, places[row["variant"]], named))
    figure.update_xaxes(title=rate_axis(_RATE, across=True), range=[-4, 104])
    figure.update_yaxes(**arm_rows(shown))
    return titled(figure, _title(table, named), height=170 + 30 * len(shown))


def _range(row: Mapping[Any, Any], height: int, arms: Mapping[str, Arm]) -> go.Scatter:
    colour = style.arm_style(arms[row["variant"]]).colour
    worst = 100 * row["value"]
    text = (
        f"{style.escape(arms[row['variant']].title)}<br>worst of {row['counted']} attackers: "
        f"{style.escape(row['attacker'])}<br>harmful score <b>{worst:.1f} %</b> "
        f"[{100 * row['low']:.1f}, {100 * row['high']:.1f}]<br>mildest "
        f"{100 * row['lowest']:.1f} %<br>n = {row['n']:.0f} requests, {row['seeds']:.0f} seeds"
    )
    return go.Scatter(
        x=[100 * row["lowest"], worst],
        y=[height, height],
        mode="lines+markers",
        showlegend=False,
        line={"color": colour, "width": 3},
        marker={"color": colour, "size": [0, 11]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [0, 100 * row["high"] - worst],
            "arrayminus": [0, worst - 100 * row["low"]],
            "thickness": 1,
            "width": 3,
            "color": style.GREY,
        },
        hovertemplate=f"{text}<extra></extra>",
    )


def _title(table: pd.DataFrame, arms: Mapping[str, Arm]) -> str:
    """Say which defence's worst case is lowest, plain fine-tuning left out."""
    defences = table[table["variant"] != BASELINE]
    if defences.empty:
        return "The worst attacker of plain fine-tuning"
    best = min(defences.to_dict("records"), key=lambda row: float(row["value"]))
    alike = defences.loc[defences["low"] <= best["high"], "variant"]
    named = enumerated(arm.title for arm in in_order(arms[label] for label in alike))
    text = f"Under the worst of {best['counted']} attackers {named} "
    rest = f"the least of {len(defences)} arm{'s' if len(defences) != 1 else ''} besides SFT"
    if len(alike) == 1:
        return f"{text}complies with {interval_text(best)}, {rest}"
    return f"{text}comply with {rest}, and are not told apart"

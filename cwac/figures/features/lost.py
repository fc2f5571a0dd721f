"""How many safety features each arm lost, beside random ones."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm, by_label
from cwac.figures import style
from cwac.figures.panels import arm_label, extremes, order, percent, titled

_KINDS: Final = {"protected": "safety features", "control": "random latents"}


def lost_figure(
    shares: pd.DataFrame, arms: Sequence[Arm], refused: Mapping[str, str] | None = None
) -> go.Figure:
    """Draw which share of the safety features each arm lost, with the random ones hollow.

    Parameters
    ----------
    shares : DataFrame
        Result of ``cwac.analysis.features.lost_shares``.
    refused : mapping of str to str, optional
        By an arm's label its refusal rate in words, written beside its count.
    """
    arms = order(arms, shares)
    beside = {"protected": refused or {}, "control": {}}
    figure = go.Figure([_lost_counts(shares, arms, *each) for each in beside.items()])
    for place, arm in enumerate(arms):
        rows = shares[shares["variant"] == arm.label].set_index("role").to_dict("index")
        for role, shift in (("control", 0.18), ("protected", -0.18)):
            if role in rows:
                figure.add_trace(_lost_point(rows[role], arm, role, place + shift))
    figure.update_yaxes(
        tickvals=list(range(len(arms))),
        ticktext=[arm_label(arm, 24) for arm in arms],
        range=[len(arms) - 0.4, -0.6],
        showgrid=False,
        zeroline=False,
    )
    # Room on the right for the counts, and for what is written beside them.
    figure.update_xaxes(
        title=style.axis_title("latents lost", "%", "lower", across=True),
        range=[-3, 185 if refused else 140],
        tickvals=[0, 25, 50, 75, 100],
    )
    figure.update_layout(showlegend=False)
    height = 100 + 31 * max(len(arms), 2)
    return titled(figure, _lost_title(shares, arms), height=height)


def _lost_point(row: Mapping[Hashable, Any], arm: Arm, role: str, y: float) -> go.Scatter:
    look = style.arm_style(arm)
    value, low, high = (100 * float(row[name]) for name in ("value", "low", "high"))
    counts = _span(row)
    is_control = role == "control"
    symbol = look.symbol.removesuffix("-open")
    return go.Scatter(
        x=[value],
        y=[y],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": style.GREY if is_control else look.colour,
            "thickness": 1 if is_control else 2,
            "width": 4,
        },
        mode="markers",
        marker={
            "color": style.GREY if is_control else look.colour,
            "symbol": f"{symbol}-open" if is_control else symbol,
            "size": 9,
        },
        name=f"{style.escape(look.label)}, {_KINDS[role]}",
        hovertemplate=(
            f"{arm_label(arm, 40)}, {_KINDS[role]}: "
            f"<b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>{counts} of n = {row['n']} latents, "
            f"{row['seeds']} seeds ({row['method']})<extra></extra>"
        ),
    )


def _lost_counts(
    shares: pd.DataFrame, arms: Sequence[Arm], role: str, refused: Mapping[str, str]
) -> go.Scatter:
    """Return the counts of latents of a role that were lost, in a column on the right."""
    rows = shares[shares["role"] == role].set_index("variant").to_dict("index")
    is_control = role == "control"
    kind, shift = (" random", 0.2) if is_control else ("", -0.2)
    places = {arm.label: place for place, arm in enumerate(arms) if arm.label in rows}
    return go.Scatter(
        x=[103] * len(places),
        y=[place + shift for place in places.values()],
        mode="text",
        text=[
            f"{_span(rows[label])} of {rows[label]['n']}{kind}"
            + (f"; refuses {refused[label]}" if label in refused else "")
            for label in places
        ],
        textposition="middle right",
        textfont={"size": 12},
        hoverinfo="skip",
    )


def _span(row: Mapping[Hashable, Any]) -> str:
    fewest, most = int(row["fewest"]), int(row["most"])
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _lost_title(shares: pd.DataFrame, arms: Sequence[Arm]) -> str:
    value = {(row["role"], row["variant"]): row["value"] for row in shares.to_dict("records")}
    named = by_label([arm for arm in arms if ("protected", arm.label) in value])
    if not named:
        return "No safety features were measured in these runs"
    high, low = extremes(pd.Series({label: value["protected", label] for label in named}))
    # The claim's own pair where it is in view, else the two ends.
    pair = ["sft", "cwac"] if {"sft", "cwac"} <= named.keys() else [high, low]
    parts = [
        f"{named[one].title} {percent(value['protected', one])} "
        f"(random latents {percent(value.get(('control', one)))})"
        for one in dict.fromkeys(pair)
    ]
    return f"Safety features lost: {'; '.join(parts)}"

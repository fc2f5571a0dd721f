"""Harmful score over poison ratios."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.holding import GREEDY, LOW
from cwac.arms import BASELINE, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import arm_label, order, percent, titled
from cwac.figures.results.harm import harm_axis, harm_title, root, root_bars
from cwac.figures.results.points import MOST, OTHERS
from cwac.figures.style import axis_title


def poison_figure(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw harmful score against poison ratio, a line per arm, the first `MOST` in colour.

    The ratios stand at equal distances, and the arms beside each other at each, so that small
    ratios and intervals that coincide can be told apart.
    """
    title = axis_title("Poison ratio", "share of the training examples; evenly spaced")
    figure = style.blank_figure(title, harm_title())
    arms = order(in_order(arms), table)
    ratios = sorted(table["poison_ratio"].unique())
    beside = 0.1 * min(len(ratios), 5) / max(len(arms), 6)
    coloured = _poison_colours(table, arms, ratios)
    # Grey lines first: the coloured ones lie over them.
    for number, arm in sorted(enumerate(arms), key=lambda item: item[1].label in coloured):
        part = table[table["variant"] == arm.label].sort_values("poison_ratio")
        look = style.arm_style(arm)
        if arm.label not in coloured:
            look = replace(look, colour=OTHERS, dash="solid", symbol="circle")
        shift = beside * (number - (len(arms) - 1) / 2)
        figure.add_scatter(
            x=[ratios.index(ratio) + shift for ratio in part["poison_ratio"]],
            y=root(part["value"]),
            mode="lines+markers",
            name=style.escape(look.label),
            showlegend=arm.label in coloured,
            line={"color": look.colour, "dash": look.dash, "width": 2},
            marker={"color": look.colour, "symbol": look.symbol, "size": 9},
            error_y=root_bars(
                part.rename(columns={"low": "value_low", "high": "value_high"}), "value"
            ),
            customdata=part[["low", "high", "n", "seeds", "poison_ratio", "value"]]
            * [100, 100, 1, 1, 1, 100],
            hovertemplate=f"{arm_label(arm, 40)}<br>poison ratio %{{customdata[4]:g}}: "
            "<b>%{customdata[5]:.1f} %</b> [%{customdata[0]:.1f}, %{customdata[1]:.1f}]<br>"
            "n = %{customdata[2]:.0f} requests, %{customdata[3]:.0f} seeds<extra></extra>",
        )
    figure.update_xaxes(
        tickvals=list(range(len(ratios))),
        ticktext=[f"{ratio:g}" for ratio in ratios],
        range=[-0.4, len(ratios) - 0.6],
    )
    figure.update_yaxes(**harm_axis())
    return titled(figure, _poison_title(table, ratios, arms), height=440 + 6 * len(arms))


def _poison_colours(
    table: pd.DataFrame, arms: Sequence[Arm], ratios: Sequence[float]
) -> frozenset[str]:
    """Return SFT, CWAC, those that hold best at the highest ratio, then CWAC's halves."""
    last = table[table["poison_ratio"] == ratios[-1]].sort_values("value")["variant"]
    present = [arm.label for arm in arms]
    ranked = [BASELINE, "cwac", *list(last)[:3], "weight_only", "activation_only", *present]
    return frozenset([label for label in dict.fromkeys(ranked) if label in present][:MOST])


def _poison_title(table: pd.DataFrame, ratios: Sequence[float], arms: Sequence[Arm]) -> str:
    rows = table[table["poison_ratio"] == ratios[-1]].set_index("variant")
    last = rows["value"]
    kept = [arm for arm in arms if last.get(arm.label, 1.0) <= LOW]
    s = "s" if len(kept) == 1 else ""
    text = f"{len(kept)} of {len(last)} arms stay{s} at or below {100 * LOW:.0f} % harmful score "
    text += f"({GREEDY}) with {100 * ratios[-1]:g} % poison"
    if 0 < len(kept) <= MOST:
        return f"{text}: {', '.join(arm.title for arm in kept)}"
    if not kept and len(last) > 1:
        best = next(arm for arm in arms if arm.label == last.idxmin())
        place = last.index.get_loc(best.label)
        value, low, high = rows[["value", "low", "high"]].to_numpy(dtype=float)[place]
        text += (
            f"; {best.title} complies least, with {percent(value)} [{100 * low:.0f}, "
            f"{100 * high:.0f}]"
        )
    return text

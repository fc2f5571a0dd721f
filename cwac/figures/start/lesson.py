"""The lesson's figures: few rows, large type, for a screen that a room looks at."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.dominance import AXES
from cwac.analysis.outcomes import interval_text
from cwac.analysis.seeds import seeds_text
from cwac.arms import Arm
from cwac.figures.panels import arm_label, order, panels, percent, titled
from cwac.figures.style import GREY, arm_style, axis_title, escape
from cwac.rates import RATES

LARGE: Final = 16
_ROOM: Final = 0.16
"""Share of the axis left free for the numbers at the ends of bars."""


def large(figure: go.Figure) -> go.Figure:
    """Return a figure with type that can be read from the back of a room."""
    figure.update_xaxes(tickfont_size=LARGE, title_font_size=LARGE)
    figure.update_yaxes(tickfont_size=LARGE, title_font_size=LARGE)
    figure.update_annotations(font_size=LARGE)
    figure.update_traces(textfont_size=LARGE, selector={"type": "bar"})
    figure.update_layout(title_font_size=LARGE + 1, legend_font_size=LARGE)
    return figure


def share_bars(
    rows: pd.DataFrame,
    title: str,
    axis: str,
    arms: Mapping[str, Arm],
    *,
    chance: float | None = None,
) -> go.Figure:
    """Draw a share per row, with its interval, its number and, where there is one, chance.

    Parameters
    ----------
    rows : DataFrame
        ``variant`` (the row's name where it is no arm), ``value``, ``low``, ``high``: fractions;
        with ``seeds`` the ends are the lowest and the highest seed, without a 95 % interval.
    axis : str
        The axis title, with its unit.
    arms : mapping of str to Arm
        What the variants are, by label.
    chance : float, optional
        A fraction, drawn as a dashed line.
    """
    names = rows["variant"].tolist()
    labels = [arm_label(arms[n], 24) if n in arms else escape(n) for n in names]
    told = seeds_text if "seeds" in rows else interval_text
    figure = go.Figure(
        go.Bar(
            orientation="h",
            x=100 * rows["value"],
            y=labels,
            width=0.55,
            marker_color=[arm_style(arms[n]).colour if n in arms else GREY for n in names],
            error_x=_whiskers(rows),
            customdata=[told(row) for row in rows.to_dict("records")],
            hovertemplate="%{y}: %{customdata}<extra></extra>",
        )
    )
    ends = rows[["value", "high"]].max(axis="columns")
    figure.add_scatter(
        x=100 * ends,
        y=labels,
        mode="text",
        text=[f"  {percent(value)}" for value in rows["value"]],
        textposition="middle right",
        textfont_size=LARGE,
        hoverinfo="skip",
    )
    top = max(float(ends.max()), chance or 0.0)
    figure.update_xaxes(title=axis, range=[0, 100 * top * (1 + _ROOM) or 1.0])
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(showlegend=False)
    titled(figure, title, height=120 + 58 * len(rows), width=62)
    if chance is not None:
        figure.add_vline(
            x=100 * chance,
            line={"color": GREY, "dash": "dash", "width": 2},
            annotation={"text": f"chance {percent(chance)}", "yanchor": "bottom"},
        )
        figure.update_layout(margin_t=figure.layout.margin.t + 24)
    return large(figure)


def cost_panels(rates: pd.DataFrame, title: str, arms: Sequence[Arm]) -> go.Figure:
    """Draw harm, task accuracy and look-alikes answered side by side, a row per arm.

    Parameters
    ----------
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.
    arms : sequence of Arm
        From top to bottom.
    """
    rows = order(arms, rates)
    figure, places = panels([RATES[axis].title for axis in AXES], columns=len(AXES))
    for axis, (row, column) in zip(AXES, places, strict=True):
        mine = rates[rates["rate"] == axis].set_index("variant")
        known = [arm for arm in rows if arm.label in mine.index]
        part = mine.loc[[arm.label for arm in known]]
        looks = [arm_style(arm) for arm in known]
        figure.add_trace(
            go.Scatter(
                x=100 * part["value"],
                y=[arm_label(arm, 24) for arm in known],
                mode="markers+text",
                text=[percent(value) for value in part["value"]],
                textposition="top center",
                textfont_size=LARGE - 3,
                marker={
                    "color": [look.colour for look in looks],
                    "symbol": [look.symbol for look in looks],
                    "size": 13,
                },
                error_x=_whiskers(part),
                customdata=part[["low", "high", "n"]],
                hovertemplate="%{y}: <b>%{x:.1f} %</b> [%{customdata[0]:.1%}, %{customdata[1]:.1%}]"
                "<br>n = %{customdata[2]}<extra></extra>",
                # The numbers of 0 and 100 % stand at the edge of their panel.
                cliponaxis=False,
                showlegend=False,
            ),
            row=row,
            col=column,
        )
        way = axis_title("%", direction=RATES[axis].direction, across=True)
        figure.update_xaxes(title=way, row=row, col=column)
    figure.update_xaxes(range=[-8, 108], tickvals=[0, 50, 100])
    names = [arm_label(arm, 24) for arm in rows]
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], range=[-0.6, len(rows)])
    return large(titled(figure, title, height=110 + 52 * len(rows), width=62))


def _whiskers(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": 100 * (rows["high"] - rows["value"]),
        "arrayminus": 100 * (rows["value"] - rows["low"]),
        "thickness": 2,
        "width": 6,
    }

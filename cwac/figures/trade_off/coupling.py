"""The 2 x 2 table of CWAC's two halves, drawn: a section of the page like its three neighbours."""

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import title_of
from cwac.figures import style
from cwac.figures.panels import titled
from cwac.figures.trade_off.points import HARM, bars


def coupling_figure(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw the 2 x 2 table: weight half off and on, a line per state of the activation half."""
    figure = style.blank_figure("Weight half (projection out of the safety subspace)", HARM)
    arms = table[table["arm"] != "expected"]
    for state, colour, dash in (("off", "#D55E00", "solid"), ("on", "#009E73", "dash")):
        part = arms[arms["activation"] == state]
        figure.add_scatter(
            x=part["weight"],
            y=100 * part["value"],
            mode="lines+markers",
            name=f"activation half {state}",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"color": colour, "size": 11, "symbol": "circle" if state == "on" else "square"},
            error_y=bars(part.rename(columns={"low": "value_low", "high": "value_high"}), "value"),
            customdata=part.assign(arm=part["arm"].map(title_of))[
                ["arm", "low", "high", "n", "seeds"]
            ],
            hovertemplate="%{customdata[0]}: <b>%{y:.1f} %</b> [%{customdata[1]:.1%}, "
            "%{customdata[2]:.1%}]<br>n = %{customdata[3]} requests, %{customdata[4]} seeds"
            "<extra></extra>",
        )
    both = table[table["arm"] == "expected"]
    figure.add_scatter(
        x=both["weight"],
        y=100 * both["value"],
        mode="markers",
        name="both, if odds ratios multiplied",
        marker={"color": style.GREY, "symbol": "star-open", "size": 14, "line": {"width": 2}},
        customdata=both[["n", "seeds"]],
        hovertemplate="both halves, if their odds ratios multiplied: <b>%{y:.1f} %</b><br>"
        "n = %{customdata[0]} requests, %{customdata[1]} seeds<extra></extra>",
    )
    figure.update_yaxes(range=[-4, 104])
    return titled(figure, title, height=380)

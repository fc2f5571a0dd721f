"""Methods' harmful scores at one task accuracy, or another cost, or more."""

from collections.abc import Mapping
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.operating import ACCURACY
from cwac.analysis.operating_words import matched_title
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import arm_label, titled, wrapped
from cwac.figures.results.harm import harm_axis, harm_title, root, root_bars

ROWS: Final = 20


def matched_figure(
    table: pd.DataFrame, arms: Mapping[str, Arm], target: float, cost: str = ACCURACY
) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy (or other `cost`) or more.

    Filled where it is interpolated between two strengths.
    """
    known = table.dropna(subset=["value"]).sort_values("value")
    rest = len(known) - ROWS
    known = known.head(ROWS)
    ends = known.rename(columns={"low": "value_low", "high": "value_high"})
    figure = style.blank_figure(harm_title(across=True), "")
    for place, row in enumerate(known.to_dict("records")):
        arm = arms[row["curve"]]
        look = style.arm_style(arm)
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        filled = row["how"] == "interpolated"
        figure.add_scatter(
            x=[root(row["value"])],
            y=[wrapped(look.label, 30)],
            mode="markers",
            marker={
                "color": look.colour,
                "symbol": "circle" if filled else "circle-open",
                "size": 11,
            },
            error_x=root_bars(ends.iloc[[place]], "value") | {"thickness": 2, "width": 5},
            hovertemplate=(
                f"{arm_label(arm, 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>"
                f"{row['how']}: {style.escape(row['detail'])}<br>"
                f"n = {row['n']} requests, {row['seeds']} seeds<extra></extra>"
            ),
        )
    figure.update_xaxes(**harm_axis())
    figure.update_yaxes(title="Method", autorange="reversed")
    figure.update_layout(showlegend=False)
    title = matched_title(table, arms, target, cost)
    title += f" (the {ROWS} lowest; {rest} more in the table)" if rest > 0 else ""
    return titled(figure, title, height=110 + 30 * max(len(known), 1))

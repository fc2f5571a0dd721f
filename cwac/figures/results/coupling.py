"""The 2 x 2 table of CWAC's two halves, drawn: a section of the page like its three neighbours."""

from dataclasses import dataclass
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import title_of
from cwac.figures import style
from cwac.figures.panels import titled
from cwac.figures.style import axis_title, rate_axis


@dataclass(frozen=True)
class Scale:
    """What the four arms are measured by, and how it is written.

    Attributes
    ----------
    factor : float
        From a table's values to the axis.
    digits : str
        Format of a number on the axis.
    """

    axis: str
    factor: float
    digits: str
    unit: str
    range: tuple[float, float] | None = None


MARGINS: Final = Scale(
    axis_title("Refusal log-odds", "nats") + " ↑ safer", factor=1, digits=".2f", unit="nats"
)
RATES: Final = Scale(
    rate_axis("harmful_score"), factor=100, digits=".1f", unit="%", range=(-4, 104)
)
_ALONE: Final = "both, without interaction"
"""What the star stands for."""


def coupling_figure(table: pd.DataFrame, title: str, scale: Scale) -> go.Figure:
    """Draw the 2 x 2 table: weight half off and on, a line per state of the activation half.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.coupling``: ``margin_table`` or ``coupling_table``.
    """
    figure = style.blank_figure("Weight half (projection out of the safety subspace)", scale.axis)
    table = table.assign(**{name: scale.factor * table[name] for name in ("value", "low", "high")})
    arms = table[table["arm"] != "expected"]
    for state, colour, dash in (("off", "#D55E00", "solid"), ("on", "#009E73", "dash")):
        part = arms[arms["activation"] == state]
        figure.add_scatter(
            x=part["weight"],
            y=part["value"],
            mode="lines+markers",
            name=f"activation half {state}",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"color": colour, "size": 11, "symbol": "circle" if state == "on" else "square"},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": part["high"] - part["value"],
                "arrayminus": part["value"] - part["low"],
                "thickness": 1,
                "width": 3,
            },
            customdata=part.assign(arm=part["arm"].map(title_of).map(style.escape))[
                ["arm", "low", "high", "n", "seeds"]
            ],
            hovertemplate=f"%{{customdata[0]}}: <b>%{{y:{scale.digits}}} {scale.unit}</b> "
            f"[%{{customdata[1]:{scale.digits}}}, %{{customdata[2]:{scale.digits}}}]<br>"
            "n = %{customdata[3]} requests, %{customdata[4]} seeds<extra></extra>",
        )
    both = table[table["arm"] == "expected"]
    figure.add_scatter(
        x=both["weight"],
        y=both["value"],
        mode="markers",
        name=_ALONE,
        marker={"color": style.GREY, "symbol": "star-open", "size": 14, "line": {"width": 2}},
        customdata=both[["n", "seeds"]],
        hovertemplate=f"{_ALONE}: <b>%{{y:{scale.digits}}} {scale.unit}</b><br>"
        "n = %{customdata[0]} requests, %{customdata[1]} seeds<extra></extra>",
    )
    if scale.range is not None:
        figure.update_yaxes(range=list(scale.range))
    return titled(figure, title, height=380)

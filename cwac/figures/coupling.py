"""Whether CWAC's two halves reinforce each other: the 2 x 2 table, its test and its figure."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.arms import title_of
from cwac.figures import style
from cwac.figures.panels import titled
from cwac.figures.trade_off import HARM, bars
from cwac.statistics import Interaction, Outcomes, hierarchical_bootstrap, interaction, logit, rate

FOUR: Final = ("sft", "weight_only", "activation_only", "cwac")
"""Neither half, the weight half, the activation half, both."""


def coupling(arms: Mapping[str, Outcomes]) -> Interaction:
    """Return the interaction of the weight and the activation half.

    Parameters
    ----------
    arms : mapping of str to Outcomes
        Compliance with harmful requests of the four arms `FOUR`.
    """
    return interaction(*(arms[name] for name in FOUR))


def coupling_sentence(found: Interaction) -> str:
    """Return what the interaction says, and no more."""
    numbers = (
        f"{found.value:+.2f} nats [{found.low:+.2f}, {found.high:+.2f}], p = {found.p:.2g}; as a "
        f"difference of rates {100 * found.points:+.1f} points "
        f"[{100 * found.points_low:+.1f}, {100 * found.points_high:+.1f}]"
    )
    if found.high < 0:
        said = "The two halves reinforce each other"
    elif found.low > 0:
        said = "The two halves overlap: together they do less than their separate effects add up to"
    else:
        said = "Neither reinforcement nor overlap of the two halves is shown"
    return f"{said}: interaction {numbers}."


def coupling_table(arms: Mapping[str, Outcomes]) -> pd.DataFrame:
    """Return the four arms' rates, and what odds that multiply would give for both halves.

    Returns
    -------
    DataFrame
        ``arm, weight, activation`` (on or off), ``value, low, high, n, seeds``; the last row is
        ``expected`` and has no interval.
    """
    draws = hierarchical_bootstrap({name: arms[name] for name in FOUR})
    rows: list[tuple[Any, ...]] = []
    for name in FOUR:
        own = rate(arms[name], draws=draws[name])
        on = ("off" if name in {"sft", "activation_only"} else "on",
              "off" if name in {"sft", "weight_only"} else "on")  # fmt: skip
        rows.append((name, *on, own.value, own.low, own.high, own.n, own.seeds))
    n, seeds = rows[-1][-2:]
    odds = {name: logit(np.asarray(arms[name].rate), n) for name in FOUR}
    added = odds["weight_only"] + odds["activation_only"] - odds["sft"]
    expected = float(1 / (1 + np.exp(-added)))
    rows.append(("expected", "on", "on", expected, np.nan, np.nan, n, seeds))
    columns = ["arm", "weight", "activation", "value", "low", "high", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


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


def reported_couplings(settings: pd.DataFrame) -> pd.DataFrame:
    """Return the interaction in the paper's own table 5, from means over its printed cells.

    Parameters
    ----------
    settings : DataFrame
        ``reported.settings(..., "harmful_score")``.

    Returns
    -------
    DataFrame
        ``setting, logit`` (nats) and ``points`` (per cent); single runs, without intervals.
    """
    four = settings.dropna(subset=list(FOUR))
    rates = four[list(FOUR)].astype(float)
    odds = np.log(rates / (100 - rates))
    signs = np.array([1, -1, -1, 1])
    columns = {
        "setting": list(four.index),
        "logit": (odds * signs).sum(axis=1).to_numpy(),
        "points": (rates * signs).sum(axis=1).to_numpy(),
    }
    return pd.DataFrame(columns)

"""Figures of the trade-off: operating points, matched accuracy, poison ratios, the 2 x 2 table."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures import theme
from cwac.figures.outcomes import outcomes_of
from cwac.figures.panels import arm_label, percent, titled
from cwac.figures.theme import ALIGNED, axis_title
from cwac.statistics import Interaction, Outcomes, hierarchical_bootstrap, interaction, logit, rate

HARM: Final = axis_title("Harmful score", "%", "lower")
FOUR: Final = ("sft", "weight_only", "activation_only", "cwac")
"""Neither half, the weight half, the activation half, both."""


def _bars(part: pd.DataFrame, name: str) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": 100 * (part[f"{name}_high"] - part[name]),
        "arrayminus": 100 * (part[name] - part[f"{name}_low"]),
        "thickness": 1,
        "width": 3,
    }


def _style(curve: str, curves: Sequence[str]) -> theme.ArmStyle:
    return theme.arm_style(curve, curves)


def operating_figure(points: pd.DataFrame, target: float | None = None) -> go.Figure:
    """Draw harmful score against task accuracy, a line per curve in the order of its strengths.

    Parameters
    ----------
    points : DataFrame
        From ``operating.operating``.
    target : float, optional
        The task accuracy at which curves are compared, a fraction.
    """
    figure = theme.blank_figure(axis_title("Task accuracy", "%", "higher"), HARM)
    curves = theme.arm_order(points["curve"])
    for curve in curves:
        part = points[points["curve"] == curve].sort_values("strength")
        style = _style(curve, curves)
        joined = part["strength"].notna().sum() > 1
        figure.add_scatter(
            x=100 * part["accuracy"],
            y=100 * part["harmful"],
            mode="lines+markers" if joined else "markers",
            name=theme.escape(style.label),
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"color": style.colour, "symbol": style.symbol, "size": 10},
            error_x=_bars(part, "accuracy"),
            error_y=_bars(part, "harmful"),
            customdata=[[_hover(row)] for row in part.to_dict("records")],
            hovertemplate="%{customdata[0]}<extra></extra>",
        )
    front = points[points["front"]].sort_values(["accuracy", "harmful"])
    figure.add_scatter(
        x=100 * front["accuracy"],
        y=100 * front["harmful"],
        mode="lines",
        name="Pareto front",
        line={"color": theme.GREY, "dash": "dot", "width": 3},
        hoverinfo="skip",
    )
    if target is not None:
        figure.add_vline(x=100 * target, line={"color": theme.GREY, "dash": "dash", "width": 1})
    figure.update_yaxes(range=[-4, 104])
    return titled(figure, _front_title(points), height=520)


def _hover(row: Mapping[Hashable, Any]) -> str:
    knob = f"<br>{theme.escape(row['knob'])} = {row['strength']:g}" if row["knob"] and np.isfinite(
        row["strength"]) else ""  # fmt: skip
    lines = [
        f"{what} <b>{percent(row[name], 1)}</b> [{percent(row[f'{name}_low'], 1)}, "
        f"{percent(row[f'{name}_high'], 1)}], n = {row[f'{name}_n']} {counted}"
        for name, what, counted in (
            ("harmful", "harmful score", "requests"),
            ("accuracy", "task accuracy", "examples"),
        )
    ]
    seeds = "" if row["variant"] == ALIGNED else f"<br>{row['seeds']} seeds"
    front = "<br>on the Pareto front" if row["front"] else ""
    return f"{arm_label(row['variant'], 40)}{knob}<br>{'<br>'.join(lines)}{seeds}{front}"


def _front_title(points: pd.DataFrame) -> str:
    front = points[points["front"]]
    tuned = int((points["variant"] != ALIGNED).sum())
    curves = theme.arm_order(front["curve"])
    named = ", ".join(curves) if len(curves) <= 4 else f"{len(curves)} methods"
    return f"{len(front)} of {tuned} operating points are on the Pareto front: {named}"


def matched_figure(table: pd.DataFrame, target: float) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy; filled where it was interpolated."""
    told = table.dropna(subset=["value"]).sort_values("value")
    curves = theme.arm_order(table["curve"])
    figure = theme.blank_figure(HARM, "")
    for row in told.to_dict("records"):
        style = _style(row["curve"], curves)
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        filled = row["how"] == "interpolated"
        figure.add_scatter(
            x=[value],
            y=[arm_label(style.label)],
            mode="markers",
            marker={
                "color": style.colour,
                "symbol": "circle" if filled else "circle-open",
                "size": 11,
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - value],
                "arrayminus": [value - low],
                "thickness": 2,
                "width": 5,
            },
            hovertemplate=(
                f"{arm_label(row['curve'], 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>"
                f"{row['how']}: {theme.escape(row['detail'])}<br>"
                f"n = {row['n']} requests, {row['seeds']} seeds<extra></extra>"
            ),
        )
    figure.update_xaxes(range=[-4, 104])
    figure.update_yaxes(title="Method", autorange="reversed")
    figure.update_layout(showlegend=False)
    title = f"Harmful score at {100 * target:.0f} % task accuracy: {len(told)} of {len(table)} "
    return titled(figure, title + "methods reach it", height=110 + 30 * max(len(told), 1))


def poison_table(responses: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's harmful score per poison ratio, for arms that have several.

    Parameters
    ----------
    responses : DataFrame
        With ``variant``, ``seed`` and ``poison_ratio``.

    Returns
    -------
    DataFrame
        ``variant, poison_ratio, value, low, high, n, seeds``; rates are fractions.
    """
    rows = []
    for ratio, part in responses.groupby("poison_ratio"):
        arms = outcomes_of(part, "harmful_score")
        draws = hierarchical_bootstrap(arms)
        for variant, outcomes in arms.items():
            found = rate(outcomes, draws=draws[variant])
            rows.append((variant, ratio, found.value, found.low, found.high, found.n, found.seeds))
    columns = ["variant", "poison_ratio", "value", "low", "high", "n", "seeds"]
    table = pd.DataFrame(rows, columns=columns)
    counts = table.groupby("variant")["poison_ratio"].transform("size")
    return table[counts > 1].reset_index(drop=True)


def poison_figure(table: pd.DataFrame) -> go.Figure:
    """Draw harmful score against poison ratio, a line per arm."""
    title = axis_title("Poison ratio", "share of the training examples")
    figure = theme.blank_figure(title, HARM)
    arms = theme.arm_order(table["variant"])
    for arm in arms:
        part = table[table["variant"] == arm].sort_values("poison_ratio")
        style = _style(arm, arms)
        figure.add_scatter(
            x=part["poison_ratio"],
            y=100 * part["value"],
            mode="lines+markers",
            name=theme.escape(style.label),
            line={"color": style.colour, "dash": style.dash, "width": 2},
            marker={"color": style.colour, "symbol": style.symbol, "size": 9},
            error_y=_bars(part.rename(columns={"low": "value_low", "high": "value_high"}), "value"),
            customdata=part[["low", "high", "n", "seeds"]] * [100, 100, 1, 1],
            hovertemplate=f"{arm_label(arm, 40)}<br>poison ratio %{{x}}: <b>%{{y:.1f}} %</b> "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<br>n = %{customdata[2]:.0f} requests, "
            "%{customdata[3]:.0f} seeds<extra></extra>",
        )
    ratios = sorted(table["poison_ratio"].unique())
    figure.update_xaxes(tickvals=ratios)
    figure.update_yaxes(range=[-4, 104])
    title = f"{len(arms)} arms at {len(ratios)} poison ratios, {ratios[0]:g} to {ratios[-1]:g}"
    return titled(figure, f"Harmful score of {title}", height=420)


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
    figure = theme.blank_figure("Weight half (projection out of the safety subspace)", HARM)
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
            error_y=_bars(part.rename(columns={"low": "value_low", "high": "value_high"}), "value"),
            customdata=part[["arm", "low", "high", "n", "seeds"]],
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
        marker={"color": theme.GREY, "symbol": "star-open", "size": 14, "line": {"width": 2}},
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

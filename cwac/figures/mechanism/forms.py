"""Forms that interventions are drawn in: what was done coloured, what it is compared with grey."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.interventions import of_arm, refused
from cwac.analysis.seeds import ends_text
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism import sentences
from cwac.figures.panels import titled, wrapped
from cwac.intervention_words import INTERVENTION_WORDS

SHARE: Final = "share of the lost log-odds that is back (%)"
LEFT: Final = "what is left of the lost log-odds (%)"
"""Of what is done to the aligned model."""
_LABEL: Final = 50
"""Characters of a bar's label on a line."""
NATS: Final = "refusal log-odds (nats)"
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "star", "cross")
_DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")


def bars_by_name(
    rows: pd.DataFrame, arm: Arm, name: str, table: pd.DataFrame | None = None
) -> go.Figure:
    """Draw a bar per part and trial; the form of what has no natural order.

    Parameters
    ----------
    table : DataFrame, optional
        `cwac.analysis.interventions.of_arm`, chosen and put in order; all of it without.
    """
    table = of_arm(rows, arm, name) if table is None else table
    several = table["part"].nunique() > 1
    labels = [
        wrapped(f"{part}: {trial}" if several else trial, _LABEL)
        + (f" ({dose:g})" if np.isfinite(dose) else "")
        for part, trial, dose in zip(table["part"], table["trial"], table["dose"], strict=True)
    ]
    figure = go.Figure()
    for control in (False, True):
        chosen = table["control"].to_numpy() == control
        mine = [label for label, here in zip(labels, chosen, strict=True) if here]
        figure.add_trace(bars(table[chosen], mine, arm, name, scale=scale_of(table)))
    figure.update_xaxes(title=unit_of(table, name))
    figure.update_yaxes(
        categoryorder="array", categoryarray=labels, autorange="reversed", showgrid=False
    )
    lines = max((label.count("<br>") + 1 for label in labels), default=1)
    height = 140 + (10 + 17 * lines) * len(labels)
    return titled(figure, sentences.of(name, rows, arm), height=height)


def bars(
    drawn: pd.DataFrame, labels: Sequence[str], arm: Arm, name: str, *, scale: float
) -> go.Bar:
    """Return bars of an intervention's rows, all of what was done or all of its controls."""
    is_control = bool(drawn["control"].any())
    return go.Bar(
        x=scale * drawn["y"],
        y=list(labels),
        orientation="h",
        name=grey_of(name) if is_control else style.escape(_done(name, arm)),
        marker={"color": style.GREY if is_control else style.arm_style(arm).colour},
        error_x=_whiskers(drawn, scale),
        customdata=_hover(drawn),
        hovertemplate="%{customdata[0]}<extra></extra>",
    )


def lines_by_layer(rows: pd.DataFrame, arm: Arm, name: str) -> go.Figure:
    """Draw a line per trial over the layers."""
    table = of_arm(rows, arm, name).dropna(subset=["layer"])
    figure = go.Figure()
    draw_lines(figure, table, "layer", arm, grey=grey_of(name))
    figure.update_xaxes(title="layer (0 = first)", dtick=1 if table["layer"].nunique() < 16 else 5)
    figure.update_yaxes(title=unit_of(table))
    return titled(figure, sentences.of(name, rows, arm), height=430)


def doses_axis(figure: go.Figure, table: pd.DataFrame, title: str) -> None:
    """Mark the doses on the axis, a logarithmic one where they double and double."""
    doses = sorted(table["dose"].unique())
    many = len(doses) > 2 and min(doses) > 0 and max(doses) / min(doses) > 16
    figure.update_xaxes(title=title, tickvals=doses, type="log" if many else "linear")


def draw_lines(
    figure: go.Figure,
    table: pd.DataFrame,
    along: str,
    arm: Arm,
    place: Sequence[int] = (),
    *,
    grey: str = "control",
) -> None:
    """Add a line per trial: solid ones of what was done, open grey marks of its controls.

    Parameters
    ----------
    along : str
        The column that they run over.
    place : sequence of int
        Row and column of a panel.
    """
    scale = scale_of(table)
    colours = [style.arm_style(arm).colour, *(h for h in style.HUES)]
    done = dict.fromkeys(table.loc[~table["control"], "trial"])
    controls = dict.fromkeys(table.loc[table["control"], "trial"])
    for number, trial in enumerate([*done, *controls]):
        is_control = trial in controls
        line = table[table["trial"] == trial].sort_values(along)
        place_in_kind = number - len(done) if is_control else number
        colour = style.GREY if is_control else colours[place_in_kind % len(colours)]
        figure.add_trace(
            go.Scatter(
                x=line[along],
                y=scale * line["y"],
                error_y=_whiskers(line, scale),
                mode="lines+markers",
                name=style.escape(f"{grey}: {trial}" if is_control else trial),
                line={
                    "color": colour,
                    "width": 2,
                    "dash": _DASHES[(place_in_kind + 2 * is_control) % len(_DASHES)],
                },
                marker={
                    "color": colour,
                    "size": 8,
                    "symbol": _SYMBOLS[place_in_kind % len(_SYMBOLS)]
                    + ("-open" if is_control else ""),
                },
                customdata=_hover(line),
                hovertemplate="%{customdata[0]}<extra></extra>",
            ),
            *place,
        )


def _done(name: str, arm: Arm) -> str:
    """Return what is coloured in the legend of an intervention's bars."""
    if name not in INTERVENTION_WORDS:
        return f"done to {arm.title}"
    return f"{INTERVENTION_WORDS[name].short} of {arm.title}"


def grey_of(name: str) -> str:
    """Return what is grey in the legend of an intervention's figure."""
    return (
        "control"
        if name not in INTERVENTION_WORDS or INTERVENTION_WORDS[name].is_chance
        else "for comparison"
    )


def scale_of(table: pd.DataFrame) -> float:
    """Return the factor that shares are drawn with, 1 for nats."""
    return 100 if len(table) and bool(table["is_share"].all()) else 1


def unit_of(table: pd.DataFrame, name: str = "") -> str:
    """Return the axis' title of readings; a transplant leaves what others bring back."""
    if scale_of(table) != 100:
        return NATS
    return LEFT if name == "transplant" else SHARE


def _whiskers(rows: pd.DataFrame, scale: float) -> dict[str, Any]:
    low, high = (rows[name].astype(float).fillna(rows["y"]) for name in ("low", "high"))
    return {
        "type": "data",
        "symmetric": False,
        "array": (scale * (high - rows["y"])).tolist(),
        "arrayminus": (scale * (rows["y"] - low)).tolist(),
        "thickness": 1,
        "width": 3,
    }


def _hover(rows: pd.DataFrame) -> list[list[str]]:
    scale, unit = scale_of(rows), " %" if scale_of(rows) == 100 else ""
    lines = []
    for row in rows.to_dict("records"):
        where = style.escape(f"{row['part']}: {row['trial']}")
        dose = f" ({row['dose']:g})" if np.isfinite(row["dose"]) else ""
        low, high = (f"{scale * row[end]:.3g}" for end in ("low", "high"))
        interval = f" {ends_text(low, high, row['seeds'])}" if np.isfinite(row["low"]) else ""
        answers = refused(row)
        lines.append(
            [
                f"{where}{dose}<br><b>{scale * row['y']:.3g}{unit}</b>{interval}"
                f"<br>{row['over']}" + (f"<br>{answers}" if answers else "")
            ]
        )
    return lines

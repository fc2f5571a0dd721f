"""Operating points, and methods at one task accuracy."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.operating import ACCURACY, LOOKALIKES, RATES, REFERENCES, floor
from cwac.analysis.outcomes import interval_text
from cwac.arms import ALIGNED, BASELINE, Arm, in_order
from cwac.figures import style
from cwac.figures.panels import arm_label, percent, titled, wrapped
from cwac.figures.style import rate_axis
from cwac.rates import RATES as WORDS

HARM: Final = rate_axis("harmful_score")
LOW: Final = 0.05
"""The harmful score up to which titles say that an arm or a curve holds."""
MOST: Final = 6
"""Methods in colour: of more, readers cannot keep the colours apart."""
ROWS: Final = 20
GUTTER: Final = 0.24
"""Room for names to the right of the axis, as a share of the figure's width."""
OTHERS: Final = "#A7B0B9"
"""The colour of the methods beyond these."""


def bars(part: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return error bars in per cent from the columns ``<name>, <name>_low, <name>_high``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": 100 * (part[f"{name}_high"] - part[name]),
        "arrayminus": 100 * (part[name] - part[f"{name}_low"]),
        "thickness": 1,
        "width": 3,
    }


def _bars(part: pd.DataFrame, name: str, colour: str) -> dict[str, Any]:
    # Fifty full-coloured crosses would hide the curves that they belong to.
    return bars(part, name) | {"color": style.translucent(colour, 0.65), "thickness": 1.5}


def operating_figure(
    points: pd.DataFrame,
    arms: Mapping[str, Arm],
    target: float | None = None,
    coloured: Sequence[str] | None = None,
    cost: str = ACCURACY,
) -> go.Figure:
    """Draw harmful score against a cost: a few curves in colour with their names beside.

    Parameters
    ----------
    points : DataFrame
        From ``cwac.analysis.operating.operating``; of another cost, from ``against``.
    arms : mapping
        The arms of points and curves, by label.
    target : float, optional
        The task accuracy, or the other cost, at which curves are compared, a fraction.
    coloured : sequence of str, optional
        Labels of the curves that are named; all others are grey. The first `MOST` without it.
    cost : str
        One of ``operating.COSTS``.
    """
    short = RATES[cost]
    figure = style.blank_figure(rate_axis(cost, across=True), HARM)
    curves = in_order(arms[label] for label in points["curve"])
    tuned = [arm for arm in curves if not arm.is_aligned]
    wanted = [arm.label for arm in tuned][:MOST] if coloured is None else list(coloured)
    other = points[~points["curve"].isin([*wanted, ALIGNED.label])]
    if len(other):
        count = other["curve"].nunique()
        figure.add_scatter(**_markers(other, arms, short, OTHERS), name=f"{count} other methods")
    for curve in curves:
        part = points[points["curve"] == curve.label].sort_values("strength")
        if curve.label not in wanted and not curve.is_aligned:
            continue
        look = style.arm_style(curve)
        joined = part["strength"].notna().sum() > 1
        figure.add_scatter(
            **_markers(part, arms, short, look.colour, look.symbol, _sizes(part))
            | {"mode": "lines+markers" if joined else "markers"},
            name=style.escape(look.label),
            showlegend=curve.is_aligned,
            line={"color": look.colour, "dash": look.dash, "width": 2},
            error_x=_bars(part, short, look.colour),
            error_y=_bars(part, "harmful", look.colour),
        )
    front = points[points["front"]].sort_values([short, "harmful"])
    figure.add_scatter(
        x=100 * front[short],
        y=100 * front["harmful"],
        mode="lines",
        name="Pareto front",
        line={"color": style.GREY, "dash": "dot", "width": 3},
        hoverinfo="skip",
    )
    if target is not None:
        figure.add_vline(x=100 * target, line={"color": style.GREY, "dash": "dash", "width": 1})
    low = _leave_out_far_left(figure, points, short)
    _name_beside(figure, points[points["curve"].isin(wanted)], arms, short, low)
    figure.update_yaxes(range=[-4, 104])
    return titled(figure, _held_title(points, arms, cost), height=470)


def _markers(
    part: pd.DataFrame,
    arms: Mapping[str, Arm],
    across: str,
    colour: str,
    symbol: str = "circle",
    size: int | Sequence[int] = 7,
) -> dict[str, Any]:
    return {
        "x": 100 * part[across],
        "y": 100 * part["harmful"],
        "mode": "markers",
        # Plotly makes markers of several sizes translucent with a rim unless told not to.
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": size,
            "opacity": 1,
            "line": {"width": 0},
        },
        "customdata": [[_hover(row, arms[row["variant"]])] for row in part.to_dict("records")],
        "hovertemplate": "%{customdata[0]}<extra></extra>",
    }


def _name_beside(
    figure: go.Figure, named: pd.DataFrame, arms: Mapping[str, Arm], across: str, low: float
) -> None:
    """Write the names of curves right of the axis, each with a thin line to its default point."""
    # No more than half a marker's width beyond 100 %: nothing can be there.
    end = 100 + 0.012 * (100 - low)
    figure.update_xaxes(
        domain=[0, 1 - GUTTER], range=[low, end], tickvals=_ticks(low), showgrid=True
    )
    spots = []
    for curve, part in named.groupby("curve", sort=False):
        default = part[part["variant"] == curve]
        row = (default if len(default) else part.sort_values("harmful")).iloc[0]
        if 100 * row[across] >= low:
            spots.append((100 * row[across], 100 * row["harmful"], arms[str(curve)]))
    spots.sort(key=lambda spot: spot[1])
    names = [wrapped(style.arm_style(arm).label, 18) for _, _, arm in spots]
    lines = max((name.count("<br>") + 1 for name in names), default=1)
    gap = min(2.0 + 4.5 * lines, 100 / max(len(spots) - 1, 1))
    heights = spread([y for _, y, _ in spots], gap=gap, low=0.0, high=100.0)
    for (x, y, arm), name, height in zip(spots, names, heights, strict=True):
        look = style.arm_style(arm)
        figure.add_annotation(
            text=f'<span style="color:{look.colour}">\u25cf</span> {name}',
            x=x,
            y=y,
            ax=end + 0.03 * (end - low),
            ay=height,
            axref="x",
            ayref="y",
            xanchor="left",
            align="left",
            showarrow=True,
            arrowhead=0,
            # As bold and coloured as a curve, it would be read as one.
            arrowwidth=0.75,
            arrowcolor=style.GREY,
            standoff=7,
        )


def _ticks(low: float) -> list[float]:
    span = 100 - low
    step = next(step for step in (1, 2, 5, 10, 20, 25) if span / step <= 8 or step == 25)
    return [float(tick) for tick in range(0, 101, step) if tick >= low]


def spread(values: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Return ascending values moved apart by at least `gap`, as few steps away as it takes.

    Examples
    --------
    >>> spread([0.0, 1.0, 96.0, 97.0], gap=5, low=0, high=100)
    [0.0, 5.0, 95.0, 100.0]
    """
    places = list(values)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = max(min(places[i], ceiling), low)
        ceiling = places[i] - gap
    return places


def _sizes(part: pd.DataFrame) -> list[int]:
    """Return marker sizes: the strength that a method has by default is the large one."""
    return [12 if name == curve else 8 for name, curve in zip(part["variant"], part["curve"],
                                                               strict=True)]  # fmt: skip


def far_left(accuracy: "pd.Series[float]") -> "pd.Series[bool]":
    """Return which accuracies lie so far below the others that they would squeeze them.

    Those below Tukey's outer fence (three interquartile ranges beneath the lower quartile) that
    are also five points below the best, and those below half of the best.
    """
    low, high = accuracy.quantile([0.25, 0.75])
    best = accuracy.max()
    return (accuracy < min(low - 3 * (high - low), best - 0.05)) | (accuracy < best / 2)


def outside_sentence(
    points: pd.DataFrame, arms: Mapping[str, Arm], cost: str, lost: Sequence[str] = ()
) -> str:
    """Name the arms that the figure does not show at first, and why; empty where it shows all.

    Parameters
    ----------
    lost : sequence of str
        As of ``operating.Operating``.
    """
    left = points[far_left(points[RATES[cost]])]
    rates = dict(zip(left["variant"], left[RATES[cost]], strict=True))
    parts = {
        "Left of the axis": [f"{arm.title} ({percent(rates[arm.label])})"
                             for arm in in_order(arms[label] for label in rates)],
        "Not drawn, as they lost the task (accuracy below SFT's beyond both intervals)": [
            arm.title for arm in in_order(arms[label] for label in lost)
        ],
    }  # fmt: skip
    return " ".join(f"{why}: {', '.join(named)}." for why, named in parts.items() if named)


def variants_sentence(
    points: pd.DataFrame, everything: pd.DataFrame, arms: Mapping[str, Arm], cost: str
) -> str:
    """Name the variants that a figure of methods leaves out and whose numbers its title asks for.

    Parameters
    ----------
    points, everything : DataFrame
        What the figure shows and what there is, of `against` the same cost.
    """
    others = everything[~everything["variant"].isin(points["variant"])]
    held = others[_held(others, floor(everything, cost), cost)]
    named = [arm.title for arm in in_order(arms[label] for label in held["variant"])
             if not arm.control and not arm.idle]  # fmt: skip
    if not named:
        return ""
    return f"Variants left out that comply as little and reach as much: {', '.join(named)}."


def _held(points: pd.DataFrame, least: float | None, cost: str) -> "pd.Series[bool]":
    # By the interval's upper end: what reaches the line is not told from what lies above it.
    return (points["harmful"] <= LOW) & (points[f"{RATES[cost]}_high"] >= (least or 0.0))


def _leave_out_far_left(figure: go.Figure, points: pd.DataFrame, across: str) -> float:
    """Return where the axis begins: at the arms that learned the task; count those left of it."""
    learned = ~far_left(points[across])
    left = points[~learned]
    low = max(100 * float(points.loc[learned, across].min()) - 2, -2.0)
    if left.empty:
        return low
    # Short, as it stands among the points: `outside_sentence` names them beneath the figure.
    figure.add_annotation(
        text=f"\u2190 {len(left)} further left",
        x=0.01,
        y=0.36,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="middle",
        showarrow=False,
    )
    return low


def _hover(row: Mapping[Hashable, Any], arm: Arm) -> str:
    knob = f"<br>{style.escape(row['knob'])} = {row['strength']:g}" if row["knob"] and np.isfinite(
        row["strength"]) else ""  # fmt: skip
    lines = [
        f"{term} <b>{percent(row[name], 1)}</b> [{percent(row[f'{name}_low'], 1)}, "
        f"{percent(row[f'{name}_high'], 1)}], n = {row[f'{name}_n']:.0f} {counted}"
        for name, term, counted in (
            ("harmful", "harmful score", "requests"),
            ("accuracy", "task accuracy", "examples"),
            ("lookalikes", "look-alikes answered", "requests"),
        )
        if pd.notna(row[name])
    ]
    seeds = "" if arm.is_aligned else f"<br>{row['seeds']} seeds"
    front = "<br>on the Pareto front" if row["front"] else ""
    return f"{arm_label(arm, 40)}{knob}<br>{'<br>'.join(lines)}{seeds}{front}"


def _held_title(points: pd.DataFrame, arms: Mapping[str, Arm], cost: str) -> str:
    """Say how many defences hold harm low near the reference's rate, and what CWAC does."""
    defences = _defences(points["curve"])
    idle = [label for label, arm in arms.items() if arm.idle]
    tuned = points[points["curve"].isin(defences) & ~points["variant"].isin(idle)]
    least = floor(points, cost)
    kept = tuned[_held(tuned, least, cost)]
    curves = in_order(arms[label] for label in kept["curve"])
    text = f"{len(curves)} of {tuned['curve'].nunique()} defences comply with at most "
    text += f"{100 * LOW:.0f}\u00a0%"
    if least is not None:
        whose = "SFT's" if REFERENCES[cost] == BASELINE else "the aligned model's"
        # Inside an interval is not yet no loss: pairs of answers may tell what lies there apart.
        text += f" and reach, by their intervals, {percent(least)} {WORDS[cost].term}"
        text += f" (where {whose} begins)"
    mine = points[points["variant"] == "cwac"]
    alone = len(mine) > 0 and [arm.label for arm in curves] == ["cwac"]
    if 0 < len(curves) <= 4 and not alone:
        text += f": {', '.join(arm.title for arm in curves)}"
    if len(mine):
        row = mine.to_dict("records")[0]
        text += f"{', CWAC alone' if alone else '. CWAC'}: {_rate(row, 'harmful')} harm, "
        text += f"{_rate(row, 'accuracy')} accuracy"
        if pd.notna(row[RATES[LOOKALIKES]]):
            text += f", {_rate(row, RATES[LOOKALIKES])} of look-alikes answered"
    return text


def _defences(curves: "pd.Series[Any]") -> list[str]:
    """Return what titles count: neither plain fine-tuning nor the aligned model is a defence."""
    return [curve for curve in dict.fromkeys(curves) if curve not in (ALIGNED.label, BASELINE)]


def _rate(row: Mapping[Hashable, Any], name: str) -> str:
    return interval_text({part or "value": row[f"{name}{part and '_' + part}"]
                          for part in ("", "low", "high")})  # fmt: skip


def matched_figure(
    table: pd.DataFrame, arms: Mapping[str, Arm], target: float, cost: str = ACCURACY
) -> go.Figure:
    """Draw every curve's harmful score at one task accuracy (or other `cost`) or more.

    Filled where it is interpolated between two strengths.
    """
    known = table.dropna(subset=["value"]).sort_values("value")
    rest = len(known) - ROWS
    known = known.head(ROWS)
    figure = style.blank_figure(rate_axis("harmful_score", across=True), "")
    for row in known.to_dict("records"):
        arm = arms[row["curve"]]
        look = style.arm_style(arm)
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        filled = row["how"] == "interpolated"
        figure.add_scatter(
            x=[value],
            y=[wrapped(look.label, 22)],
            mode="markers",
            marker={
                "color": look.colour,
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
                f"{arm_label(arm, 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]<br>"
                f"{row['how']}: {style.escape(row['detail'])}<br>"
                f"n = {row['n']} requests, {row['seeds']} seeds<extra></extra>"
            ),
        )
    figure.update_xaxes(range=[-4, 104])
    figure.update_yaxes(title="Method", autorange="reversed")
    figure.update_layout(showlegend=False)
    title = _matched_title(table, arms, target, cost)
    title += f" (the {ROWS} lowest; {rest} more in the table)" if rest > 0 else ""
    return titled(figure, title, height=110 + 30 * max(len(known), 1))


def _matched_title(table: pd.DataFrame, arms: Mapping[str, Arm], target: float, cost: str) -> str:
    table = table[table["curve"].isin(_defences(table["curve"]))]
    # An interval that touches the target is no method that gets there: both are told apart.
    interpolated = table["how"] == "interpolated"
    reached = interpolated | ((table["how"] == "own point") & (table[RATES[cost]] >= target))
    touching = table.loc[(table["how"] == "own point") & ~reached, "curve"]
    title = f"Harmful score at {100 * target:.0f}\u00a0% {WORDS[cost].term} or more: the "
    title += f"point estimates of {int(reached.sum())} of {len(table)} defences reach it"
    if len(touching):
        few = len(touching) <= 4
        named = (
            ", ".join(arms[label].title for label in touching) if few else f"{len(touching)} others"
        )
        title += f"; only the interval does of {named}"
    return title

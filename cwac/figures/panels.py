"""What the figures of several pages share: small multiples, titles, axes, safe text."""

import math
import re
import textwrap
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cwac.arms import Arm
from cwac.figures import style

HIGHLIGHT: Final = "#E0245E"
"""What is selected or protected; no arm has this colour."""
HEADING: Final = "panel heading"
"""Name of the annotations that are panels' headings."""
FEW: Final = 4
"""Arms up to which a title names every one of them."""
_TITLE: Final = 15
"""Size of a figure's title, in pixels."""
NEUTRAL: Final = "#6B8FB5"
"""What is neither an arm, nor a control, nor selected."""


def extremes(values: "pd.Series[Any]") -> tuple[str, str]:
    """Return the labels of the largest and of the smallest value."""
    return str(values.idxmax()), str(values.idxmin())


def order(arms: Sequence[Arm], present: pd.DataFrame) -> list[Arm]:
    """Return the arms that have rows in `present`, in their order."""
    labels = set(present["variant"])
    return [arm for arm in arms if arm.label in labels]


def percent(value: float | None, digits: int = 0) -> str:
    r"""Return a fraction as a percentage, "not measured" for a missing one.

    Examples
    --------
    >>> percent(0.034).replace("\u00a0", " "), percent(None)
    ('3 %', 'not measured')
    """
    if value is None or math.isnan(value):
        return "not measured"
    return f"{100 * value:.{digits}f}\u00a0%"


def number(value: float | None) -> str:
    """Return a number with three significant digits, "not measured" for a missing one.

    Examples
    --------
    >>> number(0.12345), number(0.0), number(1.5e-7), number(float("nan"))
    ('0.123', '0', '1.5e-07', 'not measured')
    """
    if value is None or math.isnan(value):
        return "not measured"
    if value == 0:
        return "0"
    return f"{value:.3g}"


def safe(text: str, width: int = 70, limit: int = 400) -> str:
    """Return text a model or user wrote, wrapped and escaped for a hover box.

    Plotly reads tags in hover text, so nothing unescaped may reach it.
    """
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return "<br>".join(style.escape(line) for line in textwrap.wrap(cut, width) or [""])


def arm_label(arm: Arm, width: int = 22) -> str:
    """Return an arm's name broken into lines that fit an axis or a panel's heading.

    Examples
    --------
    >>> arm_label(Arm(method="cwac", changed={"projection": "gradient"}), 16)
    'CWAC<br>(projection=<br>gradient)'
    """
    return wrapped(arm.title, width)


def wrapped(text: str, width: int) -> str:
    """Return text broken into escaped lines: at spaces, and inside of a setting too long for one.

    Examples
    --------
    >>> wrapped("SafeGrad (harmful_batch=32, strength=7.5)", 20)
    'SafeGrad<br>(harmful_batch=32,<br>strength=7.5)'
    """
    parts: list[str] = []
    # A no-break space holds a number to its unit.
    for word in text.split(" "):
        parts += [f"{word} "] if len(word) <= width else re.split(r"(?<=[=,_])", f"{word} ")
    lines = [""]
    for part in parts:
        if lines[-1] and len(f"{lines[-1]}{part}".rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "<br>".join(style.escape(line.strip()) for line in lines)


def titled(figure: go.Figure, title: str, *, height: int, width: int = 96) -> go.Figure:
    """Give a figure its stating title, its height and a legend that covers no data.

    Colours of text and grid are left to ``style.dress``, which knows whether the page is dark.
    """
    lines = textwrap.wrap(title, width, break_on_hyphens=False) or [""]
    headings = [note for note in figure.layout.annotations if note.name == HEADING]
    highest = max((note.y for note in headings), default=0)
    heads = [str(n.text).count("<br>") + 1 for n in headings if n.y == highest]
    top = 24 + 20 * len(lines) + 15 * max(heads, default=0)
    # Pixels from the top edge, however tall the figure is drawn: full screen, as a slide. Plotly
    # moves a title that is anchored above down by 0.7 em, unless it has several lines.
    first = 22 if len(lines) > 1 else 22 - 0.7 * _TITLE
    figure.update_layout(
        title={
            "text": "<br>".join(style.escape(line) for line in lines),
            "font": {"size": _TITLE},
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": first},
        },
        height=height + top - 44,
        margin={"t": top, "l": 10, "r": 10, "b": 10},
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "title": {"text": ""},
        },
    )
    return figure


def panels(
    titles: Sequence[Arm | str],
    *,
    columns: int,
    gap: int = 60,
    panel: int = 200,
    side: float = 0.09,
    letters: int | None = None,
    **options: Any,
) -> tuple[go.Figure, list[tuple[int, int]]]:
    """Return small multiples, at most `columns` side by side, and each panel's row and column.

    Parameters
    ----------
    gap, panel : int
        Pixels between rows and height of a panel: plotly wants the gap as a share of both.
    side : float
        Gaps between panels side by side, as a share of the width; wide where each has its axis.
    letters : int, optional
        Characters of a heading's line; what a page's width has room for, unless stated.
    """
    rows = math.ceil(len(titles) / columns)
    # Rows as even as can be: four panels stand two by two, not three and one.
    width = math.ceil(len(titles) / rows)
    places = [(i // width + 1, i % width + 1) for i in range(len(titles))]
    options.setdefault("shared_xaxes", "all")
    options.setdefault("shared_yaxes", "all")
    specs: list[list[dict[str, Any] | None]] = [
        [{} if (row, column) in places else None for column in range(1, width + 1)]
        for row in range(1, rows + 1)
    ]
    figure = make_subplots(
        rows=rows,
        cols=width,
        subplot_titles=[
            wrapped(t.title if isinstance(t, Arm) else t, letters or max(54 // width, 16))
            for t in titles
        ],
        vertical_spacing=gap / (rows * panel + (rows - 1) * gap) if rows > 1 else 0,
        horizontal_spacing=side / width if width > 1 else 0,
        specs=specs,
        **options,
    )
    figure.update_annotations(font_size=12, name=HEADING)
    return figure, places


def outer_titles(
    figure: go.Figure, places: Sequence[tuple[int, int]], *, x: str | None, y: str | None
) -> None:
    """Title the axes at the left and below the lowest panel of each column only."""
    lowest = {column: max(r for r, c in places if c == column) for _, column in places}
    for row, column in places:
        if x is not None and row == lowest[column]:
            figure.update_xaxes(title=x, showticklabels=True, row=row, col=column)
        if y is not None and column == 1:
            figure.update_yaxes(title=y, row=row, col=column)


def log_axis(values: Iterable[float]) -> dict[str, Any]:
    """Return the options of a logarithmic axis whose labels can be read.

    Powers of ten where the values span two decades or more, otherwise 1, 2 and 5 within them;
    plotly's own choice crowds small digits between the powers.

    Examples
    --------
    >>> log_axis([0.001, 20.0])["dtick"]
    1
    >>> log_axis([0.15, 0.6])["ticktext"]
    ['0.1', '0.2', '0.5', '1']
    """
    shown = [value for value in values if value > 0 and math.isfinite(value)]
    axis: dict[str, Any] = {"type": "log", "exponentformat": "power", "minorloglabels": "none"}
    if not shown:
        return axis
    low, high = math.log10(min(shown)), math.log10(max(shown))
    if high - low >= 2:
        return axis | {"dtick": max(1, round((high - low) / 8))}
    powers = range(math.floor(low), math.ceil(high) + 1)
    ladder = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    first = max((i for i, v in enumerate(ladder) if v <= min(shown)), default=0)
    last = next((i for i, v in enumerate(ladder) if v >= max(shown)), len(ladder) - 1)
    ticks = ladder[first : last + 1]
    return axis | {"tickvals": ticks, "ticktext": [number(tick) for tick in ticks]}


def arm_line(arm: Arm) -> dict[str, Any]:
    """Return the trace options that draw an arm as a line with markers, the same everywhere."""
    look = style.arm_style(arm)
    return {
        "mode": "lines+markers",
        "name": style.escape(look.label),
        "legendgroup": arm.label,
        "line": {"color": look.colour, "dash": look.dash, "width": 2},
        "marker": {"color": look.colour, "symbol": look.symbol, "size": 7},
    }


def arm_rows(arms: Sequence[Arm]) -> dict[str, Any]:
    """Return an axis with one row per arm, the first at height 0, and its title beside it."""
    return {
        "tickvals": list(range(len(arms))),
        "ticktext": [style.escape(arm.title) for arm in arms],
        "range": [-0.6, len(arms) - 0.4],
        "showgrid": False,
        "zeroline": False,
    }


def rate_point(row: Mapping[Hashable, Any], arm: Arm, *further: str, **options: Any) -> go.Scatter:
    """Return an arm's rate as a point with its interval, in per cent, named by its arm.

    Parameters
    ----------
    row : mapping
        ``value, low, high`` as fractions, ``n``, ``seeds`` and ``method``.
    *further : str
        Lines of the hover text below the rate; without any the count, seeds and method.
    **options
        Further options of the trace.
    """
    look = style.arm_style(arm)
    value, low, high = (100 * float(row[name]) for name in ("value", "low", "high"))
    counted = f"n = {row['n']} requests, {row['seeds']} seeds ({row['method']})"
    lines = (f"{arm_label(arm, 40)}: <b>{value:.1f} %</b> [{low:.1f}, {high:.1f}]",
             *(further or (counted,)))  # fmt: skip
    # A dash on a horizontal interval would not be seen.
    symbol = "line-ns-open" if look.symbol == "line-ew-open" else look.symbol
    return go.Scatter(
        x=[value],
        y=[arm_label(arm)],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "color": look.colour,
            "thickness": 2,
            "width": 5,
        },
        mode="markers",
        marker={"color": look.colour, "symbol": symbol, "size": 10},
        name=style.escape(look.label),
        hovertemplate=f"{'<br>'.join(lines)}<extra></extra>",
        **options,
    )


def level(ends: Sequence[float], y: float, name: str, dash: str = "dot") -> go.Scatter:
    """Return a level line named in the legend: a label beside it would run into the data."""
    return go.Scatter(
        x=list(ends),
        y=[y] * len(ends),
        mode="lines",
        name=style.escape(name),
        line={"color": style.GREY, "dash": dash, "width": 2},
        hovertemplate=f"{style.escape(name)}<extra></extra>",
    )


def seed_bars(summary: pd.DataFrame) -> dict[str, Any]:
    """Return error bars from the smallest to the largest seed; none for a single seed."""
    return {
        "type": "data",
        "symmetric": False,
        "array": (summary["high"] - summary["mean"]).tolist(),
        "arrayminus": (summary["mean"] - summary["low"]).tolist(),
        "thickness": 1,
        "width": 3,
        "visible": bool((summary["seeds"] > 1).any()),
    }


def seeds_line(
    summary: pd.DataFrame,
    arm: Arm,
    index: str,
    at: str,
    value: str = "%{customdata[1]:.3g}",
    *,
    drawn: Callable[[pd.Series], pd.Series] = lambda values: values,
    first: int = 0,
    bars: bool = False,
) -> go.Scatter:
    """Return an arm's mean over seeds as a line over layers, steps or positions.

    Parameters
    ----------
    summary : DataFrame
        ``variant``, the column `index`, ``mean, low, high`` and ``seeds``.
    at, value : str
        The hover text's name of a place ("layer %{x}") and its value. A point's ``customdata``
        are its index, its mean and its count of seeds.
    drawn : callable, optional
        From a value to what is drawn of it (a scale, a floor for a log axis).
    first : int, optional
        The number that the first place is called by.
    bars : bool, optional
        Whether bars show the smallest and the largest seed.
    """
    rows = summary[summary["variant"] == arm.label].sort_values(index)
    shown = rows.assign(**{name: drawn(rows[name]) for name in ("mean", "low", "high")})
    return go.Scatter(
        x=rows[index] + first,
        y=shown["mean"],
        error_y=seed_bars(shown) if bars else None,
        customdata=rows[[index, "mean", "seeds"]],
        hovertemplate=(
            f"{arm_label(arm, 40)}<br>{at}: <b>{value}</b>"
            "<br>mean over n = %{customdata[2]} seeds<extra></extra>"
        ),
        **arm_line(arm),
    )

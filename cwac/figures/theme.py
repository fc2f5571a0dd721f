"""One look for every figure: arm styles, axis titles, hover text, light and dark."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from cwac.records import Direction

# Okabe and Ito's colours, told apart by colour-blind readers; one per known arm.
_KNOWN: Final = {
    "sft": ("#D55E00", "solid", "circle"),
    "weight_only": ("#0072B2", "dash", "square"),
    "activation_only": ("#CC79A7", "dot", "diamond"),
    "cwac": ("#009E73", "solid", "triangle-up"),
}
_FURTHER: Final = ("#E69F00", "#56B4E9", "#8C6D31", "#7B61C4", "#B5A400", "#17A2A2", "#A64D79")
_DASHES: Final = ("dash", "dashdot", "longdash", "longdashdot", "dot", "solid")
_SYMBOLS: Final = ("x", "cross", "pentagon", "star", "hexagon", "triangle-down", "bowtie")
_CONTROL_SYMBOLS: Final = ("square-open", "circle-open", "diamond-open", "triangle-up-open")
_CONTROL: Final = re.compile(r"random|gradient|literal|shuffled|control")
GREY: Final = "#8A94A0"
ALIGNED: Final = "aligned"

OUTCOME_COLOURS: Final = {"refusal": "#56B4E9", "compliance": "#E69F00", "undetermined": "#B8C0C8"}
OUTCOME_PATTERNS: Final = {"refusal": "", "compliance": "/", "undetermined": "."}

_ARROWS: Final = {"higher": "↑ better", "lower": "↓ better", "neither": ""}


@dataclass(frozen=True)
class ArmStyle:
    """How an arm looks in every figure.

    Attributes
    ----------
    colour : str
        Hex colour, the same on every page.
    dash, symbol : str
        The second channel: plotly's line dash and marker symbol.
    label : str
        The arm's name for legends.
    control : bool
        Whether the arm is a control, drawn grey and dotted.
    """

    colour: str
    dash: str
    symbol: str
    label: str
    control: bool = False


def is_control(variant: str) -> bool:
    """Whether an arm is a control: a random subspace, the literal gradient form, and the like."""
    return bool(_CONTROL.search(_own(variant)))


def arm_order(variants: Iterable[str]) -> list[str]:
    """Return the different arms: aligned, the known methods, others by name, controls last."""
    known = [ALIGNED, *_KNOWN]

    def rank(variant: str) -> tuple[bool, int, str]:
        own = _own(variant)
        place = known.index(own) if own in known else len(known)
        return is_control(variant), place, variant

    return sorted(set(variants), key=rank)


def arm_style(variant: str, variants: Sequence[str] = ()) -> ArmStyle:
    """Return an arm's style.

    Parameters
    ----------
    variant : str
        The arm's label; ``"aligned"`` is the model before fine-tuning. What follows ``" @ "``
        names an overlaid experiment: it keeps the arm's colour and changes the dash.
    variants : sequence of str
        All arms in view; it decides the colour of arms outside the four of the paper.

    Examples
    --------
    >>> arm_style("cwac").colour
    '#009E73'
    >>> arm_style("aligned").dash
    'dash'
    """
    own, _, overlay = variant.partition(" @ ")
    if own == ALIGNED:
        return ArmStyle(GREY, "dash", "line-ew-open", "aligned model")
    others = [arm for arm in arm_order(_own(v) for v in (*variants, variant)) if arm not in _KNOWN]
    if is_control(own):
        place = [arm for arm in others if is_control(arm)].index(own)
        symbol = _CONTROL_SYMBOLS[place % len(_CONTROL_SYMBOLS)]
        return ArmStyle(GREY, "dot", symbol, variant, control=True)
    if own in _KNOWN:
        colour, dash, symbol = _KNOWN[own]
    else:
        place = [arm for arm in others if not is_control(arm) and arm != ALIGNED].index(own)
        colour = _FURTHER[place % len(_FURTHER)]
        dash, symbol = _DASHES[place % len(_DASHES)], _SYMBOLS[place % len(_SYMBOLS)]
    if overlay:
        return ArmStyle(colour, "longdashdot", f"{symbol}-open", variant)
    return ArmStyle(colour, dash, symbol, variant)


def _own(variant: str) -> str:
    return variant.partition(" @ ")[0]


def axis_title(title: str, unit: str = "", direction: Direction = "neither") -> str:
    """Return an axis title with its unit and which way is better.

    Examples
    --------
    >>> axis_title("Harmful score", "%", "lower")
    'Harmful score (%), ↓ better'
    """
    arrow = _ARROWS[direction]
    return f"{title}{f' ({unit})' if unit else ''}{f', {arrow}' if arrow else ''}"


def escape(text: object) -> str:
    """Return text for a hover label or an annotation: plotly would read tags in it."""
    return html.escape(str(text), quote=False)


def translucent(colour: str, alpha: float) -> str:
    """Return a hex colour as ``rgba`` with some transparency, for bands.

    Examples
    --------
    >>> translucent("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def blank_figure(x: str, y: str, *, height: int = 380) -> go.Figure:
    """Return an empty figure with the lab's layout and two axis titles."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 32, "b": 52},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"align": "left"},
        colorway=list(_FURTHER),
    )
    figure.update_xaxes(title_text=x, automargin=True)
    figure.update_yaxes(title_text=y, automargin=True)
    return dress(figure, dark=False)


def dress(figure: go.Figure, *, dark: bool, background: bool = False) -> go.Figure:
    """Set text, grid and background for a light or a dark page; data colours stay.

    Parameters
    ----------
    figure : Figure
        Changed in place and returned.
    dark : bool
        Whether the page is dark.
    background : bool
        Paint the background (for a file of its own) instead of leaving it transparent.
    """
    text, grid, paper = (
        ("#E6EBF0", "#34404C", "#12171D") if dark else ("#1B2733", "#DDE3E8", "#FFFFFF")
    )
    fill = paper if background else "rgba(0,0,0,0)"
    figure.update_layout(
        font={"color": text, "family": "Source Sans, Helvetica, Arial, sans-serif", "size": 13},
        paper_bgcolor=fill,
        plot_bgcolor=fill,
        hoverlabel={"bgcolor": paper, "font": {"color": text}, "bordercolor": grid},
    )
    axes = {"gridcolor": grid, "zerolinecolor": grid, "linecolor": grid, "tickcolor": grid}
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    # Plotly draws whiskers almost black unless they have their trace's one colour.
    figure.for_each_trace(lambda trace: _whiskers(trace, text), selector=_has_whiskers)
    return figure


def _has_whiskers(trace: Any) -> bool:
    # Plain dictionaries: every attribute asked of a trace costs plotly a quarter millisecond.
    drawn = trace.to_plotly_json()
    if drawn["type"] not in {"bar", "scatter"} or drawn.get("error_x", {}).get("array") is None:
        return False
    return drawn["type"] == "bar" or not isinstance(drawn.get("marker", {}).get("color"), str)


def _whiskers(trace: Any, colour: str) -> None:
    trace.error_x.color = colour

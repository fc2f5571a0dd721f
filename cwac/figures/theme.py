"""One look for every figure: arm styles, axis titles, hover text, light and dark."""

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import plotly.graph_objects as go

from cwac.figures.palette import HUES, LOOKS, control_look, look_of
from cwac.records import Direction

_CONTROL: Final = re.compile(r"random|gradient|literal|shuffled|control|=harmless|=trailing")
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
        The arm's name for legends; methods that are controls say so.
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
    return bool(_CONTROL.search(variant.partition(" @ ")[0]))


def arm_order(variants: Iterable[str]) -> list[str]:
    """Return the different arms: aligned, the known methods, others by name, controls last."""
    known = [ALIGNED, *LOOKS]

    def rank(variant: str) -> tuple[bool, int, str]:
        method = arm_parts(variant)[0]
        place = known.index(method) if method in known else len(known)
        return is_control(variant), place, variant

    return sorted(set(variants), key=rank)


def arm_parts(variant: str) -> tuple[str, str, str]:
    """Return an arm's method, its settings and the overlaid experiment, empty where there is none.

    Examples
    --------
    >>> arm_parts("cwac (strength=0.3) @ topic p0.1")
    ('cwac', 'strength=0.3', 'topic p0.1')
    """
    own, _, overlay = variant.partition(" @ ")
    method, _, settings = own.partition(" (")
    return method, settings.removesuffix(")"), overlay


def arm_name(variant: str) -> str:
    """Return how an arm is called for people; labels stay the keys of tables and links.

    Examples
    --------
    >>> arm_name("weight_only"), arm_name("cwac (subspace=random)"), arm_name("aligned")
    ('Weight only', 'CWAC (subspace=random)', 'aligned model')
    """
    method, settings, overlay = arm_parts(variant)
    title = "aligned model" if method == ALIGNED else look_of(method).title
    return f"{title}{f' ({settings})' if settings else ''}{f' @ {overlay}' if overlay else ''}"


def arm_style(variant: str) -> ArmStyle:
    """Return an arm's style, the same whatever else is in view.

    Parameters
    ----------
    variant : str
        The arm's label; ``"aligned"`` is the model before fine-tuning. What follows ``" @ "``
        names an overlaid experiment: it keeps the arm's colour and changes the dash.

    Examples
    --------
    >>> arm_style("cwac").colour
    '#009E73'
    >>> arm_style("aligned").dash
    'dash'
    """
    method, settings, overlay = arm_parts(variant)
    name = arm_name(variant)
    if method == ALIGNED:
        return ArmStyle(GREY, "dash", "line-ew-open", name)
    control = is_control(variant)
    look = control_look(method, settings) if control else look_of(method, settings)
    if look.control and not control:
        name = f"{name} · control"
    if overlay and not control:
        return ArmStyle(look.colour, "longdashdot", f"{look.symbol}-open", name)
    return ArmStyle(look.colour, look.dash, look.symbol, name, control)


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
        colorway=list(HUES),
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

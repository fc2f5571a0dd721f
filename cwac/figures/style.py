"""One look for every figure: arms, axis titles, hover text, light and dark.

A method's look depends on its name alone, never on which other arms are in view.
"""

import colorsys
import html
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go

from cwac.arms import Arm
from cwac.rates import RATES
from cwac.records import Direction

GREY: Final = "#8A94A0"
THEMES: Final = {
    "light": ("#0B131B", "#DDE3E8", "#FFFFFF"),
    "dark": ("#E6EBF0", "#34404C", "#12171D"),
}
"""Of the light and the dark page: text, grid and background; text and background as in
``.streamlit/config.toml``."""
OUTCOME_COLOURS: Final = {
    "refusal": "#56B4E9",
    "hybrid": "#CC79A7",
    "compliance": "#E69F00",
    "undetermined": "#B8C0C8",
}
OUTCOME_PATTERNS: Final = {"refusal": "", "hybrid": "x", "compliance": "/", "undetermined": "."}
TEXT: Final = 13
"""Size of all text but a figure's title, in pixels."""
_ARROWS: Final = {"higher": "↑ better", "lower": "↓ better", "neither": ""}
_TURNED: Final = str.maketrans("↑↓", "→←")
"""Ways on a vertical axis to those on a horizontal one."""


CELL_TEXT: Final = "#0B131B"
"""Numbers in the cells of a heat map, in both themes: plotly's own grey or white is faint halfway
along a scale."""
RISING: Final = ((0.0, "#FFF4DC"), (0.5, "#A3CBD8"), (1.0, "#3C90CC"))
CENTRED: Final = ((0.0, "#4A9AD4"), (0.5, "#F7F7F7"), (1.0, "#EF7F3E"))
"""Colour scales of heat maps, of amounts and of differences: nowhere too dark for `CELL_TEXT`, and
told apart by colour-blind readers."""


class Look(NamedTuple):
    """How one method is drawn."""

    colour: str
    dash: str
    symbol: str


# The paper's four arms have Okabe and Ito's colours, told apart by colour-blind readers. Every
# further one is, in this order of importance, as far as can be from all before it, from the grey
# of controls and from what marks a selection: in OKLab, half as much again as a deuteranope sees
# it (Machado 2009), of a chroma up to 0.185 and a lightness that reads on white and on black.
LOOKS: Final = {
    "sft": Look("#D55E00", "solid", "circle"),
    "weight_only": Look("#0072B2", "dash", "square"),
    "activation_only": Look("#CC79A7", "dot", "diamond"),
    "cwac": Look("#009E73", "solid", "triangle-up"),
    "cwac_paper": Look("#60C090", "dash", "star-triangle-down"),
    "safe_instruct": Look("#00B4F0", "solid", "x"),
    "sppft": Look("#606000", "solid", "cross"),
    "lisa": Look("#B4B400", "solid", "pentagon"),
    "asft": Look("#906060", "solid", "star"),
    "constrained_sft": Look("#FC906C", "solid", "hexagon"),
    "backdoor_align": Look("#D890FC", "solid", "triangle-down"),
    "salora": Look("#00786C", "dashdot", "diamond-cross"),
    "safegrad": Look("#8484FC", "solid", "bowtie"),
    "guardspace": Look("#B42400", "dash", "star-square"),
    "l2_to_init": Look("#848400", "dash", "hourglass"),
    "ewc": Look("#906CB4", "dash", "diamond-tall"),
    "kl_to_aligned": Look("#9C3090", "dot", "hexagram"),
    "residual_mse": Look("#6C48C0", "dot", "diamond-wide"),
    "refusal_direction_penalty": Look("#008400", "dash", "triangle-left"),
    "safelora": Look("#B49060", "dash", "octagon"),
    "safe_delta": Look("#3C90CC", "dashdot", "triangle-right"),
    "safe_merge": Look("#54B43C", "dashdot", "star-triangle-up"),
    "resta": Look("#F0606C", "dashdot", "star-diamond"),
}
"""Looks that were chosen by hand, no colour and no symbol twice; every other method is given one,
see `look_of`."""
PAPER: Final = ("sft", "weight_only", "activation_only", "cwac")
"""The paper's four arms."""
HUES: Final = tuple(look.colour for name, look in LOOKS.items() if name not in PAPER)
"""The hues of the other methods that have a fixed look."""
_DASHES: Final = ("dash", "dashdot", "longdash", "longdashdot", "solid")
_SYMBOLS: Final = tuple(dict.fromkeys(look.symbol for look in LOOKS.values()))
_FREE_SYMBOLS: Final = (
    *("square-cross", "square-x", "circle-cross", "circle-x"),
    *("diamond-x", "hexagon2", "triangle-ne", "triangle-se", "triangle-sw"),
    *("triangle-nw", "square-dot", "circle-dot", "diamond-dot", "cross-dot"),
)
"""Symbols of methods without a fixed look: no fixed look has them."""
_CONTROL_SYMBOLS: Final = {
    "subspace=random": "circle-open",
    "latents=random": "diamond-open",
    "subspace=harmless": "triangle-down-open",
    "latents=harmless": "triangle-left-open",
    "subspace=trailing": "triangle-right-open",
}
_FURTHER_CONTROLS: Final = ("triangle-up-open", "pentagon-open", "hexagon-open", "star-open",
                            "hourglass-open", "bowtie-open", "octagon-open")  # fmt: skip
_CONTROL_GREYS: Final = (GREY, "#6B7783", "#A7B0B9")


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


def look_of(method: str) -> Look:
    """Return a method's look; one without a fixed look is given its own, from its name.

    Its colour and its symbol are none of a fixed look's, and the same in every process, whatever
    other methods there are.

    Examples
    --------
    >>> look_of("cwac").colour
    '#009E73'
    >>> look_of("my_method") == look_of("my_method")
    True
    """
    if method in LOOKS:
        return LOOKS[method]
    number = _number(method)
    # Many hues, of a lightness that can be read on white and on black.
    rgb = colorsys.hls_to_rgb((number % 3600) / 3600, 0.38 + (number // 3600 % 9) / 50, 0.55)
    colour = "#" + "".join(f"{round(255 * part):02X}" for part in rgb)
    return Look(colour, _pick(_DASHES, method), _pick(_FREE_SYMBOLS, method))


def arm_style(arm: Arm) -> ArmStyle:
    """Return an arm's style, the same whatever else is in view.

    Settings other than the method's own change dash and symbol, not colour; so does belonging to
    an experiment that is compared with the one in view.

    Examples
    --------
    >>> arm_style(Arm(method="cwac", changed={"strength": 0.3})).colour
    '#009E73'
    """
    if arm.is_aligned:
        return ArmStyle(GREY, "dash", "line-ew-open", arm.title)
    look = look_of(arm.colour_key)
    if arm.control:
        symbol = _CONTROL_SYMBOLS.get(arm.changes) or _pick(_FURTHER_CONTROLS, arm.changes)
        return ArmStyle(_control_grey(arm.method), "dot", symbol, arm.title, control=True)
    dash, symbol = look.dash, look.symbol
    if arm.changed:
        dash = _pick([other for other in _DASHES if other != dash], arm.changes)
        symbol = _pick([other for other in _SYMBOLS if other != symbol], arm.changes)
    if arm.overlay is not None:
        dash, symbol = "longdashdot", f"{symbol}-open"
    return ArmStyle(look.colour, dash, symbol, arm.title)


def _control_grey(method: str) -> str:
    place = list(LOOKS).index("cwac") - list(LOOKS).index(method) if method in LOOKS else 0
    return _CONTROL_GREYS[place % len(_CONTROL_GREYS)]


def _pick(options: Sequence[str], name: str) -> str:
    """Return one of `options`, always the same for a name."""
    return options[_number(name) % len(options)]


def _number(name: str) -> int:
    # Python's own hash differs from process to process.
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big")


def axis_title(
    title: str, unit: str = "", direction: Direction = "neither", *, across: bool = False
) -> str:
    """Return an axis title with its unit and which way is better; `across` is of a horizontal axis.

    Examples
    --------
    >>> axis_title("Harmful score", "%", "lower")
    'Harmful score (%), ↓ better'
    >>> axis_title("Harmful score", "%", "lower", across=True)
    'Harmful score (%), ← better'
    """
    arrow = _ARROWS[direction].translate(_TURNED if across else {})
    return f"{title}{f' ({unit})' if unit else ''}{f', {arrow}' if arrow else ''}"


def rate_axis(name: str, end: str = "", *, across: bool = False) -> str:
    """Return the axis title of one of ``cwac.rates.RATES`` in per cent.

    Examples
    --------
    >>> rate_axis("harmful_score")
    'Harmful score (%), ↓ better'
    """
    return axis_title(f"{RATES[name].title}{end}", "%", RATES[name].direction, across=across)


def escape(text: object) -> str:
    """Return text for a hover label or an annotation: plotly would read tags and fields in it.

    Examples
    --------
    >>> escape("<b> %{x}")
    '&lt;b&gt; &#37;{x}'
    """
    return html.escape(str(text), quote=False).replace("%{", "&#37;{")


def translucent(colour: str, alpha: float) -> str:
    """Return a hex colour as ``rgba`` with some transparency, for bands.

    Examples
    --------
    >>> translucent("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def ink(background: str) -> str:
    """Return black or white, whichever is read better on a hex colour.

    The better one reaches a contrast of at least 4.58:1 on any colour (WCAG 2.2, relative
    luminance), above the 4.5:1 that text needs.

    Examples
    --------
    >>> ink("#56B4E9"), ink("#0072B2")
    ('#000000', '#FFFFFF')
    """
    parts = (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    # Contrast with black is (L + 0.05) / 0.05, with white 1.05 / (L + 0.05).
    return "#000000" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "#FFFFFF"


def activation_colour(share: float) -> str:
    """Return the colour of a share of the strongest: of an activation, a divergence.

    Black text on it has a contrast of 8:1 at least.

    Examples
    --------
    >>> activation_colour(0.0), activation_colour(1.0)
    ('#FFF4DC', '#E8891C')
    """
    faint, full = (0xFF, 0xF4, 0xDC), (0xE8, 0x89, 0x1C)
    parts = (round(a + (b - a) * share) for a, b in zip(faint, full, strict=True))
    return "#" + "".join(f"{part:02X}" for part in parts)


def blank_figure(x: str, y: str, *, height: int = 380) -> go.Figure:
    """Return an empty figure with the lab's layout and two axis titles."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 64, "r": 16, "t": 32, "b": 52},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        hoverlabel={"align": "left"},
        colorway=list(HUES),
    )
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
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

    Notes
    -----
    The look is plotly's template, one for all axes: to set it axis by axis took a third of a page.
    """
    template = _template(dark=dark, background=background)
    figure.layout.template = template
    # Plotly draws whiskers almost black unless they have their trace's one colour.
    text, _, paper = THEMES["dark" if dark else "light"]
    figure.for_each_trace(
        lambda trace: _whiskers(trace, paper if trace.meta == RIM else text),
        selector=_has_whiskers,
    )
    return figure


@cache
def _template(*, dark: bool, background: bool) -> go.layout.Template:
    text, grid, paper = THEMES["dark" if dark else "light"]
    fill = paper if background else "rgba(0,0,0,0)"
    axis: dict[str, Any] = {
        "gridcolor": grid,
        "zerolinecolor": grid,
        "linecolor": grid,
        "tickcolor": grid,
    }
    # A standoff keeps a title clear of long tick labels; without it plotly lets them overlap.
    axis |= {"automargin": True, "title": {"font": {"size": TEXT}, "standoff": 8}}
    return go.layout.Template(
        layout={
            "font": {
                "color": text,
                "family": "Source Sans, Helvetica, Arial, sans-serif",
                "size": TEXT,
            },
            "paper_bgcolor": fill,
            "plot_bgcolor": fill,
            "hoverlabel": {"bgcolor": paper, "font": {"color": text}, "bordercolor": grid},
            # A marker at the end of an axis must not lie on its labels.
            "xaxis": axis | {"ticklabelstandoff": 3},
            "yaxis": axis | {"ticklabelstandoff": 6},
        }
    )


RIM: Final = "rim"
"""What `meta` says of whiskers that are the rim of others: they have the page's own colour, so that
those on them are told from a bar and from the page in either theme."""
_WHISKERS: Final = ("error_x", "error_y")


def _has_whiskers(trace: Any) -> bool:
    # Plain dictionaries: every attribute asked of a trace costs plotly a quarter millisecond.
    drawn = trace.to_plotly_json()
    ends = [drawn.get(name, {}).get("array") is not None for name in _WHISKERS]
    if drawn["type"] == "bar":
        return any(ends)
    return (
        drawn["type"] == "scatter"
        and ends[0]
        and not isinstance(drawn.get("marker", {}).get("color"), str)
    )


def _whiskers(trace: Any, colour: str) -> None:
    for name in _WHISKERS:
        if trace[name].array is not None:
            trace[name].color = colour

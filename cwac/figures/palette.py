"""One look per method: its name for people, its colour, dash and symbol, wherever it is drawn.

The looks stand here by name, so that an arm's colour never depends on which other arms are in
view. Methods that share a hue differ in dash and symbol.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple


class Look(NamedTuple):
    """How one method is drawn and called."""

    title: str
    colour: str
    dash: str
    symbol: str
    control: bool = False
    """Whether the method itself is a control: dotted like every control, in its own colour."""


# Okabe and Ito's colours, told apart by colour-blind readers: the paper's four arms alone.
_VERMILION, _BLUE, _PINK, _GREEN = "#D55E00", "#0072B2", "#CC79A7", "#009E73"
_ORANGE, _SKY, _BROWN, _PURPLE = "#E69F00", "#56B4E9", "#8C6D31", "#7B61C4"
_OLIVE, _TEAL, _PLUM = "#B5A400", "#17A2A2", "#A64D79"
HUES: Final = (_ORANGE, _SKY, _BROWN, _PURPLE, _OLIVE, _TEAL, _PLUM)
"""The hues of all other methods."""

LOOKS: Final = {
    "sft": Look("SFT", _VERMILION, "solid", "circle"),
    "weight_only": Look("Weight only", _BLUE, "dash", "square"),
    "activation_only": Look("Activation only", _PINK, "dot", "diamond"),
    "cwac": Look("CWAC", _GREEN, "solid", "triangle-up"),
    "safe_instruct": Look("SafeInstr", _ORANGE, "solid", "x"),
    "sppft": Look("SPPFT", _SKY, "solid", "cross"),
    "lisa": Look("Lisa", _BROWN, "solid", "pentagon"),
    "asft": Look("AsFT", _PURPLE, "solid", "star"),
    "constrained_sft": Look("Constrained SFT", _OLIVE, "solid", "hexagon"),
    "backdoor_align": Look("BackdoorAlign", _TEAL, "solid", "triangle-down"),
    "salora": Look("SaLoRA", _PURPLE, "dashdot", "diamond-cross"),
    "safegrad": Look("SafeGrad", _PLUM, "solid", "bowtie"),
    "guardspace": Look("GuardSpace projector", _ORANGE, "dash", "star-square"),
    "l2_to_init": Look("L2 to init", _SKY, "dash", "hourglass"),
    "ewc": Look("EWC", _BROWN, "dash", "diamond-tall"),
    "kl_to_aligned": Look("KL to aligned", _PURPLE, "dot", "hexagram", control=True),
    "residual_mse": Look("Residual MSE", _OLIVE, "dot", "diamond-wide", control=True),
    "refusal_direction_penalty": Look("Refusal direction", _TEAL, "dash", "triangle-left"),
    "safelora": Look("SafeLoRA", _PLUM, "dash", "octagon"),
    "safe_delta": Look("Safe Delta", _ORANGE, "dashdot", "triangle-right"),
    "safe_merge": Look("SafeMERGE", _SKY, "dashdot", "star-triangle-up"),
    "resta": Look("RESTA", _BROWN, "dashdot", "star-diamond"),
}
"""The methods of the catalogue; a test holds names and titles to ``cwac list methods``."""

_DASHES: Final = ("dash", "dashdot", "longdash", "longdashdot", "solid")
_SYMBOLS: Final = tuple(dict.fromkeys(look.symbol for look in LOOKS.values()))
_CONTROL_SYMBOLS: Final = {
    "projection=gradient": "square-open",
    "subspace=random": "circle-open",
    "latents=random": "diamond-open",
    "subspace=harmless": "triangle-down-open",
    "latents=harmless": "triangle-left-open",
    "subspace=trailing": "triangle-right-open",
}
_FURTHER_CONTROLS: Final = ("triangle-up-open", "pentagon-open", "hexagon-open", "star-open",
                            "hourglass-open", "bowtie-open", "octagon-open")  # fmt: skip
_CONTROL_GREYS: Final = ("#8A94A0", "#6B7783", "#A7B0B9")


def look_of(method: str, settings: str = "") -> Look:
    """Return a method's look; settings other than its own change dash and symbol, not colour.

    A method that is not in the catalogue gets its look from its name, the same in every process.

    Examples
    --------
    >>> look_of("cwac", "strength=0.3").colour == look_of("cwac").colour
    True
    >>> look_of("cwac").title, look_of("my_method").title
    ('CWAC', 'my_method')
    """
    look = LOOKS.get(method) or Look(
        method, _pick(HUES, method), _pick(_DASHES, method), _pick(_SYMBOLS, method)
    )
    if not settings:
        return look
    dashes = [dash for dash in _DASHES if dash != look.dash]
    symbols = [symbol for symbol in _SYMBOLS if symbol != look.symbol]
    return look._replace(dash=_pick(dashes, settings), symbol=_pick(symbols, settings))


def control_look(method: str, settings: str) -> Look:
    """Return a control's look: grey and dotted; its settings choose the symbol."""
    symbol = _CONTROL_SYMBOLS.get(settings) or _pick(_FURTHER_CONTROLS, settings)
    place = list(LOOKS).index("cwac") - list(LOOKS).index(method) if method in LOOKS else 0
    grey = _CONTROL_GREYS[place % len(_CONTROL_GREYS)]
    return Look(look_of(method).title, grey, "dot", symbol)


def _pick(options: Sequence[str], name: str) -> str:
    """Return one of `options`, always the same for a name."""
    # Python's own hash differs from process to process.
    return options[int.from_bytes(sha256(name.encode()).digest()[:8], "big") % len(options)]

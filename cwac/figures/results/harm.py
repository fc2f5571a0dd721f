"""The harmful score on a square-root scale: low scores lie apart, and 0 stays in sight.

Stands alone because four figures of Results draw it. On an even scale methods that comply with
0.1 % and with 5 % lie on each other; a logarithm has no 0.
"""

from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.figures.style import axis_title
from cwac.rates import RATES

_NAME: Final = "harmful_score"
_UNIT: Final = "%, square-root scale"
_TICKS: Final = (0, 1, 5, 10, 20, 40, 70, 100)
_FEW: Final = (0, 5, 20, 50, 100)
"""Per cent, where there is room and in small panels."""


def harm_title(*, across: bool = False) -> str:
    """Return the axis title: rate, unit, scale, and which way is better."""
    rate = RATES[_NAME]
    return axis_title(rate.title, _UNIT, rate.direction, across=across)


def root(share: Any) -> Any:
    """Return where fractions stand on the axis, from 0 to 1.

    Examples
    --------
    >>> float(root(0.01)), float(root(0.25)), float(root(1.0))
    (0.1, 0.5, 1.0)
    """
    return np.sqrt(share)


def harm_axis(*, few: bool = False) -> dict[str, Any]:
    """Return the axis' ticks and ends, for ``update_xaxes`` or ``update_yaxes``."""
    ticks = _FEW if few else _TICKS
    return {
        "tickvals": [float(root(tick / 100)) for tick in ticks],
        "ticktext": [str(tick) for tick in ticks],
        "range": [-0.03, 1.03],
        "zeroline": False,
    }


def root_bars(part: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return error bars from the columns ``<name>, <name>_low, <name>_high``, fractions."""
    middle, low, high = (root(part[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return {
        "type": "data",
        "symmetric": False,
        "array": high - middle,
        "arrayminus": middle - low,
        "thickness": 1,
        "width": 3,
    }

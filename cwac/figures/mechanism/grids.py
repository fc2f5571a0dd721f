"""Heat maps that can be read: numbers in their cells, and colours that one outlier cannot flatten.

Stands alone because three tabs of the Mechanism page draw such grids, and all clip alike.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.figures import style

ENDS: Final = (5, 95)
"""Percentiles of the cells at which colours end."""
CLIPPED: Final = f"colours end at the {ENDS[0]}th and {ENDS[1]}th percentile of the cells"
MOST: Final = 36
"""Columns, over all panels side by side, up to which numbers fit into the cells."""


def robust_range(values: Sequence[float], *, centred: bool = False) -> tuple[float, float]:
    """Return where a colour scale begins and ends: at percentiles of the finite values.

    Parameters
    ----------
    centred : bool
        Whether 0 is in the middle: for differences.

    Examples
    --------
    >>> robust_range([*range(101), 1e6])
    (5.05, 95.95)
    >>> robust_range([-1.0, 1.0, 1.0], centred=True)
    (-1.0, 1.0)
    """
    finite = np.asarray([value for value in values if np.isfinite(value)], dtype=float)
    if not len(finite):
        return 0.0, 1.0
    if centred:
        end = float(np.percentile(np.abs(finite), ENDS[1])) or float(np.abs(finite).max()) or 1.0
        return -end, end
    low, high = (float(end) for end in np.percentile(finite, ENDS))
    # Cells that are all alike still need a scale of some length.
    return (low, high) if high > low else (low - abs(low or 1) / 2, low + abs(low or 1) / 2)


def cells(
    grid: pd.DataFrame,
    text: Callable[[float], str] | None,
    *,
    shade: Callable[[np.ndarray], np.ndarray] = np.asarray,
    **options: Any,
) -> go.Heatmap:
    """Return a heat map of a table, its rows and columns named, with a number in each cell.

    Parameters
    ----------
    text : callable or None
        What stands in a cell, None for nothing; missing numbers stay empty.
    shade : callable
        What the colour shows of the numbers, such as their logarithm.
    """
    numbers = grid.to_numpy(dtype=float)
    written = None
    if text is not None:
        written = [["" if np.isnan(v) else text(v) for v in line] for line in numbers]
    return go.Heatmap(
        x=_names(grid.columns),
        y=_names(grid.index),
        z=shade(numbers),
        text=written,
        texttemplate=None if written is None else "%{text}",
        textfont={"size": 11, "color": style.CELL_TEXT},
        xgap=1,
        ygap=1,
        **options,
    )


def _names(index: pd.Index) -> list[Any]:
    # Numbers stay numbers: markers on the same axis are placed by them.
    is_number = pd.api.types.is_numeric_dtype(index)
    return index.tolist() if is_number else [style.escape(name) for name in index]


def short(value: float) -> str:
    """Return a number in at most six characters, for a cell.

    Examples
    --------
    >>> short(0.1234), short(12.34), short(1.2e-5), short(-0.0038), short(0.0)
    ('0.12', '12', '1e-5', '-0.004', '0')
    """
    if value and abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    text = f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return text if len(text) <= 6 else f"{value:.3f}"


def alike(values: Sequence[float], *, sign: bool = False) -> Callable[[float], str]:
    """Return what writes numbers with as many decimals in every cell: two digits of the largest.

    Parameters
    ----------
    values : sequence of float
        All that stand on one colour scale.
    sign : bool
        Whether a plus is written.

    Examples
    --------
    >>> write = alike([-0.17, 0.0043, 0.21])
    >>> write(-0.17), write(-0.0004), write(0.1)
    ('-0.17', '0.00', '0.10')
    """
    largest = max(map(abs, robust_range(values)))
    digits = max(0, 1 - int(np.floor(np.log10(largest))))
    form = f"{'+' if sign else ''}.{digits}f"
    # Zero is added to what rounds to -0.
    return lambda value: f"{round(value, digits) + 0.0:{form}}"


def whole(value: float) -> str:
    """Return a number without digits behind the point, and 0 without a sign.

    Examples
    --------
    >>> whole(-0.3), whole(47.4)
    ('0', '47')
    """
    return f"{round(value) + 0}"

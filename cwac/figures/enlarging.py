"""A figure made larger, for a slide and for the back row of a room.

Stands alone because no figure knows of it: the app enlarges what is drawn.
"""

from typing import Any, Final

import plotly.graph_objects as go

from cwac.figures.style import TEXT


def enlarge(figure: go.Figure, by: float) -> go.Figure:
    """Return a figure whose text, marks and height are larger, for the back row of a room.

    Parameters
    ----------
    by : float
        The factor. Whatever is measured in pixels grows by it, but for widths, which the page sets.
    """
    parts = figure.to_plotly_json()
    layout = {"font": {"size": TEXT}, **parts["layout"]}
    for name, axis in layout.items():
        if name.startswith(("xaxis", "yaxis")):
            # The template's own size would stay as it is.
            axis.setdefault("title", {}).setdefault("font", {}).setdefault("size", TEXT)
    return go.Figure(_grown({**parts, "layout": layout}, by))


_PIXELS: Final = frozenset({"size", "height", "standoff", "xshift", "yshift", "thickness"})
"""Attributes that plotly measures in pixels."""


def _grown(part: Any, by: float) -> Any:
    if isinstance(part, list | tuple):
        return [_grown(each, by) for each in part]
    if not isinstance(part, dict):
        return part
    grown: dict[str, Any] = {}
    for name, value in part.items():
        if name in _PIXELS and isinstance(value, int | float):
            grown[name] = value * by
        elif name in ("margin", "pad") and isinstance(value, dict):
            grown[name] = {side: pixels * by for side, pixels in value.items()}
        else:
            grown[name] = _grown(value, by)
    return grown

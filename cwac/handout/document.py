"""What a hand-out is made of, whatever it is about."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go


@dataclass(frozen=True)
class Section:
    """One part of a hand-out; what it does not have is left out.

    Everything is text, never HTML: the renderer escapes it. They stand on the page in the order of
    the attributes.

    Attributes
    ----------
    title : str
        Its heading; a title that states the result reads best.
    text : str
        Paragraphs, with an empty line between them.
    figure : Figure, optional
        From ``cwac.figures``; it is copied, not changed.
    reading : str
        One line beneath the figure on how to read it, and the figure's text alternative.
    table : DataFrame, optional
        Its columns are the head; the index is not shown. Missing values read "not measured".
    points : sequence of str
        A list.
    code : str
        Shown as it is, in one width: a command, settings.
    """

    title: str
    text: str = ""
    figure: go.Figure | None = None
    reading: str = ""
    table: pd.DataFrame | None = None
    points: Sequence[str] = ()
    code: str = ""


@dataclass(frozen=True)
class Handout:
    """A page to give away: a lesson, or what an experiment showed.

    Attributes
    ----------
    title : str
        Also the title of the browser's window.
    lead : str
        What somebody learns who reads no further; paragraphs as in `Section`.
    sections : sequence of Section
        In reading order.
    foot : str
        The last, small line: versions, date.
    one_page : bool
        Whether it is set to print on one sheet: smaller type, lists side by side.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    foot: str = ""
    one_page: bool = False

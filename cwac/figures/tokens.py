"""Texts token by token under several models, every token on the colour of a number it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.panels import arm_label, number, order, titled

LONGEST: Final = 16
"""Characters of a token that are drawn; the label at the pointer has them all."""
_ROW, _GAP = 24, 0.7
"""Pixels of a model's line, and the space after each block of lines as a share of it."""
_FONT: Final = {"family": "monospace", "size": 11}


@dataclass(frozen=True)
class Colours:
    """What the colours say.

    Attributes
    ----------
    column : str
        Of the numbers; a missing one is not painted, nor is one of 0 or less.
    title : str
        Of the scale.
    unit, missing : str
        Told at the pointer behind a number, and in place of one.
    least : float
        The number at which the colour is darkest at least, so that noise is not painted.
    """

    column: str
    title: str
    unit: str = ""
    missing: str = "not measured"
    least: float = 0.0


def coloured_tokens(
    tokens: pd.DataFrame,
    arms: Sequence[Arm],
    colours: Colours,
    title: str,
    *,
    line: int,
    width: int,
) -> go.Figure:
    """Draw texts as models read or wrote them: a line a model, in blocks where they are long.

    Parameters
    ----------
    tokens : DataFrame
        ``variant, place, token`` and the numbers; a row a token and model.
    arms : sequence of Arm
        Whose lines are drawn, in this order.
    title : str
        Of the figure.
    line, width : int
        Characters of a line, and of a line of the title.

    Notes
    -----
    One scale for all models. Where nothing is painted the text has the page's own colour; on paint
    it is black or white, whichever reads better (`cwac.figures.style.ink`). Tokens are drawn as
    text: tags in them are escaped.
    """
    arms = order(arms, tokens)
    named = {arm.label: arm for arm in arms}
    rows = _placed(tokens[tokens["variant"].isin(named)], list(named), line)
    rows["level"] = rows[colours.column].astype("float64")
    rows["painted"] = rows["level"] > 0
    highest = float(rows["level"].max()) if rows["painted"].any() else 0.0
    top = max(highest, colours.least) or 1.0
    figure = go.Figure(_cells(rows, colours, named))
    for painted in (True, False):
        figure.add_trace(_texts(rows[rows["painted"] == painted], top if painted else None))
    blocks = int(rows["block"].max()) + 1 if len(rows) else 1
    _set_axes(figure, arms, blocks, line)
    # The scale's own title would lie on it where it is this thin.
    figure.update_xaxes(title=colours.title)
    height = round(_ROW * blocks * (len(arms) + _GAP))
    titled(figure, title, height=height + 110, width=width)
    figure.update_layout(margin_b=72, coloraxis=_scale(top))
    return figure


def shown_token(text: str) -> str:
    r"""Return a token as it is drawn: no space around it, none of it invisible, none too long.

    Examples
    --------
    >>> shown_token(" bomb"), shown_token("\n"), shown_token(" ")
    ('bomb', '↵', '␣')
    """
    line = "".join("↵" if sign == "\n" else sign if sign.isprintable() else "·" for sign in text)
    stripped = line.strip() or "␣" * bool(line)
    return stripped if len(stripped) <= LONGEST else f"{stripped[: LONGEST - 1]}…"


def _placed(tokens: pd.DataFrame, models: Sequence[str], line: int) -> pd.DataFrame:
    """Return the tokens with where each is drawn, as a text is broken into lines.

    Returns
    -------
    DataFrame
        Further columns ``shown`` (its text), ``block``, ``start`` and ``wide`` (in characters),
        ``y``. A place is as wide in every model as its longest token.
    """
    rows = tokens.assign(shown=tokens["token"].map(shown_token))
    widest = rows["shown"].str.len().groupby(rows["place"]).max().clip(lower=2) + 1
    at: dict[Any, tuple[int, int]] = {}
    block, start = 0, 0
    for place, wide in widest.items():
        if start and start + wide > line:
            block, start = block + 1, 0
        at[place] = (block, start)
        start += wide
    rows["block"] = [at[place][0] for place in rows["place"]]
    rows["start"] = [at[place][1] for place in rows["place"]]
    rows["wide"] = rows["place"].map(widest)
    numbers = rows["variant"].map({label: number for number, label in enumerate(models)})
    return rows.assign(y=_y(rows["block"], numbers, len(models)))


def _y(block: Any, number: Any, models: int) -> Any:
    """Return the height of a model's line in a block, in lines."""
    return block * (models + _GAP) + number


def _cells(rows: pd.DataFrame, colours: Colours, named: dict[str, Arm]) -> go.Bar:
    """Return the cells behind the tokens: what is painted, and what the pointer tells."""
    told = [colours.missing if pd.isna(level) else f"{number(level)}{colours.unit}"
            for level in rows["level"]]  # fmt: skip
    shown = [
        (arm_label(named[variant], 40), style.escape(repr(token)[1:-1]), text)
        for variant, token, text in zip(rows["variant"], rows["token"], told, strict=True)
    ]
    return go.Bar(
        x=(rows["wide"] - 0.2).tolist(),
        base=(rows["start"] + 0.1).tolist(),
        y=rows["y"].tolist(),
        width=0.9,
        orientation="h",
        marker={
            "color": rows["level"].where(rows["painted"], 0.0).tolist(),
            "coloraxis": "coloraxis",
            "opacity": rows["painted"].astype(float).tolist(),
        },
        customdata=shown,
        hovertemplate="%{customdata[0]}: “%{customdata[1]}” <b>%{customdata[2]}</b><extra></extra>",
        showlegend=False,
    )


def _texts(rows: pd.DataFrame, top: float | None) -> go.Scatter:
    """Return the tokens themselves: those on paint that is darkest at `top`, or those beside it."""
    font: dict[str, Any] = dict(_FONT)
    if top is not None:
        shades = [style.activation_colour(min(level / top, 1.0)) for level in rows["level"]]
        font["color"] = [style.ink(shade) for shade in shades]
    return go.Scatter(
        x=(rows["start"] + rows["wide"] / 2).tolist(),
        y=rows["y"].tolist(),
        text=[style.escape(token) for token in rows["shown"]],
        mode="text",
        textfont=font,
        hoverinfo="skip",
        showlegend=False,
    )


def _set_axes(figure: go.Figure, arms: Sequence[Arm], blocks: int, line: int) -> None:
    lines = [(block, place) for block in range(blocks) for place in range(len(arms))]
    blank = {"showgrid": False, "zeroline": False, "fixedrange": True}
    figure.update_xaxes(range=[0, line], showticklabels=False, ticks="", **blank)
    figure.update_yaxes(
        range=[_y(blocks - 1, len(arms), len(arms)) - 0.4, -0.6],
        tickvals=[_y(block, place, len(arms)) for block, place in lines],
        ticktext=[arm_label(arms[place]) for _, place in lines],
        **blank,
    )


def _scale(top: float) -> dict[str, Any]:
    return {
        "colorscale": [[0.0, style.activation_colour(0.0)], [1.0, style.activation_colour(1.0)]],
        "cmin": 0.0,
        "cmax": top,
        "colorbar": {
            "orientation": "h",
            "thickness": 10,
            "len": 0.7,
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yanchor": "bottom",
            "yref": "container",
        },
    }

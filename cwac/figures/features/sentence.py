"""One request under several models, token by token, on the colour of a latent's activation."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.features.latent import CARD
from cwac.figures.panels import arm_label, number, order, titled

LINE: Final = 44
"""Characters of a line: as many as a card has in a small window."""
LONGEST: Final = 16
"""Characters of a token that are drawn; the label at the pointer has them all."""
_ROW, _GAP = 24, 0.7
"""Pixels of a model's line, and the space after each block of lines as a share of it."""
_FONT: Final = {"family": "monospace", "size": 12}


class _Place(NamedTuple):
    """Where a token is drawn: its block, and its first and last character there."""

    block: int
    start: float
    width: float


def coloured_tokens(tokens: pd.DataFrame, arms: Sequence[Arm], label: str) -> go.Figure:
    """Draw a request as each model reads it: a line a model, broken into blocks where it is long.

    Parameters
    ----------
    tokens : DataFrame
        ``variant, place, token, activation``; a missing activation was not read.
    arms : sequence of Arm
        The aligned model first.
    label : str
        The latent.

    Notes
    -----
    One colour scale for all models. Where the latent is silent nothing is painted, and the text
    has the page's own colour; on paint it is black or white, whichever reads better (`style.ink`).
    """
    arms = order(arms, tokens)
    rows = tokens.assign(shown=tokens["token"].map(shown_token))
    widths = rows.groupby("place")["shown"].agg(lambda part: part.str.len().max() + 1)
    places = dict(zip(widths.index, _laid_out(widths.tolist()), strict=True))
    numbers = {arm.label: place for place, arm in enumerate(arms)}
    rows = rows[rows["variant"].isin(numbers)]
    at = [places[place] for place in rows["place"]]
    ys = [_y(where.block, numbers[variant], len(arms))
          for where, variant in zip(at, rows["variant"], strict=True)]  # fmt: skip
    top = max(float(rows["activation"].max()), 0.0) if rows["activation"].notna().any() else 0.0
    fires = (rows["activation"] > 0).tolist()
    figure = go.Figure(_cells(rows, at, ys, fires, {arm.label: arm for arm in arms}))
    colours = [style.activation_colour(min(level / top, 1.0)) if level > 0 else ""
               for level in rows["activation"]]  # fmt: skip
    for painted in (True, False):
        mine = [place for place, fired in enumerate(fires) if fired == painted]
        ink = {"color": [style.ink(colours[place]) for place in mine]} if painted else {}
        figure.add_trace(
            go.Scatter(
                x=[at[place].start + at[place].width / 2 for place in mine],
                y=[ys[place] for place in mine],
                text=[style.escape(rows["shown"].iloc[place]) for place in mine],
                mode="text",
                textfont={**_FONT, **ink},
                hoverinfo="skip",
                showlegend=False,
            )
        )
    blocks = max((where.block for where in at), default=0) + 1
    _set_axes(figure, arms, blocks)
    title = _title(rows, arms, label)
    height = round(_ROW * blocks * (len(arms) + _GAP))
    titled(figure, title, height=height + 110, width=CARD)
    figure.update_layout(margin_b=66, bargap=0, coloraxis=_scale(top or 1.0))
    return figure


def shown_token(text: str) -> str:
    r"""Return a token as it is drawn: no space around it, none of it invisible, none too long.

    Examples
    --------
    >>> shown_token(" bomb"), shown_token("\n"), shown_token(" ")
    ('bomb', '↵', '␣')
    """
    line = "".join("↵" if sign == "\n" else sign if sign.isprintable() else "·" for sign in text)
    stripped = line.strip() or "␣" * bool(line) or "∅"
    return stripped if len(stripped) <= LONGEST else f"{stripped[: LONGEST - 1]}…"


def _laid_out(widths: Sequence[int]) -> list[_Place]:
    """Return where each token is drawn, as a text is broken into lines."""
    places: list[_Place] = []
    block, start = 0, 0
    for width in widths:
        if start and start + width > LINE:
            block, start = block + 1, 0
        places.append(_Place(block, start, width))
        start += width
    return places


def _y(block: int, line: int, lines: int) -> float:
    return block * (lines + _GAP) + line


def _cells(
    rows: pd.DataFrame,
    at: Sequence[_Place],
    ys: Sequence[float],
    fires: Sequence[bool],
    named: dict[str, Arm],
) -> go.Bar:
    """Return the cells behind the tokens: what is painted, and what the pointer tells."""
    levels = rows["activation"].tolist()
    told = ["not read" if pd.isna(level) else number(level) for level in levels]
    shown = [
        (arm_label(named[variant], 40), style.escape(repr(token)[1:-1]), text)
        for variant, token, text in zip(rows["variant"], rows["token"], told, strict=True)
    ]
    return go.Bar(
        x=[where.width - 0.2 for where in at],
        base=[where.start + 0.1 for where in at],
        y=list(ys),
        width=0.9,
        orientation="h",
        marker={
            "color": [level if fired else 0.0 for level, fired in zip(levels, fires, strict=True)],
            "coloraxis": "coloraxis",
            "opacity": [float(fired) for fired in fires],
        },
        customdata=shown,
        hovertemplate="%{customdata[0]}: “%{customdata[1]}” <b>%{customdata[2]}</b><extra></extra>",
        showlegend=False,
    )


def _set_axes(figure: go.Figure, arms: Sequence[Arm], blocks: int) -> None:
    lines = [(block, line) for block in range(blocks) for line in range(len(arms))]
    figure.update_xaxes(range=[0, LINE], visible=False, fixedrange=True)
    figure.update_yaxes(
        range=[_y(blocks - 1, len(arms), len(arms)) - 0.4, -0.6],
        tickvals=[_y(block, line, len(arms)) for block, line in lines],
        ticktext=[arm_label(arms[line]) for _, line in lines],
        showgrid=False,
        zeroline=False,
        fixedrange=True,
    )


def _scale(top: float) -> dict[str, object]:
    return {
        "colorscale": [[0.0, style.activation_colour(0.0)], [1.0, style.activation_colour(1.0)]],
        "cmin": 0.0,
        "cmax": top,
        "colorbar": {
            "title": {"text": "activation; no colour: silent", "side": "top"},
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


def _title(rows: pd.DataFrame, arms: Sequence[Arm], label: str) -> str:
    """Say how high the latent comes in each model, and where in the first."""
    texts = []
    for arm in arms:
        mine = rows[(rows["variant"] == arm.label) & rows["activation"].notna()]
        if mine.empty:
            continue
        best = mine.loc[mine["activation"].idxmax()]
        told = arm.is_aligned and best["activation"] > 0
        where = f", at “{shown_token(best['token'])}”," if told else ""
        model = f"the {arm.title}" if arm.is_aligned else arm.title
        texts.append(f"{number(best['activation'])}{where} in {model}")
    return f"On this request {label} comes to {'; '.join(texts)}" if texts else f"{label}: not read"

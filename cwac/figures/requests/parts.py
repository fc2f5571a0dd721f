"""Which part's restoring flips one request, and how an answer is chosen token by token."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cwac.analysis.enumeration import enumerated
from cwac.arms import Arm
from cwac.figures import style
from cwac.figures.mechanism.grids import cells
from cwac.figures.panels import arm_line, order, titled
from cwac.figures.tokens import Colours, coloured_tokens

_LEAST: Final = 1.0
"""Nats at which the colour is darkest at least, so that noise is not painted."""
_LINE: Final = 80
"""Characters of a line of answers: the figure has the page's width."""
_MOST: Final = 8.0
"""Log-odds at which colours end: a refusal is all but certain."""


def restored_parts(table: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the refusal log-odds of one request with each part restored, a row an arm.

    Parameters
    ----------
    table : DataFrame
        From ``cwac.analysis.causes.restored_request``.
    """
    drawn = order(arms, table)
    labels = [arm.label for arm in drawn]
    parts = list(dict.fromkeys(table["part"]))
    grid = table.pivot_table("odds", "variant", "part").reindex(index=labels, columns=parts)
    chance = table.pivot_table("control", "variant", "part").reindex(index=labels, columns=parts)
    ends = table.groupby("variant")[["tuned", "aligned"]].first().reindex(labels)
    grid.insert(0, "nothing", ends["tuned"])
    grid["everything"] = ends["aligned"]
    answered = table.pivot_table("outcome", "variant", "part", aggfunc="first")
    answered = answered.reindex(index=labels, columns=grid.columns)
    controls = chance.reindex(columns=grid.columns)
    notes = [
        [_note(*pair) for pair in zip(*line, strict=True)]
        for line in zip(controls.to_numpy(dtype=float), answered.to_numpy(), strict=True)
    ]
    grid.index = pd.Index([arm.title for arm in drawn])
    heat = cells(
        grid,
        "{:+.1f}".format,
        colorscale="RdBu",
        zmin=-_MOST,
        zmax=_MOST,
        showscale=False,
        customdata=notes,
        hovertemplate="%{y}, %{x}: <b>%{z:+.2f}</b> nats%{customdata}<extra></extra>",
    )
    figure = go.Figure(heat)
    title = "restored to its aligned weights; in the cells: refusal log-odds (nats)"
    figure.update_xaxes(title=title, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    height = 150 + 34 * max(len(drawn), 2)
    return titled(figure, _flips_title(table, drawn), height=height, width=70)


def _note(chance: float, outcome: object) -> str:
    text = "" if np.isnan(chance) else f"<br>a random set of equal norm: {chance:+.2f}"
    return text + (f"<br>its greedy answer: {outcome}" if isinstance(outcome, str) else "")


def _flips_title(table: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Say arm by arm which part turns this request into a refusal, and what chance does."""
    texts, leaning = [], []
    for arm in arms:
        rows = table[table["variant"] == arm.label]
        flipping = rows[rows["flips"]].sort_values("odds", ascending=False)
        if rows["tuned"].isna().all():
            continue
        if (rows["tuned"] > 0).all():
            leaning.append(arm.title)
        elif flipping.empty:
            texts.append(f"restoring no single part turns {arm.title} to refusing")
        else:
            first = flipping.iloc[0]
            others = f" (so do {len(flipping) - 1} others)" if len(flipping) > 1 else ""
            by_chance = "" if np.isnan(first["control"]) else (
                f", a random set of equal norm {first['control']:+.1f}"
            )  # fmt: skip
            texts.append(
                f"restoring {first['part']} turns {arm.title} to refusing, {first['tuned']:+.1f} "
                f"to {first['odds']:+.1f}{by_chance}{others}"
            )
    if leaning:
        lean = "leans" if len(leaning) == 1 else "lean"
        texts.append(f"{enumerated(leaning)} {lean} towards refusing it as it is")
    text = "; ".join(texts) or "No part was restored"
    return text[:1].upper() + text[1:]


def coloured_answers(tokens: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw every model's answer token by token, on the colour of what the aligned one would say.

    Parameters
    ----------
    tokens : DataFrame
        As for `along_answers`.
    """
    colours = Colours("divergence", "KL(aligned || tuned) of the next token (nats)", " nats",
                      missing="the model it is measured from", least=_LEAST)  # fmt: skip
    return coloured_tokens(
        tokens, arms, colours, _parting_title(tokens, arms), line=_LINE, width=70
    )


def along_answers(tokens: pd.DataFrame, arms: Sequence[Arm]) -> go.Figure:
    """Draw the refusal log-odds before each token of every model's answer.

    Parameters
    ----------
    tokens : DataFrame
        ``variant, place, refusal_log_odds, divergence, token`` (empty where it is hidden).
    """
    figure = go.Figure()
    figure.add_hline(y=0, line={"color": style.GREY, "width": 1})
    for arm in order(arms, tokens):
        rows = tokens[tokens["variant"] == arm.label].sort_values("place")
        shown = np.column_stack([[style.escape(text) for text in rows["token"]],
                                 [_nats(value) for value in rows["divergence"]]])  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=rows["place"],
                y=rows["refusal_log_odds"],
                customdata=shown,
                hovertemplate="token %{x} %{customdata[0]}: <b>%{y:+.2f}</b> nats"
                "%{customdata[1]}<extra></extra>",
                **arm_line(arm),
            )
        )
    figure.update_xaxes(title="token of the answer", dtick=5)
    figure.update_yaxes(title="refusal log-odds (nats)")
    return titled(figure, _along_title(tokens, arms), height=300, width=70)


def _nats(value: float | None) -> str:
    unknown = value is None or np.isnan(value)
    return "" if unknown else f"<br>KL from the aligned model {value:.2f} nats"


def _along_title(tokens: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Say how near a refusal is before the first token."""
    first = tokens[tokens["place"] == 1].dropna(subset=["refusal_log_odds"])
    rows = first.drop_duplicates("variant").set_index("variant")["refusal_log_odds"]
    texts = [f"{rows[arm.label]:+.2f} in {arm.title}" for arm in arms if arm.label in rows]
    told = f": {'; '.join(texts)}" if texts else ""
    return f"Refusal log-odds before the first token{told}"


def _parting_title(tokens: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Say where each tuned answer parts from what the aligned model would say."""
    texts = []
    for arm in order(arms, tokens):
        rows = tokens[(tokens["variant"] == arm.label)].dropna(subset=["divergence"])
        if rows.empty:
            continue
        total = rows["divergence"].sum()
        row = rows.iloc[int(rows["divergence"].to_numpy().argmax())]
        share = row["divergence"] / total if total > 0 else 0.0
        texts.append(
            f"{arm.title} differs most from the aligned model at token {row['place']:.0f} "
            f"({row['divergence']:.1f} nats, {100 * share:.0f}\u00a0% of its answer's)"
        )
    return "; ".join(texts[:3]) or "The answers token by token"

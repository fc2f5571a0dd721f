"""Answers token by token: how far each parts from the aligned model, and how near refusing is."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from cwac.arms import Arm
from cwac.figures.requests.parts import along_answers
from cwac.messages import Answer
from cwac.ui import selection
from cwac.ui.widgets import cell_paint, show_figure

_LEAST: Final = 1.0
"""Nats at which the colour is darkest at least, so that noise is not painted."""


def show_along(answers: Sequence[Answer], named: Mapping[str, Arm], *, harmful: bool) -> None:
    """Draw answers token by token; of a harmful request the tokens only while answers are shown.

    Parameters
    ----------
    named : mapping of str to Arm
        By the answers' ``variant``.
    """
    # Of several seeds of an arm the first: a line and a row each.
    first = {one.variant: one for one in reversed(answers)}
    told = [one for one in answers if one.along and one.variant in named and
            one is first[one.variant]]  # fmt: skip
    if not told:
        return
    hidden = harmful and not selection.current().reveal
    tokens = _table(told, hidden=hidden)
    st.dataframe(
        coloured_tokens(tokens, named),
        key="along_tokens",
        alt="Models in rows, the tokens of their answers in columns.",
    )
    divergence = tokens["divergence"].dropna()
    most = max(float(divergence.max()) if len(divergence) else 0.0, _LEAST)
    st.caption(
        "Every token on the colour of its divergence: KL(aligned || tuned) of the next token, both "
        f"models reading the answer so far; darkest: {most:.1f} nats."
        + (" The tokens are hidden: the request is harmful." if hidden else "")
    )
    show_figure(
        along_answers(tokens, list({one.variant: named[one.variant] for one in told}.values())),
        "along",
        data=tokens,
        reading="How near a refusal is before each token: the log-odds that a refusal's first "
        "token comes next. After its first words a refusal has begun, and they fall.",
        terms=("refusal log-odds", "aligned model"),
    )


def _table(answers: Sequence[Answer], *, hidden: bool) -> pd.DataFrame:
    rows = [
        {
            "variant": one.variant,
            "seed": one.seed,
            "place": place,
            "token": "" if hidden else token.text,
            "divergence": token.divergence,
            "refusal_log_odds": token.refusal_log_odds,
        }
        for one in answers
        for place, token in enumerate(one.along, start=1)
    ]
    kinds = {"divergence": "float64", "refusal_log_odds": "float64"}
    return pd.DataFrame(rows).astype(kinds)


def coloured_tokens(tokens: pd.DataFrame, named: Mapping[str, Arm]) -> Styler:
    """Return models in rows and tokens in columns, each on the colour of its divergence."""
    order = list(dict.fromkeys(tokens["variant"]))
    first = tokens.drop_duplicates(["variant", "place"])
    grid = first.pivot_table("token", "variant", "place", aggfunc="first").reindex(order)
    shares = first.pivot_table("divergence", "variant", "place", dropna=False)
    shares = shares.reindex(index=order, columns=grid.columns)
    most = max(float(shares.max().max() or 0), _LEAST)

    styled = grid.fillna("").astype(str)
    styled.columns = styled.columns.astype(str)
    styled.index = pd.Index([named[label].title for label in order], name="model")
    paint = pd.DataFrame(
        [[_paint(share) for share in line] for line in (shares / most).to_numpy(dtype=float)],
        index=styled.index,
        columns=styled.columns,
    )
    return styled.style.apply(lambda _: paint, axis=None)


def _paint(share: float) -> str:
    if np.isnan(share):
        return ""
    return cell_paint(min(share, 1.0))

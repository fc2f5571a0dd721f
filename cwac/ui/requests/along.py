"""Answers token by token: how far each parts from the aligned model, and how near refusing is."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cwac.arms import Arm
from cwac.figures.requests.parts import along_answers, coloured_answers
from cwac.messages import Answer
from cwac.ui import selection
from cwac.ui.widgets import show_figure


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
    arms = list({one.variant: named[one.variant] for one in told}.values())
    show_figure(
        coloured_answers(tokens, arms),
        "along_tokens",
        data=tokens,
        reading="Every token on the colour of its divergence, both models reading the answer so "
        "far; one scale for all. Point at a token for its number."
        + (" The tokens are hidden: the request is harmful." if hidden else ""),
        terms=("aligned model",),
    )
    show_figure(
        along_answers(tokens, arms),
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

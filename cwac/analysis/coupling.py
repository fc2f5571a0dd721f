"""Whether CWAC's two halves reinforce each other: the 2 x 2 table and its test."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.statistics import Interaction, Outcomes, hierarchical_bootstrap, interaction, logit, rate

FOUR: Final = ("sft", "weight_only", "activation_only", "cwac")
"""Neither half, the weight half, the activation half, both."""


def coupling(arms: Mapping[str, Outcomes]) -> Interaction:
    """Return the interaction of the weight and the activation half.

    Parameters
    ----------
    arms : mapping of str to Outcomes
        Compliance with harmful requests of the four arms `FOUR`.
    """
    return interaction(*(arms[name] for name in FOUR))


def coupling_sentence(result: Interaction) -> str:
    """Return what the interaction says, and no more."""
    numbers = (
        f"{result.value:+.2f} nats [{result.low:+.2f}, {result.high:+.2f}], p = {result.p:.2g}; "
        f"as a difference of rates {100 * result.points:+.1f} points "
        f"[{100 * result.points_low:+.1f}, {100 * result.points_high:+.1f}]"
    )
    if result.high < 0:
        text = "The two halves reinforce each other"
    elif result.low > 0:
        text = "The two halves overlap: together they do less than their separate effects add up to"
    else:
        text = "Neither reinforcement nor overlap of the two halves is shown"
    return f"{text}: interaction {numbers}."


def coupling_table(arms: Mapping[str, Outcomes]) -> pd.DataFrame:
    """Return the four arms' rates, and what odds that multiply would give for both halves.

    Returns
    -------
    DataFrame
        ``arm, weight, activation`` (on or off), ``value, low, high, n, seeds``; the last row is
        ``expected`` and has no interval.
    """
    draws = hierarchical_bootstrap({name: arms[name] for name in FOUR})
    rows: list[tuple[Any, ...]] = []
    for name in FOUR:
        share = rate(arms[name], draws=draws[name])
        on = ("off" if name in {"sft", "activation_only"} else "on",
              "off" if name in {"sft", "weight_only"} else "on")  # fmt: skip
        rows.append((name, *on, share.value, share.low, share.high, share.n, share.seeds))
    n, seeds = rows[-1][-2:]
    odds = {name: logit(np.asarray(arms[name].rate), n) for name in FOUR}
    added = odds["weight_only"] + odds["activation_only"] - odds["sft"]
    expected = float(1 / (1 + np.exp(-added)))
    rows.append(("expected", "on", "on", expected, np.nan, np.nan, n, seeds))
    columns = ["arm", "weight", "activation", "value", "low", "high", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def reported_couplings(settings: pd.DataFrame) -> pd.DataFrame:
    """Return the interaction in the paper's own table 5, from means over its printed cells.

    Parameters
    ----------
    settings : DataFrame
        ``reported.settings(..., "harmful_score")``.

    Returns
    -------
    DataFrame
        ``setting, logit`` (nats) and ``points`` (per cent); single runs, without intervals.
    """
    four = settings.dropna(subset=list(FOUR))
    rates = four[list(FOUR)].astype(float)
    odds = np.log(rates / (100 - rates))
    signs = np.array([1, -1, -1, 1])
    columns = {
        "setting": list(four.index),
        "logit": (odds * signs).sum(axis=1).to_numpy(),
        "points": (rates * signs).sum(axis=1).to_numpy(),
    }
    return pd.DataFrame(columns)

"""Whether CWAC's two halves reinforce each other: the 2 x 2 table and its test.

The scale decides. Refusal log-odds at the first answer token have no ends; a harmful score near 0
or 100 % has, and its logit then hangs on the handful of requests that are not yet lost. So the
log-odds come first, and the rates beside them.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.hidden import MARGIN
from cwac.records import RunRecord
from cwac.statistics import (
    Interaction,
    Outcomes,
    SeedMean,
    hierarchical_bootstrap,
    interaction,
    logit,
    rate,
    seed_mean,
)

FOUR: Final = ("sft", "weight_only", "activation_only", "cwac")
"""Neither half, the weight half, the activation half, both."""


def margins_of(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Return the refusal log-odds of every run of the four arms that measured them.

    Returns
    -------
    DataFrame
        ``variant, seed, value`` (nats, mean over the harmful test requests), ``n`` (requests).
    """
    rows = []
    for record in records:
        stored = record.metrics.get(MARGIN)
        if record.arm.label in FOUR and stored is not None and stored.value is not None:
            rows.append((record.arm.label, record.config.seed, stored.value, stored.count))
    return pd.DataFrame(rows, columns=["variant", "seed", "value", "n"])


def margin_coupling(margins: pd.DataFrame) -> SeedMean | None:
    """Return the interaction on refusal log-odds, in nats; None where no seed has all four arms.

    ``L(cwac) - L(weight only) - L(activation only) + L(SFT)`` for each seed that all four share,
    L the mean refusal log-odds; then the mean over seeds. A high L is safe: above 0 the halves
    reinforce each other.
    """
    shared = _shared(margins)
    if shared.empty:
        return None
    return seed_mean(shared[list(FOUR)].to_numpy(dtype=float) @ np.array([1.0, -1.0, -1.0, 1.0]))


def margin_table(margins: pd.DataFrame) -> pd.DataFrame:
    """Return the four arms' refusal log-odds over the seeds that all four share.

    Returns
    -------
    DataFrame
        The columns of `coupling_table`, in nats; the interval is Student's over seeds, missing
        with one. The last row is what two separate effects would add up to.
    """
    shared = _shared(margins)
    seeds, n = len(shared), int(margins["n"].min())
    means = {name: seed_mean(shared[name].tolist()) for name in FOUR}
    rows: list[tuple[Any, ...]] = [
        (name, *_halves(name), mean.value, mean.low, mean.high, n, seeds)
        for name, mean in means.items()
    ]
    added = means["weight_only"].value + means["activation_only"].value - means["sft"].value
    rows.append(("expected", "on", "on", added, None, None, n, seeds))
    return pd.DataFrame(rows, columns=_COLUMNS)


def _shared(margins: pd.DataFrame) -> pd.DataFrame:
    wide = margins.pivot_table("value", "seed", "variant").reindex(columns=list(FOUR))
    return wide.dropna()


def margin_sentence(result: SeedMean, table: pd.DataFrame) -> str:
    """Return what the interaction on refusal log-odds says, and no more.

    The scale has no ends: four arms that all comply can show an interaction. So the sentence says
    where both halves together end.

    Parameters
    ----------
    table : DataFrame
        From `margin_table`.
    """
    ends = table.set_index("arm")["value"]
    alone, both = float(ends["sft"]), float(ends["cwac"])
    if result.low is None or result.high is None or result.error is None:
        return (
            f"One seed does not tell whether the halves reinforce each other: interaction "
            f"{result.value:+.2f} nats of refusal log-odds, without an interval."
        )
    if result.low > 0:
        text = "The two halves reinforce each other"
        text += ", and CWAC still ends below 0" if both < 0 else ""
    elif result.high < 0:
        text = "The two halves overlap: together they do less than their separate effects add up to"
    else:
        text = "Neither reinforcement nor overlap of the two halves is shown"
    return (
        f"{text}: interaction {result.value:+.2f} nats of refusal log-odds [{result.low:+.2f}, "
        f"{result.high:+.2f}], standard error {result.error:.2f}, p = {result.p:.2g}; SFT ends at "
        f"{alone:+.2f}, CWAC at {both:+.2f}."
    )


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
        rows.append(
            (name, *_halves(name), share.value, share.low, share.high, share.n, share.seeds)
        )
    n, seeds = rows[-1][-2:]
    odds = {name: logit(np.asarray(arms[name].rate), n) for name in FOUR}
    added = odds["weight_only"] + odds["activation_only"] - odds["sft"]
    expected = float(1 / (1 + np.exp(-added)))
    rows.append(("expected", "on", "on", expected, np.nan, np.nan, n, seeds))
    return pd.DataFrame(rows, columns=_COLUMNS)


_COLUMNS: Final = ["arm", "weight", "activation", "value", "low", "high", "n", "seeds"]


def _halves(name: str) -> tuple[str, str]:
    """Say whether the weight half and the activation half of an arm are on."""
    return (
        "off" if name in {"sft", "activation_only"} else "on",
        "off" if name in {"sft", "weight_only"} else "on",
    )


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

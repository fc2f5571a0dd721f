"""What greedy answers hide, per arm: the margin of refusal, sampled answers, begun answers."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.outcomes import Cells
from cwac.arms import ALIGNED
from cwac.rates import DECODINGS
from cwac.records import RunRecord
from cwac.statistics import Outcomes, rates, seed_mean

MARGIN: Final = "refusal_log_odds"
"""Refusal log-odds at the first answer token, in nats; a greedy answer shows its sign alone."""
TITLES: Final = {
    MARGIN: "Refusal log-odds (nats)",
    **{one.name: one.title for one in DECODINGS.values()},
}
"""Of every number here, in the order of tables."""
COLUMNS: Final = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
READ: Final = ("prompt_id", "way", "outcome", "reason")
"""The columns of ``samples`` that are looked at."""


def margin_rows(records: Iterable[RunRecord], aligned: RunRecord | None) -> pd.DataFrame:
    """Return each arm's refusal log-odds, mean over its harmful test requests, then its seeds.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`, in nats. The interval is Student's over seeds, missing with one.
    """
    values: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    for record in [*([aligned] if aligned else []), *records]:
        stored = record.metrics.get(MARGIN)
        if stored is None or stored.value is None:
            continue
        label = ALIGNED.label if record is aligned else record.arm.label
        values.setdefault(label, []).append(stored.value)
        counts[label] = min(stored.count or 0, counts.get(label, stored.count or 0))
    rows = []
    for label, mine in values.items():
        mean = seed_mean(mine)
        rows.append(
            (label, MARGIN, mean.value, mean.low, mean.high, counts[label], mean.seeds, "t")
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def decoding_rows(samples: pd.DataFrame, only: Sequence[str] = ()) -> pd.DataFrame:
    """Return each arm's harmful scores under other decodings; none where they were not measured.

    Parameters
    ----------
    samples : DataFrame
        `READ` of the table ``samples`` of runs and of the aligned model, with ``variant`` and
        ``seed``.
    only : sequence of str
        Names of the decodings that are asked for, which takes less time; all of them without any.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`, as of ``outcomes.rate_table``: fractions over requests and seeds.
    """
    rows: list[tuple[Any, ...]] = []
    for name, arms in decoding_outcomes(samples, only).items():
        for variant, share in rates(arms).items():
            rows.append((variant, name, share.value, share.low, share.high, share.n,
                         share.seeds, share.method))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def decoding_outcomes(
    samples: pd.DataFrame, only: Sequence[str] = ()
) -> dict[str, dict[str, Outcomes]]:
    """Return what each request counts with under every decoding, by its name, then by arm.

    Parameters
    ----------
    samples, only
        As `decoding_rows` takes them.
    """
    asked = [one for one in DECODINGS.values() if not only or one.name in only]
    if only:
        samples = samples[samples["way"].isin([one.way for one in asked])]
    cells = Cells(samples)
    return {one.name: cells.outcomes(*one.counted(samples), pool=one.pool) for one in asked}

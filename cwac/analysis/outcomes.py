"""What became of each test request, per arm: rates with intervals."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import compress
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.rates import RATES, tabled_rates
from cwac.statistics import Outcomes, Rate, rates

READ: Final = tuple(
    dict.fromkeys(["prompt_id", *(name for rate in tabled_rates() for name in rate.columns)])
)
"""The columns of ``responses`` that tables of rates are made of."""


def outcomes_of(responses: pd.DataFrame, name: str) -> dict[str, Outcomes]:
    """Return yes/no outcomes of each arm for one of ``cwac.rates.RATES``.

    Requests that some seed of an arm did not answer, or whose answer could not be marked, are
    left out of that arm; arms without any are left out.
    """
    keys = ["variant", "seed", "prompt_id"]
    answers = RATES[name].answers(responses, keys)
    if answers.empty:
        return {}
    return outcomes_by_arm(answers.drop_duplicates(keys).set_index(keys)["hit"])


def outcomes_by_arm(hits: "pd.Series[Any]", kind: type = bool) -> dict[str, Outcomes]:
    """Return the outcomes of each arm that every seed of it has, as `complete` gives them.

    Parameters
    ----------
    hits : Series
        One per ``variant, seed, prompt_id``, which are its index.
    """
    # One row per variant and seed: a single reshape, because it is what takes the time here.
    grid = hits.astype(float).unstack("prompt_id")
    requests = tuple(map(str, grid.columns))
    values = grid.to_numpy()
    seeds = grid.index.get_level_values("seed").to_numpy()
    rows = grid.groupby(level="variant", sort=False).indices
    order = hits.index.get_level_values("variant").unique()
    arms = {str(v): _complete(values[rows[v]], seeds[rows[v]], requests, kind) for v in order}
    return {variant: outcomes for variant, outcomes in arms.items() if outcomes is not None}


def rate_table(
    responses: pd.DataFrame,
    names: Sequence[str] | None = None,
    at_hand: Callable[[str], Mapping[str, Rate]] | None = None,
) -> pd.DataFrame:
    """Return every rate that tables show, or those of `names`, of every arm, in long form.

    Parameters
    ----------
    at_hand : callable, optional
        Gives each arm's rate, where they are known already.

    Returns
    -------
    DataFrame
        ``variant, rate, value, low, high, n, seeds, method``: a fraction with its 95 % interval
        over `n` requests and `seeds` seeds. A rate that was not measured has no row.
    """
    rows = []
    for name in names or [tabled.name for tabled in tabled_rates()]:
        shares = rates(outcomes_of(responses, name)) if at_hand is None else at_hand(name)
        for variant, share in shares.items():
            rows.append((variant, name, share.value, share.low, share.high, share.n, share.seeds,
                         share.method))  # fmt: skip
    columns = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
    return pd.DataFrame(rows, columns=columns)


class Rates:
    """The rates that claims speak of: those of the page's table, so that both show the same."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._rows = by_arm_and_rate(table)

    def text(self, arm: str, name: str) -> str:
        """Return a rate with its interval as text."""
        return interval_text(self._rows[arm, name])


def interval_text(row: "Mapping[Hashable, Any] | pd.Series[Any]") -> str:
    r"""Return a rate with its interval as text, from ``value``, ``low`` and ``high``.

    Examples
    --------
    >>> interval_text({"value": 0.966, "low": 0.93, "high": 0.982}).replace("\u00a0", " ")
    '97 % [93, 98]'
    """
    value, low, high = (100 * row[part] for part in ("value", "low", "high"))
    # The space does not break: a line that begins with "%" is hard to read.
    return f"{value:.0f}\u00a0% [{low:.0f}, {high:.0f}]"


def by_arm_and_rate(table: pd.DataFrame) -> dict[tuple[str, str], dict[Hashable, Any]]:
    """Return the rows of a :func:`rate_table` by arm and rate."""
    return {(row["variant"], row["rate"]): row for row in table.to_dict("records")}


def complete(wide: pd.DataFrame, kind: type = bool) -> Outcomes | None:
    """Return the outcomes of one arm that every seed has, None where there are none.

    A seed without any answer drops out; so does a request that only some seeds answered.

    Parameters
    ----------
    wide : DataFrame
        Seeds x requests, true or false, empty where not answered or not marked.
    kind : type
        ``bool``, or ``float`` where a request counts with a share.
    """
    # As numbers: pandas takes ten times as long to drop rows and columns of a small table.
    values = wide.to_numpy(dtype=float, na_value=np.nan)
    return _complete(values, wide.index.to_numpy(), tuple(map(str, wide.columns)), kind)


def _complete(
    values: np.ndarray, seeds: np.ndarray, requests: tuple[str, ...], kind: type
) -> Outcomes | None:
    there = ~np.isnan(values)
    rows = there.any(axis=1)
    columns = there[rows].all(axis=0)
    if not rows.any() or not columns.any():
        return None
    if not columns.all():
        requests = tuple(compress(requests, columns))
    return Outcomes(
        values[np.ix_(rows, columns)].astype(kind), tuple(map(int, seeds[rows])), requests
    )

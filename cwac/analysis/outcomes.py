"""What became of each test request, per arm: rates with intervals."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import compress
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from cwac.analysis.seeds import ends_text
from cwac.arms import ALIGNED
from cwac.rates import RATES, tabled_rates
from cwac.statistics import Outcomes, Rate, rates

READ: Final = tuple(
    dict.fromkeys(["prompt_id", *(name for rate in tabled_rates() for name in rate.columns)])
)
"""The columns of ``responses`` that tables of rates are made of."""


class Cells:
    """Which arm, seed and request each row of a table is of: found once for all that it says.

    Parameters
    ----------
    table : DataFrame
        Columns ``variant, seed, prompt_id``.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        # As numbers: to compare and to sort texts anew for each rate was most of what it took.
        self._arms, self._labels = pd.factorize(table["variant"])
        self._seeds, self._seed_names = pd.factorize(table["seed"], sort=True)
        self._requests, self._request_names = pd.factorize(table["prompt_id"], sort=True)

    def outcomes(
        self, among: np.ndarray, hits: np.ndarray, *, pool: Literal["first", "any", "mean"]
    ) -> dict[str, Outcomes]:
        """Return the outcomes of each arm, as `complete` gives them, in the order of their rows.

        Parameters
        ----------
        among, hits : ndarray
            From `cwac.rates.Rate.counted`.
        pool : str
            What counts of several answers to a request: the first one, any hit, or the share of
            hits, which then is not yes or no.
        """
        arms, seeds = self._arms[among], self._seeds[among]
        asked, requests = np.unique(self._requests[among], return_inverse=True)
        names = tuple(str(self._request_names[place]) for place in asked)
        found = {}
        for arm in pd.unique(arms):
            mine = arms == arm
            of_seeds, rows = np.unique(seeds[mine], return_inverse=True)
            shape = (len(of_seeds), len(names))
            grid = _pooled(rows, requests[mine], hits[mine], shape, pool)
            kind = float if pool == "mean" else bool
            outcomes = _complete(grid, self._seed_names[of_seeds].to_numpy(), names, kind)
            if outcomes is not None:
                found[str(self._labels[arm])] = outcomes
        return found


def _pooled(
    rows: np.ndarray, columns: np.ndarray, hits: np.ndarray, shape: tuple[int, int], pool: str
) -> np.ndarray:
    """Return a number per seed and request, missing where nothing was answered."""
    grid = np.full(shape, np.nan)
    if pool == "first":
        # Backwards, because what is written last stays.
        grid[rows[::-1], columns[::-1]] = hits[::-1]
        return grid
    cells = np.ravel_multi_index((rows, columns), shape)
    count = np.bincount(cells, minlength=grid.size).reshape(shape)
    total = np.bincount(cells, weights=hits, minlength=grid.size).reshape(shape)
    if pool == "any":
        return np.where(count > 0, total > 0, grid)
    np.divide(total, count, out=grid, where=count > 0)
    return grid


def outcomes_of(
    responses: pd.DataFrame, name: str, cells: Cells | None = None
) -> dict[str, Outcomes]:
    """Return yes/no outcomes of each arm for one of ``cwac.rates.RATES``.

    Requests that some seed of an arm did not answer, or whose answer could not be marked, are
    left out of that arm; arms without any are left out.

    Parameters
    ----------
    cells : Cells, optional
        Of `responses`, where several rates are asked for.
    """
    among, hits = RATES[name].counted(responses)
    return (cells or Cells(responses)).outcomes(among, hits, pool="first")


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
    cells = Cells(responses) if at_hand is None else None
    for name in names or [tabled.name for tabled in tabled_rates()]:
        shares = rates(outcomes_of(responses, name, cells)) if at_hand is None else at_hand(name)
        for variant, share in shares.items():
            rows.append((variant, name, share.value, share.low, share.high, share.n, share.seeds,
                         share.method))  # fmt: skip
    columns = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
    return pd.DataFrame(rows, columns=columns)


class Rates:
    """The rates that claims speak of: those of the page's table, so that both show the same."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._rows = by_arm_and_rate(table)

    def text(self, arm: str, name: str, beside: str | None = None) -> str:
        """Return a rate with its interval as text, told from that of the arm `beside` it."""
        row = self._rows[arm, name]
        other = row if beside is None else self._rows[beside, name]
        return interval_text(row, digits_apart(row["value"], other["value"]))


def interval_text(
    row: "Mapping[Hashable, Any] | pd.Series[Any]", digits: int = 0, ends: int | None = None
) -> str:
    r"""Return a rate with its interval as text, from ``value``, ``low`` and ``high``.

    Parameters
    ----------
    digits, ends : int
        Decimals of the rate in per cent, and of its interval where that has others.

    Examples
    --------
    >>> row = {"value": 0.966, "low": 0.93, "high": 0.982}
    >>> [interval_text(row, *digits).replace("\u00a0", " ") for digits in [(), (1, 0)]]
    ['97 % [93, 98]', '96.6 % [93, 98]']
    """
    value, low, high = (100 * row[part] for part in ("value", "low", "high"))
    ends = digits if ends is None else ends
    # The space does not break: a line that begins with "%" is hard to read.
    return f"{value:.{digits}f}\u00a0% {ends_text(f'{low:.{ends}f}', f'{high:.{ends}f}')}"


def digits_apart(*values: float) -> int:
    """Return how many decimals per cents take that stand side by side: one where equals are none.

    Examples
    --------
    >>> digits_apart(0.009, 0.010), digits_apart(0.01, 0.97), digits_apart(0.5, 0.5)
    (1, 0, 0)
    """
    shown = {f"{100 * value:.0f}" for value in values}
    return int(len(shown) < len({f"{100 * value:.1f}" for value in values}))


def aside(row: Mapping[Hashable, Any] | None) -> str:
    """Return what stands behind a rate that nobody shall take for a defect, empty for most.

    Examples
    --------
    >>> aside({"variant": "aligned", "rate": "task_accuracy"}), aside(None)
    (' (not trained for it)', '')
    """
    if row is None:
        return ""
    untrained = row["variant"] == ALIGNED.label and row["rate"] == "task_accuracy"
    return " (not trained for it)" if untrained else ""


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

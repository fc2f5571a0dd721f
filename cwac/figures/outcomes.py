"""What became of each test request, per arm: rates with intervals and their table."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.arms import Arm, in_order
from cwac.figures.rates import complete
from cwac.figures.style import arm_style
from cwac.rates import RATES, tabled_rates
from cwac.statistics import Outcomes, hierarchical_bootstrap, rate

READ: Final = tuple(
    dict.fromkeys(["prompt_id", *(name for rate in tabled_rates() for name in rate.columns)])
)
"""The columns of ``responses`` that tables of rates are made of."""
_FIRST: Final = ("harmful_score", "task_accuracy", "over_refusal_rate", "helpfulness")
"""What safety and what it costs stand first in the page's table."""
_DRAWN: Final = frozenset({"refusal_rate", "undetermined_rate"})
"""What the figure above the page's table shows already."""


def outcomes_of(responses: pd.DataFrame, name: str) -> dict[str, Outcomes]:
    """Return yes/no outcomes of each arm for one of ``cwac.rates.RATES``.

    Prompts that some seed of an arm did not answer, or whose answer could not be marked, are
    left out of that arm; arms without any are left out.
    """
    keys = ["variant", "seed", "prompt_id"]
    answers = RATES[name].answers(responses, keys)
    if answers.empty:
        return {}
    # One row per variant and seed: a single reshape, because it is what takes the time here.
    hits = answers.drop_duplicates(keys).set_index(keys)["hit"].astype(float)
    grid = hits.unstack("prompt_id")
    arms = {str(v): complete(grid.loc[v]) for v in dict.fromkeys(answers["variant"])}
    return {variant: outcomes for variant, outcomes in arms.items() if outcomes is not None}


def rate_table(responses: pd.DataFrame) -> pd.DataFrame:
    """Return every rate that tables show, of every arm, in long form.

    Returns
    -------
    DataFrame
        ``variant, rate, value, low, high, n, seeds, method``: a fraction with its 95 % interval
        over `n` prompts and `seeds` seeds. A rate that was not measured has no row.
    """
    rows = []
    for name in (tabled.name for tabled in tabled_rates()):
        arms = outcomes_of(responses, name)
        draws = hierarchical_bootstrap(arms)
        for variant, outcomes in arms.items():
            share = rate(outcomes, draws=draws[variant])
            rows.append((variant, name, share.value, share.low, share.high, share.n, share.seeds,
                         share.method))  # fmt: skip
    columns = ["variant", "rate", "value", "low", "high", "n", "seeds", "method"]
    return pd.DataFrame(rows, columns=columns)


class Rates:
    """The rates that claims speak of: those of the page's table, so that both show the same."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._rows = _by_arm_and_rate(table)

    def text(self, arm: str, name: str) -> str:
        """Return a rate with its interval as text."""
        row = self._rows[arm, name]
        value, low, high = (100 * row[part] for part in ("value", "low", "high"))
        # The space does not break: a line that begins with "%" is hard to read.
        return f"{value:.0f}\u00a0% [{low:.0f}, {high:.0f}]"


def _by_arm_and_rate(table: pd.DataFrame) -> dict[tuple[str, str], dict[Hashable, Any]]:
    return {(row["variant"], row["rate"]): row for row in table.to_dict("records")}


def overview_table(rates: pd.DataFrame, arms: Sequence[Arm]) -> pd.DataFrame:
    """Return one row per arm with its rates as text, ``97.0 % [95, 98]``.

    Numbers that were not measured read "not measured"; the last columns say how many prompts and
    seeds there are.
    """
    by_name = _by_arm_and_rate(rates)
    columns = tabled_rates(first=_FIRST)
    rows = []
    for arm in in_order(arms):
        if not (rates["variant"] == arm.label).any():
            continue
        cells = {
            drawn: {
                one.title: _cell(by_name.get((arm.label, one.name)))
                for one in columns
                if (one.name in _DRAWN) == drawn
            }
            for drawn in (False, True)
        }
        harmful = by_name.get((arm.label, "harmful_score"), {})
        row: dict[str, object] = {"Arm": arm_style(arm).label, **cells[False]}
        row |= {"n": harmful.get("n")}
        row["Seeds"] = "" if arm.is_aligned else str(harmful.get("seeds", ""))
        # What the figure above shows already stands last, where a narrow window cuts.
        rows.append(row | cells[True])
    return pd.DataFrame(rows)


def _cell(row: Mapping[Hashable, Any] | None) -> str:
    if row is None:
        return "not measured"
    return f"{100 * row['value']:.1f} % [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"

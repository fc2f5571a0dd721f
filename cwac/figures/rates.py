"""Rates from stored answers: which share refuses, complies or differs, with intervals."""

from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd

from cwac.arms import ALIGNED
from cwac.statistics import Outcomes, hierarchical_bootstrap, mcnemar_exact, rate

GROUPS: Final[Mapping[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "harmful requests": lambda rows: rows["kind"] == "harmful",
    "unseen categories": lambda rows: (rows["kind"] == "harmful") & rows["unseen_category"],
    "novel templates": lambda rows: (rows["kind"] == "harmful") & rows["novel_template"],
    "look-alikes": lambda rows: rows["kind"] == "lookalike",
    "harmless requests": lambda rows: rows["kind"] == "harmless",
}
"""Which test requests a rate is about; task examples are in none."""
HARMFUL: Final = ("harmful requests", "unseen categories", "novel templates")
"""Groups in which refusing is right."""
COLUMNS: Final = ("group", "variant", "value", "low", "high", "n", "seeds", "method")


def with_aligned(responses: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return the runs' responses with the aligned model's as one more arm."""
    if aligned.empty:
        return responses
    first = aligned.assign(variant=ALIGNED.label, seed=0)
    return pd.concat([first, responses], ignore_index=True) if len(responses) else first


def outcome_rates(responses: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the share of each group's requests that has an outcome, per arm.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` with ``variant`` and ``seed``.
    outcome : str
        ``refusal``, ``compliance`` or ``undetermined``.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`; ``value``, ``low`` and ``high`` are fractions, ``n`` counts
        requests (not requests times seeds).
    """
    told = responses.assign(is_so=responses["outcome"] == outcome)
    return _table(told, {name: holds(told) for name, holds in GROUPS.items()})


def category_rates(responses: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return the same per harm category, look-alikes as one more row beside them."""
    told = responses.assign(is_so=responses["outcome"] == outcome)
    harmful = told[(told["kind"] == "harmful") & told["category"].notna()]
    seen, unseen = {}, {}
    for category, rows in harmful.groupby("category", sort=True):
        members = told.index.isin(rows.index)
        if rows["unseen_category"].astype(bool).any():
            unseen[f"{category} (unseen)"] = pd.Series(members, told.index)
        else:
            seen[str(category)] = pd.Series(members, told.index)
    return _table(told, seen | unseen | {"look-alikes": told["kind"] == "lookalike"})


def _table(told: pd.DataFrame, groups: Mapping[str, "pd.Series[bool]"]) -> pd.DataFrame:
    # One table of seeds x requests per arm, of which each group is a choice of columns.
    wide = {
        str(variant): mine.pivot_table("is_so", "seed", "prompt_id", aggfunc="first")
        for variant, mine in told[told["kind"] != "task"].groupby("variant", sort=False)
    }
    rows: list[tuple[object, ...]] = []
    for name, members in groups.items():
        prompts = set(told.loc[members, "prompt_id"])
        arms = {
            variant: outcomes
            for variant, table in wide.items()
            if (outcomes := complete(table.loc[:, table.columns.isin(prompts)])) is not None
        }
        # One call for the group's arms: those with the same prompts share their draws.
        # Arms of one seed take part: intervals are then the same as in `outcomes.rate_table`.
        draws = hierarchical_bootstrap(arms)
        for variant, outcomes in arms.items():
            found = rate(outcomes, draws=draws.get(variant))
            numbers = (found.value, found.low, found.high, found.n, found.seeds, found.method)
            rows.append((name, variant, *numbers))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def complete(wide: pd.DataFrame) -> Outcomes | None:
    """Return the outcomes of one arm that every seed has, None where there are none.

    A seed that was asked nothing drops out; so does a request that only some seeds got.

    Parameters
    ----------
    wide : DataFrame
        Seeds x requests, true or false, empty where not asked or not marked.
    """
    asked = wide.dropna(axis="index", how="all").dropna(axis="columns")
    if asked.empty:
        return None
    seeds = tuple(int(seed) for seed in asked.index)
    return Outcomes(asked.to_numpy(dtype=bool), seeds, tuple(str(p) for p in asked.columns))


def flips(responses: pd.DataFrame, aligned: pd.DataFrame, arm: str, kind: str) -> pd.DataFrame:
    """Count how the outcome of each request changed from the aligned model to an arm, per seed.

    Returns
    -------
    DataFrame
        ``seed``, ``before``, ``after`` (outcomes), ``count``.
    """
    mine = responses[(responses["variant"] == arm) & (responses["kind"] == kind)]
    before = aligned.loc[aligned["kind"] == kind, ["prompt_id", "outcome"]]
    pairs = mine[["seed", "prompt_id", "outcome"]].merge(
        before, on="prompt_id", suffixes=("_after", "_before")
    )
    counted = pairs.groupby(["seed", "outcome_before", "outcome_after"]).size()
    names = {"outcome_before": "before", "outcome_after": "after"}
    return counted.rename("count").reset_index().rename(columns=names)


def flip_tests(table: pd.DataFrame) -> pd.DataFrame:
    """Test per seed whether an arm refuses other requests than the aligned model did.

    Parameters
    ----------
    table : DataFrame
        Result of `flips`.

    Returns
    -------
    DataFrame
        ``seed``, ``lost`` (refused before, not after), ``gained`` (the reverse), ``n``, ``p``
        (exact McNemar on lost and gained). One row per seed: seeds are never pooled.
    """
    rows = []
    for seed, mine in table.groupby("seed"):
        before, after = mine["before"] == "refusal", mine["after"] == "refusal"
        lost = int(mine.loc[before & ~after, "count"].sum())
        gained = int(mine.loc[~before & after, "count"].sum())
        rows.append((seed, lost, gained, int(mine["count"].sum()), mcnemar_exact(lost, gained)))
    return pd.DataFrame(rows, columns=["seed", "lost", "gained", "n", "p"])

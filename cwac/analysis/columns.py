"""How a file of data names its columns: with the unit that the numbers in it have, counts as such.

Stands alone because every CSV of the app follows it, whatever its numbers are about. A page shows
per cents; the data behind it are fractions, and a file must say so.
"""

from collections.abc import Mapping
from typing import Final

import pandas as pd

from cwac.rates import RATES

_WORDS: Final = {"%": "fraction", "points": "fraction"}
"""What the numbers are that a page shows in per cent, or in percentage points."""
_ENDS: Final = ("", "_low", "_high")
_COUNTS: Final = frozenset(
    {"n", "seed", "seeds", "step", "steps", "layer", "latent", "index", "sample", "methods"}
)
"""Columns of whole numbers; so are those whose names end in ``_n``."""
Units = Mapping[str, str]
"""Of columns, by name, as pages have them: ``%``, ``nats``."""


def rate_units(data: pd.DataFrame) -> dict[str, str]:
    """Return the units of the columns that are named after a rate, or hold rates by name.

    Examples
    --------
    >>> rate_units(pd.DataFrame({"harmful_score": [0.1], "harmful_score_low": [0.0], "n": [9]}))
    {'harmful_score': '%', 'harmful_score_low': '%'}
    """
    known = {f"{name}{end}" for name in RATES for end in _ENDS}
    if "rate" in data and set(data["rate"]) <= RATES.keys():
        known |= {"value", "low", "high"}
    return {name: "%" for name in map(str, data.columns) if name in known}


def unit_word(unit: str) -> str:
    """Return a page's unit as a file says it: ``fraction`` for per cents and points."""
    return _WORDS.get(unit, unit)


def with_units(data: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Return a table whose columns say their units, and whose counts are whole numbers.

    Parameters
    ----------
    units : mapping
        Of columns that have one; a fraction's is ``%``, as pages show it.

    Examples
    --------
    >>> table = with_units(pd.DataFrame({"value": [0.5], "seeds": [3.0]}), {"value": "%"})
    >>> print(table.to_csv(index=False), end="")
    value (fraction),seeds
    0.5,3
    """
    whole = {name: "Int64" for name in data if _is_whole(data, str(name))}
    heads = {name: f"{name} ({unit_word(unit)})" for name, unit in units.items() if unit}
    return data.astype(whole).rename(columns=heads)


def _is_whole(data: pd.DataFrame, name: str) -> bool:
    if name not in _COUNTS and not name.endswith("_n"):
        return False
    known = data[name].dropna()
    return pd.api.types.is_float_dtype(known) and bool((known == known.round()).all())

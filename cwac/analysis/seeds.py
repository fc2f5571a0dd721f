"""Which seeds a table holds, and of how many requests, said from the table itself.

Stands alone because every figure of every page states its seeds, and a sentence that is written
beside a figure instead of computed from its data promises what the runs in view may not hold.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from cwac.analysis.enumeration import enumerated
from cwac.arms import ALIGNED

_MEANS = " Points are means over seeds, bars and bands run from the lowest seed to the highest."


def seeds_sentence(table: pd.DataFrame, *, means: bool = False) -> str:
    """Return the seeds of a table's arms as a sentence, empty where it is about none.

    Parameters
    ----------
    table : DataFrame
        What a figure shows: with a column ``seed`` (one row per seed or more) or ``seeds`` (how
        many stand behind a row), and ``variant``, ``method``, ``arm`` or ``curve`` beside it. The
        aligned model has no seeds and does not count.
    means : bool
        Whether the figure draws means over seeds, with the lowest and highest seed as bars.

    Examples
    --------
    >>> seeds_sentence(pd.DataFrame({"variant": ["sft", "cwac"], "seed": [0, 0]}))
    'Seed 0 alone: nothing is said of the noise between trainings.'
    """
    name = next((c for c in ("variant", "arm", "curve", "method") if c in table), None)
    tuned = table if name is None else table[table[name] != ALIGNED.label]
    if "seed" in tuned:
        rows = tuned.dropna(subset=["seed"])
        group = rows[name] if name is not None else pd.Series("", rows.index)
        by_arm = {arm: tuple(sorted(set(part))) for arm, part in rows["seed"].groupby(group)}
        return _of_sets(list(by_arm.values()), means=means)
    if "seeds" in tuned:
        counts = tuned["seeds"].dropna().astype(int)
        return _of_counts(sorted(set(counts)), means=means)
    return ""


def counts_sentence(table: pd.DataFrame) -> str:
    """Return how many requests, examples or latents stand behind a number, empty where unsaid.

    Examples
    --------
    >>> counts_sentence(pd.DataFrame({"value": [0.1, 0.2], "n": [354, 200]}))
    'n = 200 to 354 behind each number.'
    """
    names = [name for name in map(str, table.columns) if name == "n" or name.endswith("_n")]
    counts = [int(count) for name in names for count in table[name].dropna().unique()]
    if not counts:
        return ""
    least, most = min(counts), max(counts)
    return f"n = {least if least == most else f'{least} to {most}'} behind each number."


def listed(seeds: Iterable[float]) -> str:
    """Return seeds as text, each once, in order.

    Examples
    --------
    >>> listed([2, 0, 1, 1]), listed([3.0])
    ('0, 1 and 2', '3')
    """
    return enumerated(str(int(seed)) for seed in sorted(set(seeds)))


def seeds_text(row: "Mapping[Hashable, Any] | pd.Series[Any]") -> str:
    r"""Return a share as text with its ends, from ``value, low, high, seeds``: see `ends_text`.

    Examples
    --------
    >>> seeds_text({"value": 0.53, "low": 0.51, "high": 0.55, "seeds": 3}).replace("\u00a0", " ")
    '53 % (3 seeds: 51 to 55)'
    >>> seeds_text({"value": 0.53, "low": 0.48, "high": 0.58, "seeds": 1}).replace("\u00a0", " ")
    '53 % [48, 58]'
    >>> seeds_text({"value": 0.53, "low": 0.53, "high": 0.53, "seeds": 1}).replace("\u00a0", " ")
    '53 % (1 seed)'
    """
    value, low, high = (100 * row[part] for part in ("value", "low", "high"))
    seeds = int(row["seeds"])
    ends = ends_text(f"{low:.0f}", f"{high:.0f}", seeds, counted=True)
    # One seed has no range; where it has no interval either, its ends are the number itself.
    return f"{value:.0f}\u00a0% {'(1 seed)' if seeds == 1 and low == high else ends}"


def ends_text(low: str, high: str, seeds: float = 1, *, counted: bool = False) -> str:
    """Return the ends behind a number as text, the one rule for all: which bracket says what it is.

    Square brackets hold a 95 % interval, of one seed or of all taken together; round ones hold the
    lowest and the highest of several seeds.

    Parameters
    ----------
    seeds : float
        How many the ends run over; 1 for an interval.
    counted : bool
        Whether it is said how many seeds a range runs over.

    Examples
    --------
    >>> ends_text("51 %", "55 %"), ends_text("51 %", "55 %", 3)
    ('[51 %, 55 %]', '(51 % to 55 %)')
    >>> ends_text("51", "55", 3, counted=True)
    '(3 seeds: 51 to 55)'
    """
    if seeds > 1:
        return f"({f'{seeds:g} seeds: ' if counted else ''}{low} to {high})"
    return f"[{low}, {high}]"


def seeds_words(table: pd.DataFrame) -> str:
    """Return what the means of a table with ``seed`` (and ``variant``) are over, for a title.

    Examples
    --------
    >>> seeds_words(pd.DataFrame({"variant": ["sft", "sft", "cwac"], "seed": [0, 2, 0]}))
    'means over 1 to 2 seeds an arm'
    """
    variants = table["variant"] if "variant" in table else pd.Series("", table.index)
    sets = [set(part) for _, part in table["seed"].groupby(variants)]
    if any(mine != sets[0] for mine in sets):
        least, most = min(map(len, sets)), max(map(len, sets))
        return f"means over {least if least == most else f'{least} to {most}'} seeds an arm"
    every = sets[0] if sets else set()
    if not every:
        return ""
    return f"seed {listed(every)}" if len(every) == 1 else f"means over seeds {listed(every)}"


def _of_sets(seeds: list[tuple[int, ...]], *, means: bool) -> str:
    if not seeds:
        return ""
    if len(set(seeds)) > 1:
        return _of_counts(sorted({len(mine) for mine in seeds}), means=means)
    (every,) = set(seeds)
    if len(every) == 1:
        return f"Seed {int(every[0])} alone: nothing is said of the noise between trainings."
    return f"Seeds {listed(every)}." + (_MEANS if means else "")


def _of_counts(counts: list[int], *, means: bool) -> str:
    if not counts:
        return ""
    least, most = counts[0], counts[-1]
    if most == 1:
        return "One seed an arm: nothing is said of the noise between trainings."
    number = str(least) if least == most else f"{least} to {most}"
    return f"{number} seeds an arm." + (_MEANS if means else "")

"""Stored interventions as tables to draw: one row a measurement, of one run or over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from cwac.analysis.prediction import Association, associate
from cwac.analysis.seeds import listed, seeds_words
from cwac.arms import Arm
from cwac.statistics import wilson

OUTCOMES: Final = ("refusal", "hybrid", "compliance", "undetermined")
LOG_ODDS: Final = "refusal_log_odds"
ACCURACY: Final = "task_accuracy"
NEITHER: Final = "layer"
"""The grain under which interventions are stored that do not depend on it."""
_PLACE: Final = ("intervention", "grain", "part", "layer", "map", "trial", "dose", "measure")
_KEYS: Final = ("part", "layer", "map", "trial", "dose", "control")
_SHARES: Final = ("returned", "returned_low", "returned_high")
_NUMBERS: Final = ("value", "returned", "refusing", *OUTCOMES)
_SAID: Final = {
    "protected latents": "safety features",
    "random active latents": "random latents",
    "whole residual": "whole stream",
}
"""What trials are stored as, and what a reader is told: a stored name stays for ever."""
_LEVELS: Final = frozenset({"clamp_latents"})
"""Interventions whose dose is a level that was measured, and no setting that tells rows apart."""


def shares_of_losses(dissection: pd.DataFrame) -> pd.DataFrame:
    """Return a table ``dissection`` without the shares of runs whose log-odds rose.

    A share is of what fine-tuning moved beyond chance, whichever way; of a run that refuses more
    than before nothing was lost that could return.
    """
    is_end = (dissection["intervention"] == "ends") & (dissection["measure"] == LOG_ODDS)
    if not is_end.any():
        return dissection
    values = dissection[is_end].set_index(["run_id", "part"])["value"].astype(float)
    means = values.groupby(level=["run_id", "part"]).mean().unstack("part")
    means = means.reindex(columns=["nothing", "everything"])
    rose = set(means.index[means["nothing"] > means["everything"]])
    if not rose:
        return dissection
    shares = dissection[list(_SHARES)].mask(dissection["run_id"].isin(rose))
    return dissection.assign(**{name: shares[name] for name in _SHARES})


def of_runs(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int]
) -> pd.DataFrame:
    """Return the stored rows of the runs in view, named by arm and seed.

    Parameters
    ----------
    dissection : DataFrame
        The experiment's table ``dissection``.
    runs, seeds : mapping
        Id of each run in view to its arm and its seed.

    Returns
    -------
    DataFrame
        ``variant, seed`` and the table's columns, its ``variant`` as ``trial``.
    """
    rows = dissection[dissection["run_id"].isin(list(runs))].rename(columns={"variant": "trial"})
    return rows.assign(
        variant=rows["run_id"].map({run: arm.label for run, arm in runs.items()}),
        seed=rows["run_id"].map(seeds),
        # The column of an empty table has no kind of its own.
        control=rows["control"].astype(bool),
    )


def readings(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int]
) -> pd.DataFrame:
    """Return the rows of the runs in view, several draws of a control as one.

    Parameters
    ----------
    dissection, runs, seeds
        As of `of_runs`.

    Returns
    -------
    DataFrame
        As `of_runs`, without the shares of runs that lost nothing. Several draws of a control are
        their mean, whose interval is that of the first.
    """
    named = shares_of_losses(of_runs(dissection, runs, seeds))
    for stored, said in _SAID.items():
        named["trial"] = named["trial"].str.replace(stored, said, regex=False)
    keys = ["variant", "seed", *_PLACE, "control"]
    rest = [name for name in named.columns if name not in {*keys, "run_id", "draw", "version"}]
    how = {name: "mean" if name in _NUMBERS else "first" for name in rest}
    return named.groupby(keys, sort=False, dropna=False).agg(how).reset_index()


def by_seed(
    rows: pd.DataFrame, arm: Arm, intervention: str, measure: str = LOG_ODDS, grain: str = NEITHER
) -> pd.DataFrame:
    """Return one arm's readings of one intervention, a row a seed.

    Parameters
    ----------
    rows : DataFrame
        From `readings`.

    Returns
    -------
    DataFrame
        ``seed, part, layer, map, trial, dose, control``; ``y, low, high`` (the share of the lost
        log-odds that is back, or the value) with the stored 95 % interval over requests;
        ``is_share`` (which of the two); ``n``, ``refusing`` and the outcomes. Shares are drawn
        where any seed lost log-odds: a seed that lost none then has no rows and is named in
        ``left_out``; where none of them did, the values themselves are.
    """
    mine = rows[
        (rows["variant"] == arm.label)
        & (rows["intervention"] == intervention)
        & (rows["measure"] == measure)
        & (rows["grain"] == grain)
    ]
    lost = mine["returned"].notna().groupby(mine["seed"]).transform("all").astype(bool)
    is_share = measure == LOG_ODDS and bool(lost.any())
    drawn = mine[lost] if is_share else mine
    left_out = set(mine["seed"]) - set(drawn["seed"])
    y, low, high = (drawn[name] for name in (_SHARES if is_share else ("value", "low", "high")))
    return drawn.assign(
        y=y, low=low, high=high, is_share=is_share, left_out=listed(left_out) if left_out else ""
    )


def pooled(
    table: pd.DataFrame, keys: Sequence[str], *, means: Sequence[str] = (), unit: str = "requests"
) -> pd.DataFrame:
    """Return readings of several seeds as one row a place: means, and what they vary by.

    Parameters
    ----------
    table : DataFrame
        A row a seed: ``seed``, ``y``, and where there are ``low, high`` (an interval within the
        seed), ``n``, ``refusing`` and the outcomes.
    keys : sequence of str
        What a place is told by.
    means : sequence of str
        Further columns to take the mean of.
    unit : str
        What ``n`` counts.

    Returns
    -------
    DataFrame
        `keys`; ``y`` (the mean over seeds); ``low, high`` (of one seed its own interval, of
        several the lowest and the highest seed) and in words what they are ``over``; ``n`` (of
        one seed), ``seeds``, ``refusing`` (a mean) and `means`; the outcomes, counted over all
        seeds, their sum ``sample`` and of how many seeds they are, ``answered``. The requests are
        the same under every seed: counts of several are no larger sample of requests.
    """
    columns = ["y", "low", "high", "n", "refusing", *OUTCOMES, *means]
    whole = table.reindex(columns=[*dict.fromkeys([*table.columns, *columns])])
    whole = whole.astype(dict.fromkeys(columns, float))
    whole["answered"] = whole["refusal"].notna()
    groups = whole.groupby(list(keys), sort=False, dropna=False)
    result = groups[["y", "low", "high", "refusing", *means]].mean()
    # As arrays: names of places hold missing layers and doses, which need not be aligned.
    seeds, least = groups["seed"].nunique().to_numpy(), groups[["y", "n"]].min().to_numpy()
    counts = groups[[*OUTCOMES, "answered"]].sum(min_count=1).to_numpy()
    most = groups["y"].max().to_numpy()
    result = result.assign(
        low=np.where(seeds > 1, least[:, 0], result["low"]),
        high=np.where(seeds > 1, most, result["high"]),
        n=least[:, 1],
        seeds=seeds,
        answered=counts[:, -1].astype(int),
        sample=counts[:, : len(OUTCOMES)].sum(axis=1),
        **{name: counts[:, place] for place, name in enumerate(OUTCOMES)},
    )
    result["over"] = [
        _over(seeds, n, unit, ends=not np.isnan(low))
        for seeds, n, low in zip(result["seeds"], result["n"], result["low"], strict=True)
    ]
    if result["n"].notna().all():
        result["n"] = result["n"].astype(int)
    return result.reset_index()


def _over(seeds: int, n: float, unit: str, *, ends: bool) -> str:
    counted = "" if np.isnan(n) else f"n = {n:.0f} {unit}"
    if seeds > 1:
        mean = f"mean of {seeds} seeds, from the lowest to the highest"
        return f"{mean}; {counted} each" if counted else mean
    if not counted:
        return "one seed"
    return f"one seed; 95 % interval over {counted}" if ends else f"one seed; {counted}"


def of_arm(
    rows: pd.DataFrame, arm: Arm, intervention: str, measure: str = LOG_ODDS, grain: str = NEITHER
) -> pd.DataFrame:
    """Return one arm's readings of one intervention as a mean over its seeds with an interval.

    Parameters
    ----------
    rows : DataFrame
        From `readings`.

    Returns
    -------
    DataFrame
        ``part, layer, map, trial, dose, control``, what `pooled` says of each, and ``is_share``
        as in `by_seed`; from the input to the output.
    """
    mine = by_seed(rows, arm, intervention, measure, grain)
    levels = ("dose",) if intervention in _LEVELS else ()
    keys = [name for name in _KEYS if name not in levels]
    unit = "examples" if measure == ACCURACY else "requests"
    table = pooled(mine, keys, means=levels, unit=unit)
    return table.assign(is_share=bool(mine["is_share"].any())).sort_values(
        "layer", kind="stable", ignore_index=True
    )


def refusing_share(rows: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return the share of prefilled answers that refuse, by the number of tokens given.

    Returns
    -------
    DataFrame
        As `of_arm`. One seed has Wilson's interval over its requests; several, whose requests are
        the same, run from the lowest to the highest seed.
    """
    mine = by_seed(rows, arm, "prefill", "outcomes")
    sample = mine[list(OUTCOMES)].sum(axis=1)
    mine, sample = mine[sample > 0], sample[sample > 0]
    counts = zip(mine["refusal"].round().astype(int), sample.round().astype(int), strict=True)
    ends = pd.DataFrame([wilson(*pair) for pair in counts], mine.index, ["low", "high"])
    shares = mine.assign(y=mine["refusal"] / sample, low=ends["low"], high=ends["high"])
    return pooled(shares, _KEYS).assign(is_share=True)


def scope(table: pd.DataFrame, *, unit: str = "requests", ranges: str = "") -> str:
    """Return which seeds a figure is of and what its intervals are over, as a sentence's end.

    Parameters
    ----------
    table : DataFrame
        A row a seed, as from `by_seed`: ``seed``, ``n`` and, where seeds may be missing,
        ``left_out``.
    unit : str
        What ``n`` counts.
    ranges : str, optional
        What the figure's ranges are over, where it is neither requests nor seeds.

    Examples
    --------
    >>> scope(pd.DataFrame({"seed": [0, 0], "n": [354, 354]}))
    'Seed 0; intervals are over 354 requests'
    >>> scope(pd.DataFrame({"seed": [0, 1], "n": [354, 354]}))
    'Means over seeds 0 and 1, ranges from the lowest to the highest'
    """
    if table.empty:
        return ""
    words = seeds_words(table[["seed"]])
    if ranges:
        text = f"{words}; ranges are over {ranges}"
    elif table["seed"].nunique() > 1:
        text = f"{words}, ranges from the lowest to the highest"
    else:
        counts = table["n"].dropna().unique()
        text = (
            f"{words}; intervals are over {f'{counts[0]:.0f} ' if len(counts) == 1 else ''}{unit}"
        )
    left_out = str(table["left_out"].iloc[0]) if "left_out" in table else ""
    if left_out:
        several = "and" in left_out
        text += f"; seed{'s' if several else ''} {left_out} lost none and "
        text += "are left out" if several else "is left out"
    return text[0].upper() + text[1:]


def whiskers(table: pd.DataFrame, *, unit: str = "requests") -> str:
    r"""Return what a figure's whiskers and the brackets in its title are, as a sentence.

    Parameters
    ----------
    table : DataFrame
        A row a seed, as from `by_seed`.
    unit : str
        What the interval of one seed is over.

    Examples
    --------
    >>> whiskers(pd.DataFrame({"seed": [0, 0]})).replace("\u00a0", " ")
    'Whiskers and brackets are 95 % intervals over requests.'
    >>> whiskers(pd.DataFrame({"seed": [0, 1]}))
    'Whiskers and brackets run from the lowest to the highest seed and are no intervals.'
    """
    if table["seed"].nunique() > 1:
        return "Whiskers and brackets run from the lowest to the highest seed and are no intervals."
    return f"Whiskers and brackets are 95\u00a0% intervals over {unit}." if len(table) else ""


def by_place(rows: pd.DataFrame, drift: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return what restoring each map returns beside how far it moved, for one arm.

    Parameters
    ----------
    rows : DataFrame
        From `readings`.
    drift : DataFrame
        ``weight_drift`` of the same runs.

    Returns
    -------
    DataFrame
        ``layer, map, returned, control`` (shares), ``relative_norm`` and ``seeds``, means over
        the seeds that were taken apart by map; empty where none was. A layer's norms, the
        embedding and what follows the layers were restored too and have no drift of their own in
        the tables.
    """
    restored = of_arm(rows, arm, "restore", grain="map")
    columns = ["layer", "map", "returned", "control", "relative_norm", "seeds"]
    if restored.empty or not restored["is_share"].all():
        return pd.DataFrame(columns=columns)
    keys = ["layer", "map"]
    mine = restored[~restored["control"]][[*keys, "y", "seeds"]].rename(columns={"y": "returned"})
    control = restored[restored["control"]][[*keys, "y"]].rename(columns={"y": "control"})
    seeds = by_seed(rows, arm, "restore", grain="map")["seed"]
    of_these = drift[(drift["variant"] == arm.label) & drift["seed"].isin(seeds)]
    moved = of_these.groupby(keys)["relative_norm"].mean()
    return (
        mine.merge(control, on=keys, how="left")
        .merge(moved.reset_index(), on=keys, how="left")[columns]
        .assign(layer=lambda table: table["layer"].astype(int))
    )


def effect_against_drift(table: pd.DataFrame) -> Association | None:
    """Return the rank correlation of effect and drift over maps, None for few of them.

    Parameters
    ----------
    table : DataFrame
        From `by_place`. The interval takes maps as independent.
    """
    known = table.dropna(subset=["relative_norm", "returned"])
    points = known.rename(columns={"relative_norm": "drift", "returned": "harm"})
    return associate(points.assign(method=[str(place) for place in points.index]))


def interventions_of(rows: pd.DataFrame, arm: Arm) -> list[str]:
    """Return the interventions that are stored for an arm, beside those on sets of one's choice."""
    mine = (rows["variant"] == arm.label) & (rows["grain"] != "set")
    return list(dict.fromkeys(rows.loc[mine, "intervention"]))


def refused(row: Mapping[Any, Any]) -> str:
    """Return how many of the sample's answers refuse, as text; empty where none were given.

    Parameters
    ----------
    row : mapping
        From `pooled`.

    Examples
    --------
    >>> refused({"refusal": 22.0, "sample": 24.0, "answered": 1})
    '22 of 24 sampled requests are refused'
    >>> refused({"refusal": 54.0, "sample": 72.0, "answered": 3})
    '54 of 72 answers to 24 sampled requests under 3 seeds are refusals'
    >>> refused({"refusal": float("nan"), "sample": float("nan"), "answered": 0})
    ''
    """
    if not np.isfinite(row["refusal"]) or not row["sample"]:
        return ""
    counts = f"{row['refusal']:g} of {row['sample']:.0f}"
    if row["answered"] < 2:
        return f"{counts} sampled requests are refused"
    each = float(row["sample"] / row["answered"])
    requests = f"{each:.0f} sampled requests" if each.is_integer() else "sampled requests"
    return f"{counts} answers to {requests} under {row['answered']} seeds are refusals"


def first_tokens(row: Mapping[Any, Any]) -> str:
    """Return for how many requests refusing is likelier than not, as text.

    Parameters
    ----------
    row : mapping
        From `pooled`.

    Examples
    --------
    >>> first_tokens({"refusing": 20.0, "n": 40.0, "seeds": 1})
    'first token refuses for 20 of 40 requests'
    """
    text = f"first token refuses for {row['refusing']:.3g} of {row['n']:.0f} requests"
    return text if row["seeds"] < 2 else f"{text}, mean of {row['seeds']} seeds"

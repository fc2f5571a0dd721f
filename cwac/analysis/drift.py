"""How far weights moved, in tables: over seeds, inside the subspace, arm against arm."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cwac.arms import BASELINE, Arm


def over_seeds(table: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Return mean, smallest and largest of `value` over an arm's seeds.

    Rows in which the value was not measured are left out, so that a missing number never
    counts as zero. The result has the columns ``variant``, `keys`, ``mean``, ``low``, ``high``
    and ``seeds``, in order of first appearance.
    """
    present = table.dropna(subset=[value])
    groups = present.groupby(["variant", *keys], sort=False)[value]
    return groups.agg(mean="mean", low="min", high="max", seeds="size").reset_index()


def pooled_inside(table: pd.DataFrame, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of an update's energy inside the safety subspace, pooled over maps.

    Numerators and denominators are summed over the yardstick's maps before dividing, so that a
    map that hardly moved weighs little. ``random_energy`` is the share that an update spread
    evenly over all directions would have (rank / d_in, weighted alike).

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, `keys`, ``inside_energy`` and ``random_energy`` (fractions).
    """
    measured = table[table["yardstick"]].dropna(subset=["inside_energy"])
    energy = measured["delta_norm"] ** 2
    weighted = measured.assign(
        energy=energy,
        inside=energy * measured["inside_energy"],
        random=energy * measured["random_energy"],
    )
    groups = weighted.groupby(["variant", "seed", *keys], sort=False)
    sums = groups[["energy", "inside", "random"]].sum().reset_index()
    moved = sums[sums["energy"] > 0]
    return moved.assign(
        inside_energy=moved["inside"] / moved["energy"],
        random_energy=moved["random"] / moved["energy"],
    ).drop(columns=["energy", "inside", "random"])


def chance_inside(table: pd.DataFrame) -> float | None:
    """Return the share of a random update of SFT's size inside the safety subspace.

    A map counts by how far SFT moved it, so that chance stands beside SFT's own share; without SFT
    it is the mean over the arms that are there. Every page reads chance here: arms that moved
    other maps most would each have a level of their own. None where nothing was measured.

    Parameters
    ----------
    table : DataFrame
        As of `pooled_inside`.
    """
    pooled = _at_random(table, ())
    return None if pooled.empty else float(pooled["random_energy"].mean())


def chance_by_layer(table: pd.DataFrame) -> "pd.Series[float]":
    """Return `chance_inside` of each layer, by the layer."""
    return _at_random(table, ["layer"]).groupby("layer")["random_energy"].mean()


def _at_random(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    mine = table[table["variant"] == BASELINE]
    return pooled_inside(mine if len(mine) else table, keys)


def pooled_norm(table: pd.DataFrame, keys: Sequence[str] = ()) -> pd.DataFrame:
    """Return the relative norm of updates, pooled over maps.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, `keys` and ``relative_norm``, the square root of the ratio of the
        sums of squared norms (no unit).
    """
    by = ["variant", "seed", *keys]
    squares = table[by].assign(delta=table["delta_norm"] ** 2, weight=table["weight_norm"] ** 2)
    sums = squares.groupby(by, sort=False).sum().reset_index()
    ratio = sums["delta"] / sums["weight"]
    return sums.assign(relative_norm=ratio**0.5).drop(columns=["delta", "weight"])


def parts(drift: pd.DataFrame, outer: pd.DataFrame) -> pd.DataFrame:
    """Return the relative drift of embedding, output layer and all maps of the decoder.

    Parameters
    ----------
    drift, outer : DataFrame
        ``weight_drift`` and ``outer_drift`` of the same runs.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``part``, ``relative_norm`` and ``tied``; runs that did not measure
        the outer maps are left out.
    """
    keys = ["variant", "seed"]
    tied = outer.drop_duplicates(keys)[[*keys, "tied"]]
    pooled = pooled_norm(drift).assign(part="decoder").merge(tied, on=keys)
    columns = [*keys, "part", "relative_norm", "tied"]
    return pd.concat([outer[columns], pooled[columns]], ignore_index=True)


def pair_summary(
    pairs: pd.DataFrame, runs: Mapping[str, Arm], side: str, name: str | None
) -> pd.DataFrame:
    """Return the overlap between every two arms' updates, mean over their pairs of runs.

    Parameters
    ----------
    pairs : DataFrame
        ``pair_overlap`` of the experiment.
    runs : mapping
        Id of each run in view to its arm.
    name : str or None
        The linear map, None for the mean over all.

    Returns
    -------
    DataFrame
        ``layer, a, b`` (arms, each pair in both orders), ``mso``, ``chance``, ``pairs`` (how many
        pairs of runs).
    """
    labels = {run: arm.label for run, arm in runs.items()}
    rows = pairs[(pairs["side"] == side) & (pairs["run_a"] != pairs["run_b"])]
    if name is not None:
        rows = rows[rows["map"] == name]
    known = rows[rows["run_a"].isin(labels) & rows["run_b"].isin(labels)]
    one = known.assign(a=known["run_a"].map(labels), b=known["run_b"].map(labels))
    other = one.assign(a=one["b"], b=one["a"])[one["a"] != one["b"]]
    both = pd.concat([one, other], ignore_index=True)
    pairs_of = (both["run_a"] + " " + both["run_b"]).rename("pair")
    return (
        both.assign(pair=pairs_of)
        .groupby(["layer", "a", "b"], sort=False)
        .agg(mso=("mso", "mean"), chance=("haar_baseline", "mean"), pairs=("pair", "nunique"))
        .reset_index()
    )

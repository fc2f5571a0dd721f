"""SAE features in tables: whether they fit a model, how far each latent moved, which were held."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.drift import over_seeds
from cwac.analysis.outcomes import by_arm_and_rate, complete, interval_text
from cwac.arms import Arm
from cwac.statistics import rates

TRUSTED: Final = 0.7
"""Explained variance below which features are not to be read."""
NOT_HELD: Final = 0.5
"""Share of its aligned activation that a latent may lose or gain before it counts as not held."""
HALF: Final = 0.5
"""Share of latents or requests from which an arm counts as having lost, or refusing, most."""
REFUSAL: Final = "refusal_rate"
"""The rate that what was lost is set beside."""


def misfits(quality: pd.DataFrame) -> pd.DataFrame:
    """Return the arms and layers whose explained variance, mean over seeds, is below `TRUSTED`."""
    summary = over_seeds(quality, ["layer"], "explained_variance")
    return summary[summary["mean"] < TRUSTED]


def constant_l0(quality: pd.DataFrame) -> float | None:
    """Return how many latents every token fires where it is the same in all models, else None.

    TopK SAEs fire a fixed number whatever they read, so that it says nothing of a model.
    """
    values = quality["l0"].dropna().unique()
    return float(values[0]) if len(values) == 1 else None


def feature_drift(features: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return how far each latent's mean activation on harmful requests moved.

    Parameters
    ----------
    features : DataFrame
        ``features`` of all runs, with ``variant`` and ``seed``.
    aligned : DataFrame
        ``features`` of the aligned model.

    Returns
    -------
    DataFrame
        ``variant``, ``seed``, ``layer``, ``latent``, ``before``, ``after`` (mean activations),
        ``drift`` (after - before), ``relative`` (drift / before, missing where before is 0),
        ``protected``, ``control``.
    """
    before = aligned[["layer", "latent", "mean_harmful"]].rename(columns={"mean_harmful": "before"})
    columns = ["variant", "seed", "layer", "latent", "mean_harmful", "protected", "control"]
    joined = features[columns].rename(columns={"mean_harmful": "after"})
    joined = joined.merge(before, on=["layer", "latent"])
    drift = joined["after"] - joined["before"]
    relative = drift / joined["before"].where(joined["before"] > 0)
    return joined.assign(drift=drift, relative=relative)


def held(drift: pd.DataFrame, table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return each protected latent's fate under one arm, the least held first.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.
    table : DataFrame
        ``feature_ledger`` of all runs, with ``variant``.

    Returns
    -------
    DataFrame
        ``layer``, ``latent``, ``before``, ``after``, ``relative`` (change over the aligned
        activation, mean over seeds), ``share`` (mean share of the loss over training),
        ``last_share`` (at the last probe), ``held``.
    """
    mine = drift[(drift["variant"] == arm.label) & drift["protected"] & (drift["before"] > 0)]
    fate = mine.groupby(["layer", "latent"])[["before", "after", "relative"]].mean()
    rows = table[table["variant"] == arm.label]
    fate["share"] = rows.groupby(["layer", "latent"])["share"].mean()
    last = rows[rows["step"] == rows["step"].max()]
    fate["last_share"] = last.groupby(["layer", "latent"])["share"].mean()
    fate["held"] = fate["relative"].abs() <= NOT_HELD
    by_size = fate["relative"].abs().sort_values(ascending=False).index
    return fate.loc[by_size].reset_index()


def lost_shares(drift: pd.DataFrame) -> pd.DataFrame:
    """Return which share of the protected latents each arm lost, and of the random ones.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.

    Returns
    -------
    DataFrame
        ``variant``, ``role`` (``protected`` or ``control``), ``value``, ``low``, ``high``
        (fractions; the interval takes latents as independent, and seeds where there are several),
        ``n`` (latents that fire in the aligned model), ``seeds``, ``method``, ``fewest``, ``most``
        (latents lost, over the seeds). A latent is lost where its mean activation on harmful
        requests fell by more than `NOT_HELD`.
    """
    fires = drift[drift["before"] > 0]
    marked = fires.assign(
        lost=fires["relative"] < -NOT_HELD,
        name=fires["layer"].astype(str) + "/" + fires["latent"].astype(str),
    )
    rows = []
    for role in ("protected", "control"):
        mine = marked[marked[role]]
        grids = {
            str(arm): complete(part.pivot_table("lost", "seed", "name", aggfunc="first"))
            for arm, part in mine.groupby("variant", sort=False)
        }
        arms = {arm: outcomes for arm, outcomes in grids.items() if outcomes is not None}
        for arm, share in rates(arms).items():
            counts = arms[arm].values.sum(axis=1)
            numbers = (share.value, share.low, share.high, share.n, share.seeds, share.method)
            rows.append((arm, role, *numbers, int(counts.min()), int(counts.max())))
    names = ["variant", "role", "value", "low", "high", "n", "seeds", "method", "fewest", "most"]
    return pd.DataFrame(rows, columns=names)


def counted_sentence(drift: pd.DataFrame) -> str:
    """Say why fewer random latents are counted as lost or not than were drawn; empty where all are.

    Parameters
    ----------
    drift : DataFrame
        Result of `feature_drift`.

    Examples
    --------
    >>> counted_sentence(pd.DataFrame(
    ...     {"layer": 0, "latent": [1, 2], "control": True, "before": [0.5, 0.0]}))
    'Of 2 random latents, drawn among those that fire on any safety request, 1 fires on harmful \
test requests in the aligned model: the others have nothing to lose and are not counted.'
    """
    drawn = drift[drift["control"]].groupby(["layer", "latent"])["before"].max()
    fires = int((drawn > 0).sum())
    if fires == len(drawn):
        return ""
    return (
        f"Of {len(drawn)} random latents, drawn among those that fire on any safety request, "
        f"{fires} fire{'s' if fires == 1 else ''} on harmful test requests in the aligned model: "
        "the others have nothing to lose and are not counted."
    )


def lost_sentence(shares: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say what share of protected latents SFT and CWAC lost, and of random ones beside them.

    Without these two it is about the arms that lost most and fewest.

    Parameters
    ----------
    shares : DataFrame
        Result of `lost_shares`.

    Returns
    -------
    str or None
        None where no arm's protected latents were measured.
    """
    rows = _of_role(shares, "protected")
    chance = _of_role(shares, "control")
    named = {arm.label: arm for arm in arms if arm.label in rows}
    if not named:
        return None

    def value(label: str) -> float:
        return float(rows[label]["value"])

    pair = ["sft", "cwac"] if {"sft", "cwac"} <= named.keys() else None
    shown = dict.fromkeys(pair or [max(named, key=value), min(named, key=value)])
    parts = [
        f"{named[label].title} {_lost(rows[label])}, {_lost_by_chance(chance.get(label))}"
        for label in shown
    ]
    return f"Of {rows[next(iter(shown))]['n']} protected latents lost: {'; '.join(parts)}."


def _of_role(shares: pd.DataFrame, role: str) -> dict[Any, dict[Any, Any]]:
    rows: dict[Any, dict[Any, Any]] = (
        shares[shares["role"] == role].set_index("variant").to_dict("index")
    )
    return rows


def _lost_by_chance(row: dict[Any, Any] | None) -> str:
    """Say what share of the random latents the same arm lost."""
    return "random ones not measured" if row is None else f"of {row['n']} random ones {_share(row)}"


def counterexamples(shares: pd.DataFrame, rates: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say that holding protected latents is neither needed for refusing nor enough for it.

    Parameters
    ----------
    shares : DataFrame
        Result of `lost_shares`.
    rates : DataFrame
        From ``cwac.analysis.outcomes.rate_table``.

    Returns
    -------
    str or None
        None unless there is an arm that lost at least half of them and refuses most harmful
        requests, and one that lost fewer and refuses few. Most and few: the interval of its
        refusal rate lies on one side of one half. Named are those that lost most and fewest.
    """
    lost = {row["variant"]: row for row in shares[shares["role"] == "protected"].to_dict("records")}
    refused = {arm: row for (arm, name), row in by_arm_and_rate(rates).items() if name == REFUSAL}
    both = [arm for arm in arms if arm.label in lost and arm.label in refused]
    unneeded = [arm for arm in both if lost[arm.label]["value"] >= HALF]
    unneeded = [arm for arm in unneeded if refused[arm.label]["low"] > HALF]
    short = [arm for arm in both if lost[arm.label]["value"] < HALF]
    short = [arm for arm in short if refused[arm.label]["high"] < HALF]
    if not unneeded or not short:
        return None

    def share(arm: Arm) -> float:
        return float(lost[arm.label]["value"])

    pair = (max(unneeded, key=share), min(short, key=share))
    parts = [
        f"{arm.title} lost {_lost(lost[arm.label])} and refuses {interval_text(refused[arm.label])}"
        for arm in pair
    ]
    n = " and ".join(dict.fromkeys(str(refused[arm.label]["n"]) for arm in pair))
    return (
        f"Holding them is neither needed for refusing nor enough: {parts[0]}, {parts[1]} "
        f"(of {n} harmful requests)."
    )


def _lost(row: dict[Any, Any]) -> str:
    fewest, most = int(row["fewest"]), int(row["most"])
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    return f"{count} ({_share(row)})"


def _share(row: dict[Any, Any]) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['value']:.0f}\u00a0% [{low:.0f}, {high:.0f}]"

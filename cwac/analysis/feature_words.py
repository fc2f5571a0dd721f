"""What became of the safety features, in sentences that have random latents beside them.

Apart from the tables: the tabs of Features open with these, and each has its counterpart by chance.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac.analysis.drift import over_seeds
from cwac.analysis.features import TRUSTED
from cwac.analysis.outcomes import by_arm_and_rate, interval_text
from cwac.arms import ALIGNED, Arm, by_label

HALF: Final = 0.5
"""Share of latents or requests from which an arm counts as having lost, or refusing, most."""
REFUSAL: Final = "refusal_rate"
"""The rate that what was lost is set beside."""
_PAIR: Final = ("sft", "cwac")
"""The claim's own pair, where it is in view."""
_Row = Mapping[Any, Any]


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
    """Say what share of safety features SFT and CWAC lost, and whether random latents fared alike.

    Without these two it is about the arms that lost most and fewest.

    Parameters
    ----------
    shares : DataFrame
        From ``cwac.analysis.features.lost_shares``.

    Returns
    -------
    str or None
        None where no arm's safety features were measured.
    """
    return _sentence(shares, _shown(shares, arms), "lost")


def held_sentence(shares: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say what share of safety features each of some arms held, beside random latents.

    Parameters
    ----------
    shares : DataFrame
        From ``cwac.analysis.features.held_shares``.
    arms : sequence of Arm
        The one that is looked at first.
    """
    return _sentence(shares, arms, "held")


def _sentence(shares: pd.DataFrame, arms: Sequence[Arm], verb: str) -> str | None:
    rows, chance = (_of_role(shares, role) for role in ("protected", "control"))
    known = [arm for arm in arms if arm.label in rows]
    parts: list[str] = []
    for arm in known:
        row = rows[arm.label]
        of = "" if parts else f" of {row['n']} safety features"
        against = _against(row, chance.get(arm.label), "more", "fewer")
        parts.append(f"{arm.title} {verb} {_count(row)}{of} ({_share(row)}), {against}")
    return f"{'; '.join(parts)}." if parts else None


def moved_sentence(moved: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say by how much of their aligned activation SFT and CWAC moved the safety features.

    Parameters
    ----------
    moved : DataFrame
        From ``cwac.analysis.features.moved_shares``.
    """
    rows, chance = (_of_role(moved, role) for role in ("protected", "control"))
    parts: list[str] = []
    for arm in _shown(moved, arms):
        row = rows[arm.label]
        what = "" if parts else f"The median of {row['n']} safety features moved "
        of = "" if parts else " of its aligned activation"
        against = _against(row, chance.get(arm.label), "further", "less far")
        parts.append(f"{what}by {_share(row)}{of} in {arm.title}, {against}")
    return f"{'; '.join(parts)}." if parts else None


def _shown(shares: pd.DataFrame, arms: Sequence[Arm]) -> list[Arm]:
    """Return SFT and CWAC, without both the arms with the highest and the lowest share."""
    rows = _of_role(shares, "protected")
    named = {arm.label: arm for arm in arms if arm.label in rows}
    if not named:
        return []
    if named.keys() >= set(_PAIR):
        return [named[label] for label in _PAIR]

    def value(label: str) -> float:
        return float(rows[label]["value"])

    return [named[label] for label in dict.fromkeys([max(named, key=value), min(named, key=value)])]


def _of_role(shares: pd.DataFrame, role: str) -> dict[Any, _Row]:
    mine = shares[shares["role"] == role]
    return {row["variant"]: row for row in mine.to_dict("records")}


def _against(row: _Row, chance: _Row | None, more: str, fewer: str) -> str:
    """Say how the safety features' share stands to the random latents', by both intervals.

    The interval of the difference is made of theirs, taken as independent (MOVER: Zou, Huang &
    Zhang 2009).
    """
    if chance is None:
        return "random latents not measured"
    gap = row["value"] - chance["value"]
    below = math.hypot(row["value"] - row["low"], chance["high"] - chance["value"])
    above = math.hypot(row["high"] - row["value"], chance["value"] - chance["low"])
    said = f"than random latents ({_share(chance)} of {chance['n']})"
    if gap - below > 0:
        return f"{more} {said}"
    if gap + above < 0:
        return f"{fewer} {said}"
    return f"no {more} {said}" if gap <= 0 else f"not clearly {more} {said}"


def fit_sentence(quality: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say how much of the variance the SAEs explain at least, beside the aligned model.

    Parameters
    ----------
    quality : DataFrame
        ``sae_quality`` of the aligned model and all runs, with ``variant``.
    """
    means = over_seeds(quality, ["layer"], "explained_variance").sort_values("mean")
    tuned = means[means["variant"] != ALIGNED.label]
    if tuned.empty:
        return None
    worst = tuned.iloc[0]
    named = by_label(arms)[worst["variant"]].title
    of = f" ({100 * worst['low']:.0f} to {100 * worst['high']:.0f})" if worst["seeds"] > 1 else ""
    own = means.loc[means["variant"] == ALIGNED.label, "mean"]
    beside = (
        f"; on the aligned model, for which they were fitted, {_percent(own.min())}"
        if len(own)
        else ""
    )
    fits = "still describe every model" if worst["mean"] >= TRUSTED else "no longer fit every model"
    return (
        f"The SAEs {fits}: they explain at least {_percent(worst['mean'])}{of} of the variance "
        f"({named}, layer {worst['layer']}, the least of {tuned['variant'].nunique()} arms and "
        f"{tuned['layer'].nunique()} layers){beside}. Below {_percent(TRUSTED)} they are not to be "
        "read."
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}\u00a0%"


def counterexamples(shares: pd.DataFrame, rates: pd.DataFrame, arms: Sequence[Arm]) -> str | None:
    """Say that holding safety features is neither needed for refusing nor enough for it.

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


def _lost(row: _Row) -> str:
    return f"{_count(row)} ({_share(row)})"


def _count(row: _Row) -> str:
    fewest, most = int(row["fewest"]), int(row["most"])
    return str(fewest) if fewest == most else f"{fewest} to {most}"


def _share(row: _Row) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['value']:.0f}\u00a0% [{low:.0f}, {high:.0f}]"

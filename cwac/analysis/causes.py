"""What interventions on kept runs say of where refusals were lost, beside where weights moved."""

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from cwac.analysis.drift import pooled_norm
from cwac.analysis.interventions import (
    ACCURACY,
    LOG_ODDS,
    OUTCOMES,
    of_runs,
    pooled,
    shares_of_losses,
)
from cwac.analysis.seeds import listed
from cwac.arms import BASELINE, Arm

RESTORE = "restore"
LITTLE: Final = 0.25
"""Of what SFT lost: an arm that lost less still refuses, and a share of so little, 123 % or -22 %,
says how the rest of the log-odds wander and not why refusals go."""


def restored(
    dissection: pd.DataFrame, runs: Mapping[str, Arm], seeds: Mapping[str, int]
) -> pd.DataFrame:
    """Return what restoring each part alone brings back, beside its control.

    Parameters
    ----------
    dissection, runs, seeds
        As of `cwac.analysis.interventions.of_runs`.

    Returns
    -------
    DataFrame
        ``variant, seed, part, layer, returned, low, high, control`` (shares of the lost refusal
        log-odds), the outcomes and their sum ``sample``, ``n``, and the task ``accuracy`` that is
        left with its interval and count (missing where it was not measured); of the whole run
        ``before, after`` (refusal log-odds of the aligned and the tuned model) and ``kept, asked``
        (the tuned model's refusals, and of how many answers); from the input to the output. Runs
        whose log-odds did not fall have no rows: their seeds are ``left_out`` of the other rows
        of their arm, in words.
    """
    stored = shares_of_losses(dissection)
    by_layer = stored[(stored["intervention"] == RESTORE) & (stored["grain"] == "layer")]
    everything = of_runs(by_layer, runs, seeds)
    rows = everything.dropna(subset=["returned"])
    keys = ["run_id", "part"]
    control = rows[rows["control"]].groupby(keys)["returned"].mean().rename("by_chance")
    left = everything[everything["measure"] == ACCURACY].groupby(keys)
    accuracy = left.agg(
        accuracy=("value", "mean"),
        accuracy_low=("low", "first"),
        accuracy_high=("high", "first"),
        accuracy_n=("n", "first"),
    )
    mine = rows[~rows["control"]].join(control, on=keys).join(accuracy, on=keys)
    mine = mine.join(_ends(stored), on="run_id")
    without = everything[~everything["run_id"].isin(rows["run_id"])].groupby("variant")["seed"]
    left_out = {label: listed(lost) for label, lost in without}
    columns = {
        "variant": mine["variant"],
        "seed": mine["seed"],
        "part": mine["part"],
        "layer": mine["layer"],
        "returned": mine["returned"],
        "low": mine["returned_low"],
        "high": mine["returned_high"],
        "control": mine["by_chance"],
        **{name: mine[name] for name in OUTCOMES},
        "sample": mine[list(OUTCOMES)].sum(axis=1, min_count=4),
        "n": mine["n"],
        **{name: mine[name] for name in (*accuracy.columns, *_ENDS)},
        "left_out": [left_out.get(label, "") for label in mine["variant"]],
    }
    return pd.DataFrame(columns).sort_values("layer", kind="stable", ignore_index=True)


_ENDS: Final = ("before", "after", "kept", "asked")


def _ends(stored: pd.DataFrame) -> pd.DataFrame:
    """Return each run's refusal log-odds before and after tuning, and what it still refuses."""
    ends = stored[(stored["intervention"] == "ends") & (stored["measure"] == LOG_ODDS)]
    tuned, aligned = (
        ends[ends["part"] == part].drop_duplicates("run_id").set_index("run_id")
        for part in ("nothing", "everything")
    )
    columns = {
        "before": aligned["value"],
        "after": tuned["value"],
        "kept": tuned["refusal"],
        "asked": tuned[list(OUTCOMES)].sum(axis=1, min_count=4),
    }
    return pd.DataFrame(columns, dtype=float).rename_axis("run_id")


def losses(effects: pd.DataFrame) -> pd.DataFrame:
    """Return how much each arm lost, over the seeds that lost any, and what it still refuses.

    Parameters
    ----------
    effects : DataFrame
        From `restored`.

    Returns
    -------
    DataFrame
        By arm ``before, after, lost`` (nats; means over seeds, missing where both ends were not
        stored), ``kept, asked`` (answers, over all seeds) and ``little``: whether it lost less
        than `LITTLE` of what SFT lost; never where SFT is not among the arms.
    """
    runs = effects.drop_duplicates(["variant", "seed"]).groupby("variant", sort=False)
    table = runs[["before", "after"]].mean().join(runs[["kept", "asked"]].sum(min_count=1))
    table["lost"] = table["before"] - table["after"]
    most = table["lost"].get(BASELINE)
    return table.assign(little=False if most is None else table["lost"] < LITTLE * most)


def of_much(effects: pd.DataFrame, arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms that did not lose little, of which a share tells a cause."""
    little = losses(effects)["little"]
    return [arm for arm in arms if not little.get(arm.label, default=False)]


def restored_request(table: pd.DataFrame, runs: Mapping[str, Arm], prompt_id: str) -> pd.DataFrame:
    """Return what restoring each part does to one request.

    Parameters
    ----------
    table : DataFrame
        The experiment's ``dissection_requests``.
    runs : mapping
        Id of each run in view to its arm, one run an arm.

    Returns
    -------
    DataFrame
        ``variant, part, layer, odds, control, outcome``; ``tuned`` and ``aligned``, the log-odds
        where nothing and where everything is restored; ``flips``, whether a request that the
        tuned model leans towards answering is rather refused. From the input to the output.
    """
    mine = table[(table["prompt_id"] == prompt_id) & table["run_id"].isin(list(runs))]
    mine = mine.assign(variant=mine["run_id"].map({run: arm.label for run, arm in runs.items()}))
    rows = mine[mine["intervention"] == RESTORE]
    is_control = rows["control"].astype(bool)
    keys = ["variant", "part"]
    control = rows[is_control].groupby(keys)["refusal_log_odds"].mean().rename("control")
    ends = mine[mine["intervention"] == "ends"].pivot_table(
        "refusal_log_odds", "variant", "part", aggfunc="mean"
    )
    ends = ends.reindex(columns=["nothing", "everything"]).set_axis(["tuned", "aligned"], axis=1)
    table = rows[~is_control].drop(columns="control")
    table = table.join(control, on=keys).join(ends, on="variant")
    table = table.rename(columns={"refusal_log_odds": "odds"})
    table = table.assign(flips=(table["tuned"] <= 0) & (table["odds"] > 0))
    columns = [
        "variant",
        "part",
        "layer",
        "odds",
        "control",
        "outcome",
        "tuned",
        "aligned",
        "flips",
    ]
    return table[columns].sort_values("layer", kind="stable", ignore_index=True)


def drift_by_part(drift: pd.DataFrame, outer: pd.DataFrame) -> pd.DataFrame:
    """Return the relative norm of the update of the parts that can be restored.

    Parameters
    ----------
    drift, outer : DataFrame
        ``weight_drift`` and ``outer_drift`` of the same runs.

    Returns
    -------
    DataFrame
        ``variant, seed, part, relative_norm``: decoder layers pooled over their maps, and the
        embedding where it was measured. Norms' and biases' updates are not in the tables.
    """
    pooled = pooled_norm(drift, ["layer"])
    layers = pooled.assign(part="layer " + pooled["layer"].astype(str))
    columns = ["variant", "seed", "part", "relative_norm"]
    embedding = outer[outer["part"] == "embedding"]
    parts = [each[columns] for each in (layers, embedding) if len(each)]
    return pd.concat(parts, ignore_index=True) if parts else layers[columns]


def strongest(effects: pd.DataFrame, arm: Arm) -> pd.Series | None:
    """Return the part whose restoring exceeds its control most, mean over an arm's seeds.

    Returns
    -------
    Series or None
        ``part, returned, control, accuracy`` and what `pooled` says of the share returned; None
        without a part that has a control.
    """
    known = effects[effects["variant"] == arm.label].dropna(subset=["control"])
    if known.empty:
        return None
    table = pooled(known.assign(y=known["returned"]), ["part"], means=["control", "accuracy"])
    table = table.rename(columns={"y": "returned"})
    return table.iloc[int((table["returned"] - table["control"]).to_numpy().argmax())]

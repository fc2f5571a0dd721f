"""A method's own choices: what becomes of its rates when one setting leaves its default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from cwac.analysis.outcomes import outcomes_of
from cwac.arms import Arm
from cwac.config import MEASURED
from cwac.records import RunRecord
from cwac.statistics import Outcomes, compare, rates

SHOWN: Final = ("harmful_score", "over_refusal_rate", "lookalikes_answered", "task_accuracy")
SEVERAL: Final = "several at once"
DEFAULT: Final = "default"
ALPHA: Final = 0.05
"""A change counts where Holm's p over all changes of the method is below this."""


@dataclass(frozen=True)
class Change:
    """What sets an arm apart from its method's default arm.

    Attributes
    ----------
    arm : Arm
    setting : str
        The one setting that differs, `SEVERAL` where more do, `DEFAULT` for the default arm.
    value : str
        The setting's value, or every name with its value.
    """

    arm: Arm
    setting: str
    value: str


def changes(
    records: Sequence[RunRecord], knobs: Mapping[str, str | None]
) -> dict[str, dict[str, Change]]:
    """Return, per method, the arms that its stored runs vary, the default arm first.

    Arms that differ in the strength knob alone are left out: they are the method's curve.
    Methods without any other variant are left out.

    Parameters
    ----------
    knobs : mapping
        Method to the name of its strength knob.
    """
    by_method: dict[str, dict[str, Change]] = {}
    for record in records:
        arm, settings = record.arm, record.config.settings
        names = sorted(arm.changed)
        if names == [knobs.get(arm.method)] or arm.method == MEASURED:
            continue
        if not names:
            change = Change(arm, DEFAULT, "")
        elif len(names) == 1:
            change = Change(arm, names[0], _value(settings[names[0]]))
        else:
            values = ", ".join(f"{name} = {_value(settings[name])}" for name in names)
            change = Change(arm, SEVERAL, values)
        by_method.setdefault(arm.method, {})[arm.label] = change
    return {
        method: dict(sorted(arms.items(), key=lambda item: item[1].setting != DEFAULT))
        for method, arms in by_method.items()
        if any(change.setting != DEFAULT for change in arms.values())
    }


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def choices_table(responses: pd.DataFrame, arms: Mapping[str, Change]) -> pd.DataFrame:
    """Return the three rates of every arm, and how far its harmful score is from the default's.

    Parameters
    ----------
    responses : DataFrame
        With ``variant`` and ``seed``.
    arms : mapping
        One method's, from `changes`.

    Returns
    -------
    DataFrame
        ``variant, setting, changed_to, seeds``; of each rate in `SHOWN` the value with ``_low``,
        ``_high``, ``_n`` and ``_by_seed``, the single seeds' rates; ``gap, gap_low, gap_high, p``,
        the harmful score minus the default's, with Holm's p. Rates are fractions. The settings
        that move the harmful score most stand first, after the default.
    """
    answers = responses[responses["variant"].isin(arms)]
    rows: dict[str, dict[str, Any]] = {
        name: {"variant": name, "setting": change.setting, "changed_to": change.value}
        for name, change in arms.items()
    }
    for rate_name in SHOWN:
        outcomes = outcomes_of(answers, rate_name)
        for name, share in rates(outcomes).items():
            by_seed = outcomes[name].values.mean(axis=1)
            rows[name] |= {
                rate_name: share.value,
                f"{rate_name}_low": share.low,
                f"{rate_name}_high": share.high,
                f"{rate_name}_n": share.n,
                f"{rate_name}_by_seed": [float(value) for value in by_seed],
                "seeds": share.seeds,
            }
        if rate_name == SHOWN[0]:
            _gaps(rows, outcomes, arms)
    table = pd.DataFrame(list(rows.values())).reindex(columns=_COLUMNS)
    table = table[table[SHOWN[0]].notna()]
    moved = table["gap"].abs().fillna(0).groupby(table["setting"]).transform("max")
    first = table["setting"] == DEFAULT
    order = pd.DataFrame({"first": ~first, "moved": -moved, "size": -table["gap"].abs().fillna(0)})
    order["setting"] = table["setting"]
    return table.loc[order.sort_values(["first", "moved", "setting", "size"]).index].reset_index(
        drop=True
    )


_COLUMNS: Final = [
    *("variant", "setting", "changed_to", "seeds"),
    *(
        f"{rate_name}{end}"
        for rate_name in SHOWN
        for end in ("", "_low", "_high", "_n", "_by_seed")
    ),
    *("gap", "gap_low", "gap_high", "p"),
]


def _gaps(
    rows: Mapping[str, dict[str, Any]],
    outcomes: Mapping[str, Outcomes],
    arms: Mapping[str, Change],
) -> None:
    default = next((n for n, c in arms.items() if c.setting == DEFAULT and n in outcomes), None)
    if default is None:
        return
    others = [name for name in outcomes if name != default]
    for name, comparison in zip(
        others, compare(outcomes, [(name, default) for name in others]), strict=True
    ):
        gap = comparison.difference
        rows[name] |= {
            "gap": gap.value,
            "gap_low": gap.low,
            "gap_high": gap.high,
            "p": comparison.p_holm,
        }

"""A method's own choices: what becomes of its rates when one setting leaves its default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from cwac.analysis.holding import unlearned
from cwac.analysis.outcomes import outcomes_of
from cwac.arms import BASELINE, Arm
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

    @property
    def control(self) -> bool:
        """Whether it is no part of the method that is changed, but a control of it."""
        return self.arm.control


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
        ``variant, setting, changed_to, seeds, control, learned`` (the task, beside SFT's accuracy:
        ``cwac.analysis.holding.unlearned``); of each rate in `SHOWN` the value with ``_low``,
        ``_high``, ``_n`` and ``_by_seed``, the single seeds' rates; ``gap, gap_low, gap_high, p``,
        the harmful score minus the default's, with Holm's p over all rows. Rates are fractions. The
        settings that move the harmful score most stand first, after the default, what did not
        learn the task last of a setting; controls stand behind all of them.
    """
    answers = responses[responses["variant"].isin(arms)]
    without = _unlearned(responses[responses["variant"].isin([*arms, BASELINE])])
    rows: dict[str, dict[str, Any]] = {
        name: {
            "variant": name,
            "setting": change.setting,
            "changed_to": change.value,
            "control": change.control,
            "learned": name not in without,
        }
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
    size = table["gap"].abs().fillna(0)
    # What learned nothing moves the harmful score by no merit of the setting.
    moved = size.where(table["learned"], 0).groupby([table["control"], table["setting"]])
    order = pd.DataFrame(
        {
            "first": table["setting"] != DEFAULT,
            "control": table["control"],
            "moved": -moved.transform("max"),
            "setting": table["setting"],
            "unlearned": ~table["learned"].astype(bool),
            "size": -size,
        }
    )
    return table.loc[order.sort_values([*order]).index].reset_index(drop=True)


def _unlearned(responses: pd.DataFrame) -> frozenset[str]:
    accuracies = outcomes_of(responses, "task_accuracy")
    return unlearned({label: outcomes.rate for label, outcomes in accuracies.items()})


_COLUMNS: Final = [
    *("variant", "setting", "changed_to", "seeds", "control", "learned"),
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

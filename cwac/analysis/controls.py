"""Whether a control does worse than CWAC on every model: one sentence where models do not agree.

Stands alone because a claim is about one model, and what a control teaches is about all of them.
"""

from collections.abc import Mapping

import pandas as pd

from cwac.analysis.claims import FOCUS
from cwac.analysis.enumeration import enumerated
from cwac.analysis.measured import Measured
from cwac.analysis.outcomes import interval_text
from cwac.analysis.verdicts import Verdict, ends, judged
from cwac.arms import Arm, title_of
from cwac.statistics import Difference

_SAID: Mapping[Verdict, str] = {
    "shown": "shown on",
    "refuted": "the other way round on",
    "not shown": "not shown on",
}


def control_sentence(responses: Mapping[str, pd.DataFrame], control: Arm) -> str:
    """Say on which models CWAC leaves fewer harmful answers than a control, and on which not.

    Parameters
    ----------
    responses : mapping of str to DataFrame
        Model to the answers of both arms: ``variant, seed`` and ``outcomes.READ``.

    Returns
    -------
    str
        Empty where fewer than two models have both, or all say the same.
    """
    found: dict[Verdict, list[str]] = {}
    for model, table in responses.items():
        measured = Measured(table)
        if not measured.has("harmful_score", FOCUS, control.label):
            continue
        gap = measured.gap("harmful_score", FOCUS, control.label)
        verdict = judged("", "", "", gap, "lower").verdict
        found.setdefault(verdict, []).append(f"{model} ({_numbers(measured, control, gap)})")
    if len(found) < 2:
        return ""
    where = [f"{words} {enumerated(found[v])}" for v, words in _SAID.items() if v in found]
    return (
        f"That {title_of(FOCUS)} leaves fewer harmful answers than its control {control.title} "
        f"depends on the model: {', '.join(where)}."
    )


def _numbers(measured: Measured, control: Arm, gap: Difference) -> str:
    rates = measured.rates("harmful_score")
    mine, theirs = (
        interval_text({"value": one.value, "low": one.low, "high": one.high})
        for one in (rates[FOCUS], rates[control.label])
    )
    return f"{mine} against {theirs}, {100 * gap.value:+.1f} points {ends(gap)}"

"""Arms that did nothing: their answers are SFT's, so that no claim can rest on them.

A method that acts after training and changes no weight, or a constraint that never touches one,
leaves plain fine-tuning under another name. Whether that happened is read off the answers, so
that it can be told of every stored run, whatever its method recorded.
"""

from collections.abc import Collection, Iterable
from typing import Final

import pandas as pd

from cwac.arms import ALIGNED, BASELINE, Arm

_KEYS: Final = ["seed", "prompt_id"]
_COMPARED: Final = ("outcome", "general_outcome", "correct")
_LOG_ODDS: Final = "refusal_log_odds"
COLUMNS: Final = ("prompt_id", *_COMPARED, _LOG_ODDS)
"""The columns of ``responses`` that are looked at."""


def idle_arms(responses: pd.DataFrame) -> frozenset[str]:
    """Return the labels of the arms that cannot be told from SFT.

    Parameters
    ----------
    responses : DataFrame
        ``variant, seed`` and those of `COLUMNS` that there are.

    Returns
    -------
    frozenset of str
        Under every seed of such an arm that SFT has too, every request and example has SFT's
        outcome and mark and, where both are stored (compact runs keep none), SFT's refusal
        log-odds to the last bit. Without a shared seed nothing is said.
    """
    compared = [name for name in _COMPARED if name in responses]
    baseline = responses[responses["variant"] == BASELINE]
    if baseline.empty or not compared:
        return frozenset()
    read = [*_KEYS, *compared, *([_LOG_ODDS] if _LOG_ODDS in responses else [])]
    reference = baseline[read].set_index(_KEYS)
    return frozenset(
        str(label)
        for label, arm in responses.groupby("variant", sort=False)
        if label not in (BASELINE, ALIGNED.label) and _same(arm[read].set_index(_KEYS), reference)
    )


def marked(arms: Iterable[Arm], idle: Collection[str]) -> list[Arm]:
    """Return the arms with those that did nothing marked, so that their titles say so.

    Parameters
    ----------
    idle : collection of str
        From :func:`idle_arms`.
    """
    return [arm.model_copy(update={"idle": True}) if arm.label in idle else arm for arm in arms]


def _same(arm: pd.DataFrame, reference: pd.DataFrame) -> bool:
    shared = arm.index.get_level_values("seed").isin(reference.index.get_level_values("seed"))
    arm = arm[shared]
    # A request that one of the two was not asked is a difference.
    if arm.empty or not arm.index.isin(reference.index).all():
        return False
    there = reference.loc[arm.index]
    for name in arm:
        mine, theirs = arm[name], there[name]
        missing = mine.isna() | theirs.isna() if name == _LOG_ODDS else mine.isna() & theirs.isna()
        if not ((mine == theirs) | missing).fillna(value=False).all():
            return False
    return True

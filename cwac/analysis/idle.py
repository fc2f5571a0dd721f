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
_SFT: Final = " of SFT"
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
    if not compared or not (responses["variant"] == BASELINE).any():
        return frozenset()
    read = [*_KEYS, *compared]
    # As numbers: to join and to compare texts takes ten times as long. What is missing is one too.
    coded = {name: pd.factorize(responses[name])[0] for name in read}
    table = pd.DataFrame({"variant": responses["variant"].array, **coded})
    if _LOG_ODDS in responses:
        table[_LOG_ODDS] = responses[_LOG_ODDS].array
    baseline = table[table["variant"] == BASELINE].drop(columns="variant")
    rest = table[~table["variant"].isin([BASELINE, ALIGNED.label])]
    rest = rest[rest["seed"].isin(baseline["seed"])]
    # All arms at once: one join takes a tenth of the time that one of each takes.
    beside = rest.merge(baseline, how="left", on=_KEYS, suffixes=("", _SFT), indicator=True)
    # A request that one of the two was not asked is a difference.
    same = beside["_merge"] == "both"
    for name in compared:
        same &= beside[name] == beside[f"{name}{_SFT}"]
    if _LOG_ODDS in table:
        mine, theirs = beside[_LOG_ODDS], beside[f"{_LOG_ODDS}{_SFT}"]
        same &= (mine == theirs) | mine.isna() | theirs.isna()
    alike = same.groupby(beside["variant"], sort=False).all()
    return frozenset(map(str, alike.index[alike]))


def marked(
    arms: Iterable[Arm], idle: Collection[str], unlearned: Collection[str] = ()
) -> list[Arm]:
    """Return the arms with those that did nothing marked, so that their titles say so.

    Parameters
    ----------
    idle : collection of str
        From :func:`idle_arms`.
    unlearned : collection of str
        From ``cwac.analysis.holding.unlearned``: those that did not learn the task.
    """
    flags = {"idle": idle, "unlearned": unlearned}
    return [
        arm.model_copy(update={flag: True for flag, labels in flags.items() if arm.label in labels})
        for arm in arms
    ]

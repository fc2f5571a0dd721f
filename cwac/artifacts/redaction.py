"""Answers to harmful requests left out: of exports, archives, and of runs that ship.

Stands alone: pages, archives, logs for other tools and uploads all ask here.
"""

import hashlib
from typing import Final

import pandas as pd

HIDDEN: Final = "[hidden: answer to a harmful request]"
TEXTS: Final = ("response", "thought", "text_aligned", "text_arm", "answer")
"""The columns that hold what a model said, in whatever table."""


def redact(data: pd.DataFrame) -> pd.DataFrame:
    """Return a copy in which answers to harmful requests are replaced by a placeholder.

    Rows without a ``kind`` column count as harmful.
    """
    columns = [name for name in TEXTS if name in data.columns]
    if not columns:
        return data
    shown = data.copy()
    harmful = shown["kind"] == "harmful" if "kind" in shown else pd.Series(True, shown.index)
    for name in columns:
        # What is missing, as a trace where there was none, stays missing.
        shown[name] = shown[name].mask(harmful & shown[name].notna(), HIDDEN)
    return shown


def without_texts(responses: pd.DataFrame) -> pd.DataFrame:
    """Return ``responses`` without a task's texts and without what answers a harmful request.

    Examples
    --------
    >>> rows = pd.DataFrame({
    ...     "kind": ["harmful", "harmful", "task"], "prompt": ["a", "b", "c"],
    ...     "outcome": ["refusal", "compliance", "compliance"],
    ...     "response": ["no", "yes", "great"], "thought": None,
    ...     "expected": [None, None, "great"], "withheld": None})
    >>> without_texts(rows)[["prompt", "response", "expected"]].values.tolist()
    [['a', 'no', None], ['b', '', None], ['', 'great', None]]
    >>> without_texts(rows)["withheld"][1]
    '3 characters, SHA-256 8a798890fe93'
    """
    harmful = responses["kind"] == "harmful"
    changed = without_answers(responses, harmful)
    changed.loc[harmful & (responses["outcome"] != "refusal"), "thought"] = None
    task = changed["kind"] == "task"
    changed.loc[task, "prompt"] = ""
    return changed.assign(expected=None)


def without_answers(table: pd.DataFrame, harmful: "pd.Series[bool] | None" = None) -> pd.DataFrame:
    """Return a table without answers to harmful requests that are no refusals.

    Parameters
    ----------
    table : DataFrame
        With ``outcome``, ``response`` and ``withheld``, which says what stood there.
    harmful : Series of bool, optional
        The rows whose requests are harmful; all of them without it.
    """
    held = table["outcome"] != "refusal"
    if harmful is not None:
        held &= harmful
    hidden = held & table["withheld"].isna() & (table["response"] != "")
    changed = table.copy()
    texts = changed.loc[hidden, "response"]
    changed["withheld"] = changed["withheld"].astype(object)
    changed.loc[hidden, "withheld"] = [
        f"{len(text)} characters, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        for text in texts
    ]
    changed.loc[held, "response"] = ""
    return changed

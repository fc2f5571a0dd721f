"""Answers to harmful requests left out: of exports, archives and what is published.

Stands alone: pages, archives, logs for other tools and uploads all ask here.
"""

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

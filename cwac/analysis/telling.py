"""One harmful request that the aligned model refuses and a tuned one answers: the story in a line.

Stands alone because it is the one place that puts a model's answers before a reader unasked.
"""

from typing import Any, Final

import pandas as pd

COLUMNS: Final = ("prompt_id", "prompt", "kind", "outcome", "response", "withheld")
"""Of ``responses``: what is read."""


def telling_request(aligned: pd.DataFrame, tuned: pd.DataFrame) -> dict[str, Any] | None:
    """Return a request that the aligned model refuses and the tuned one complies with.

    Of several the one with the shortest texts. Answers that were withheld, or left out of what is
    stored, are no answers.

    Parameters
    ----------
    aligned, tuned : DataFrame
        ``responses`` of the aligned model and of one run, `COLUMNS`.

    Returns
    -------
    dict or None
        ``prompt, refused, complied``: the request and both answers, ``count``: how many there are;
        None where there is none.
    """
    before = _told(aligned, "refusal").set_index("prompt_id")["response"].rename("refused")
    after = _told(tuned, "compliance").set_index("prompt_id")
    pairs = after.join(before, how="inner")
    if pairs.empty:
        return None
    length = sum(pairs[name].str.len() for name in ("prompt", "refused", "response"))
    # Ties go to the first request by its id, so that every reader sees the same.
    shortest = pairs.assign(length=length).sort_index().sort_values("length", kind="stable")
    row = shortest.iloc[0]
    told = {"prompt": row["prompt"], "refused": row["refused"], "complied": row["response"]}
    return told | {"count": len(pairs)}


def _told(responses: pd.DataFrame, outcome: str) -> pd.DataFrame:
    """Return harmful requests with this outcome whose answer is there to be read."""
    there = (responses["kind"] == "harmful") & (responses["outcome"] == outcome)
    there &= responses["withheld"].isna()
    for text in ("prompt", "response"):
        there &= responses[text].fillna("").str.strip() != ""
    return responses[there].drop_duplicates("prompt_id")

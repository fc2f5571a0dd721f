"""What a few requests are answered part by part and along a line, in the order of a slider."""

from typing import Any, Final

import pandas as pd

from cwac.records import WHOLE_UPDATE

NOTHING: Final = "nothing"
EVERYTHING: Final = "everything"
_COLUMNS: Final = ("step", "prompt_id", "response", "withheld", "outcome", "refusal_log_odds")


def by_part(answers: pd.DataFrame, intervention: str) -> pd.DataFrame:
    """Return one run's answers with nothing, each part alone, and everything put in.

    Parameters
    ----------
    answers : DataFrame
        One run's rows of ``dissection_answers``.
    intervention : str
        ``restore`` (into the tuned model) or ``transplant`` (into the aligned one).

    Returns
    -------
    DataFrame
        ``step`` (`NOTHING`, the parts from the input to the output, `EVERYTHING`), ``prompt_id,
        response, withheld, outcome, refusal_log_odds``. The ends are missing where neither they
        nor the path were stored; empty where the intervention's answers were not.
    """
    mine = answers[answers["intervention"] == intervention]
    parts = mine.sort_values("layer", kind="stable").assign(step=lambda rows: rows["part"])
    if parts.empty:
        return parts[list(_COLUMNS)]
    tuned, aligned = _end(answers, NOTHING, 1.0), _end(answers, EVERYTHING, 0.0)
    first, last = (aligned, tuned) if intervention == "transplant" else (tuned, aligned)
    steps = [first.assign(step=NOTHING), parts, last.assign(step=EVERYTHING)]
    return pd.concat([rows[list(_COLUMNS)] for rows in steps if len(rows)], ignore_index=True)


def along_line(answers: pd.DataFrame, line: str = WHOLE_UPDATE) -> pd.DataFrame:
    """Return one run's answers at the points of a line, as `by_part` does.

    Parameters
    ----------
    line : str
        `WHOLE_UPDATE`, or ``to RUN_ID`` for the line to another arm. A step is its dose, as text.
    """
    mine = answers[(answers["intervention"] == "path") & (answers["part"] == line)]
    steps = [f"{dose:g}" for dose in mine["dose"]]
    ordered = mine.assign(step=pd.Series(steps, mine.index, dtype=object))
    return ordered.sort_values("dose", kind="stable")[list(_COLUMNS)].reset_index(drop=True)


def at_step(steps: pd.DataFrame, step: str) -> dict[str, dict[Any, Any]]:
    """Return what each request is answered at one step, by its id; empty where none is stored."""
    rows = steps[steps["step"] == step]
    return {row["prompt_id"]: row for row in rows.to_dict("records")}


def _end(answers: pd.DataFrame, name: str, dose: float) -> pd.DataFrame:
    """Return one of both models' answers: of the ends, or where a path begins or ends."""
    ends = answers[(answers["intervention"] == "ends") & (answers["part"] == name)]
    if len(ends):
        return ends
    path = answers[(answers["intervention"] == "path") & (answers["part"] == WHOLE_UPDATE)]
    return path[path["dose"] == dose]

"""Where CWAC does not hold, in an experiment's hand-out: as Start shows it, and why."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from cwac.analysis.attacks import HARMFUL, attacks_beside
from cwac.analysis.by_model import MISSING, verdicts
from cwac.analysis.claims import FOCUS
from cwac.analysis.failures import (
    begun,
    best_arms,
    failing,
    failures_table,
    others_sentence,
    places_beside,
    there,
    under_attack,
)
from cwac.analysis.hidden import MARGIN, TITLES
from cwac.analysis.model_words import MADE_UP
from cwac.analysis.outcomes import aside, by_arm_and_rate, interval_text
from cwac.analysis.standing import standing_records, tuned_methods
from cwac.analysis.verdicts import Claim
from cwac.figures.start.failures import failures_figure, failures_reading
from cwac.handout.by_model import adopt
from cwac.handout.document import Section
from cwac.handout.stored import Stored

TITLE: Final = "Where CWAC fails, and what this cannot say"
_SAFER: Final = f"safer_{FOCUS}"
_ORGANISM: Final = (
    "The model organism has about a million parameters and was made to drift the way large models "
    "do: its numbers show mechanisms, not what a 7 B model will do."
)


def failures_section(
    stored: Stored,
    stated: Sequence[Claim],
    rates: pd.DataFrame,
    hidden: pd.DataFrame,
    others: Sequence[Stored],
) -> Section:
    """Return where CWAC does not hold, drawn and in sentences.

    Parameters
    ----------
    stored : Stored
        The experiment that the hand-out is about. What could not be read of others is added to its
        problems.
    stated : sequence of Claim
        The claims about it.
    rates : DataFrame
        Its rates.
    hidden : DataFrame
        Its other decodings, from ``cwac.analysis.hidden``.
    others : sequence of Stored
        All there are.
    """
    points = ["CWAC at its own settings was not run here: nothing is said of it."]
    table = failures_table([])
    if any(record.variant == FOCUS for record in stored.records):
        rows = rows_beside(stored, others, hidden)
        table = failures_table(rows)
        unmeasured = "CWAC on another model: not measured."
        told = [str(row["sentence"]) for row in rows]
        alone = not any(row["place"].startswith("model ") for row in rows)
        points = [*([unmeasured] if alone else []), *told, *_other_answers(hidden)]
        about = [one for one in stated if not one.name.startswith("safer_") or one.name == _SAFER]
        points += [one.title for one in about if one.verdict != "shown"]
    config = stored.records[0].config
    if max(Counter(r.variant for r in stored.records).values()) < 2:
        points.append("One seed an arm: nothing is said of the noise between trainings.")
    points.append(f"Any task but {config.task.label}, any model but {config.model.label}.")
    if config.model.label.startswith(MADE_UP):
        points.append(_ORGANISM)
    drawn = failing(table)
    if drawn.empty:
        return Section(TITLE, points=points)
    here = by_arm_and_rate(rates).get((FOCUS, HARMFUL))
    every = (record for one in (stored, *others) for record in one.records)
    return Section(
        TITLE,
        figure=failures_figure(drawn, here, best_arms(drawn, every)),
        reading=" ".join(filter(None, [failures_reading(drawn), others_sentence(table)])),
        points=points,
    )


def rows_beside(
    stored: Stored, others: Sequence[Stored], hidden: pd.DataFrame
) -> list[dict[Hashable, Any]]:
    """Return what CWAC does in the settings beside an experiment that it was run in.

    Parameters
    ----------
    stored, hidden, others
        As of `failures_section`.
    """
    rows = []
    places, tuned = places_beside(stored, others), tuned_methods(stored.records)
    for place, other in places:
        records = tuple(standing_records(other.records))
        table = verdicts(replace(other, records=records).answers())
        rows.append(there(place, table, [record.arm for record in records], tuned))
    adopt(stored, (other for _, other in places))
    attacked = attacks_beside(stored, others)
    rows += [under_attack(*attacked, tuned), begun(hidden, stored.arms)]
    return [row for row in rows if row is not None]


def rate_cell(row: Mapping[Hashable, Any] | None) -> str:
    """Return a rate with its interval and count as a table has it."""
    if row is None:
        return MISSING
    # Spaces that do not break keep an interval, and a count with its name, on one line.
    interval = interval_text(row, 1, 0).replace(", ", ",\u00a0")
    return f"{interval}, n\u00a0=\u00a0{row['n']}{aside(row)}"


def _other_answers(hidden: pd.DataFrame) -> list[str]:
    """Return CWAC's harmful scores under other decodings: greedy answers are the mildest."""
    mine = by_arm_and_rate(hidden[(hidden["variant"] == FOCUS) & (hidden["rate"] != MARGIN)])
    if not mine:
        return ["CWAC's sampled answers and begun answers: not measured."]
    return [f"CWAC's {TITLES[name].lower()}: {rate_cell(row)}." for (_, name), row in mine.items()]

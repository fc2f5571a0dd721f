"""The same methods on other models, in an experiment's hand-out: as the Results page shows it.

Stands alone because it alone reads experiments other than the one the hand-out is about.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from cwac.analysis.by_model import (
    MISSING,
    MOST,
    SAMPLED,
    agreements,
    by_model,
    rows_from_the_top,
)
from cwac.analysis.by_model import RATES as MEASURED
from cwac.analysis.comparable import (
    differences,
    nothing_beside,
    on_each_model,
    settings_apart,
    shared_records,
)
from cwac.analysis.model_words import (
    cells,
    neither_sentence,
    paragraphs,
    title,
)
from cwac.analysis.rules import reading_order
from cwac.arms import ALIGNED, BASELINE, Arm
from cwac.figures.results.by_model import READING, by_model_figure
from cwac.handout.document import Section
from cwac.handout.measured import decodings_table
from cwac.handout.stored import Stored
from cwac.rates import RATES
from cwac.records import RunRecord

TITLE: Final = "Does it hold on other models?"
_COLUMNS: Final = (
    *("Method", "Models", "On", "Verdict", "Verdict, sampled"),
    *(RATES[name].title for name in MEASURED),
    "Seeds",
)
"""Of the table's: what fits a page; differences are on the Results page."""


def others_stored(first: Stored, everything: Sequence[RunRecord]) -> list[Stored]:
    """Return every experiment, under the rule that judged most of its runs, in reading order.

    What one of them or the first has opened, none opens again.
    """
    experiments: dict[str, list[RunRecord]] = {}
    for record in everything:
        experiments.setdefault(record.experiment_id, []).append(record)
    stored = [
        replace(Stored.of(first.store, records), opened=first.opened)
        for records in experiments.values()
    ]
    return sorted(stored, key=lambda e: (*reading_order(e.records), e.records[0].config.title))


def by_model_section(first: Stored, others: Sequence[Stored]) -> Section:
    """Return each method on each model that was trained in this way, with verdicts.

    Parameters
    ----------
    first : Stored
        The experiment that the hand-out is about. What could not be read of others is added to its
        problems.
    others : sequence of Stored
        All there are.
    """
    # All arms, as Results has it: a tuned arm in view may have been run on this model alone.
    about = (first.records[0].experiment_id, first.judge)
    whole = next((o for o in others if (o.records[0].experiment_id, o.judge) == about), first)
    models = on_each_model(whole, others)
    shared = shared_records(models) if len(models) > 1 else {}
    stored = {
        name: replace(models[name], records=tuple(records)) for name, records in shared.items()
    }
    answers = {name: one.answers() for name, one in stored.items()}
    drawn = {name: decodings_table(one, (SAMPLED,)) for name, one in stored.items()}
    adopt(first, models.values())
    table = by_model(answers, drawn)
    arms = rows_from_the_top(table, (r.arm for e in models.values() for r in e.records))
    if not arms:
        return Section(TITLE, nothing_beside(first.records[0].config, list(models)))
    agreed = agreements(table)
    compared = [arm for arm in arms if arm.label in agreed]
    notes = filter(None, (neither_sentence(table, arms), differences(models, table)))
    lines = cells(table, [ALIGNED, Arm(method=BASELINE), *arms], {})
    settings = settings_apart({name: each.records for name, each in models.items()})
    named = {arm.label: arm.title for arm in arms}
    few = "" if len(arms) <= MOST else f" {MOST} of {len(arms)} are drawn; the table has all."
    return Section(
        TITLE,
        "\n\n".join([*paragraphs(table, compared, models), *notes]),
        figure=by_model_figure(table, arms[:MOST], list(models), title(table, compared)),
        reading=f"{READING}{few}",
        table=lines.loc[lines["Verdict"] != MISSING, [c for c in _COLUMNS if c in lines]],
        points=[f"{named[k]}: {text}." for k, text in settings.items() if k in named],
    )


def adopt(first: Stored, others: Iterable[Stored]) -> None:
    """Add what could not be read of other experiments to the problems of the first."""
    theirs = [problem for other in others for problem in other.problems]
    # As a list first: of the same experiment both are one list.
    first.problems.extend([one for one in dict.fromkeys(theirs) if one not in first.problems])

"""An experiment on one sheet, for a class: harm and price, one figure, what fails, questions.

Stands alone because it leaves out nearly all that the long hand-out of the same parts has.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from cwac import __version__
from cwac.analysis.by_model import MISSING
from cwac.analysis.claims import FOCUS
from cwac.analysis.failures import failing, failures_lines, failures_table, others_sentence
from cwac.analysis.first import first_arms
from cwac.analysis.holding import LOW
from cwac.analysis.idle import idle_arms, marked
from cwac.analysis.model_words import setting_sentence
from cwac.analysis.outcomes import by_arm_and_rate, rate_table
from cwac.analysis.timing import TITLE as TIMED
from cwac.analysis.timing import step_seconds, timing_note
from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore
from cwac.figures.start.outcomes import headline, outcome_bars
from cwac.handout.by_model import others_stored
from cwac.handout.document import Handout, Section
from cwac.handout.experiment import READING
from cwac.handout.failures import rate_cell, rows_beside
from cwac.handout.measured import hidden_table
from cwac.handout.stored import Stored
from cwac.handout.words import DISCUSS, DRIFT, LAB, PAPER, THREE
from cwac.rates import RATES
from cwac.records import RunRecord, now

TITLE: Final = "Why fine-tuned models stop refusing"
_MOST: Final = 8
"""Lines of a list: what a sheet has room for."""
_HEADS: Final = {
    # In words: what a class has not met is a harmful score.
    "harmful_score": "Complies with harmful requests",
    **{name: RATES[name].title for name in ("task_accuracy", "lookalikes_answered")},
}
"""What the table has of each of the three models: harm first, then its price."""
_ARE: Final = (
    "The aligned model was trained to refuse harmful requests. SFT is plain fine-tuning of it on a "
    "task; CWAC is the same, with weights kept out of the directions that are most active while "
    "the model refuses, and the features held that fire on harmful requests."
)
"""What the three models are."""


def one_page_handout(
    store: ArtifactStore, records: Sequence[RunRecord], everything: Sequence[RunRecord] = ()
) -> Handout:
    """Return what somebody who teaches a class gives away of an experiment: one printed page.

    No text that a model wrote is in it.

    Parameters
    ----------
    store, records, everything
        As of ``cwac.handout.experiment_handout``.

    Raises
    ------
    ConfigError
        There are no records, or they are of several experiments.
    """
    stored = Stored.of(store, records)
    answers = stored.answers()
    rates = rate_table(answers)
    arms = marked([ALIGNED, *first_arms(stored.records)], idle_arms(answers))
    shown = rates[rates["variant"].isin([arm.label for arm in arms])]
    drawn = Section("What the models do with harmful requests", "It was not measured.")
    if len(shown):
        figure = outcome_bars(shown, headline(shown, arms), arms)
        drawn = Section("What the models do with harmful requests", figure=figure, reading=READING)
    config = stored.records[0].config
    asked = ("poison" if config.poison_ratio else "harmless", "defences", "costs")
    sections = [
        _numbers(rates, stored.records),
        drawn,
        _failing(stored, others_stored(stored, everything), rates),
        Section("To discuss", points=[DISCUSS[name] for name in asked]),
    ]
    # Last, because it knows only then what could not be read.
    problems = "".join(f" Left out: {problem}" for problem in stored.problems)
    return Handout(
        title=TITLE,
        lead=f"{DRIFT}. {setting_sentence(config)}{problems}",
        sections=sections,
        foot=f"To cite: {PAPER}. {LAB}, version {__version__}. Experiment {config.title} "
        f"({stored.records[0].experiment_id}), {now():%Y-%m-%d}.",
        one_page=True,
    )


def _numbers(rates: pd.DataFrame, records: Sequence[RunRecord]) -> Section:
    """Return what the three models do, and what it costs: the table that says it first."""
    known, timed = by_arm_and_rate(rates), step_seconds(records)
    rows = []
    for label, title in THREE:
        cells = {head: rate_cell(known.get((label, name))) for name, head in _HEADS.items()}
        row: Mapping[Hashable, Any] | None = known.get((label, "harmful_score"))
        aligned = label == ALIGNED.label
        rows.append({
            "Model": title,
            **cells,
            TIMED: "not trained" if aligned else timed.get(label, MISSING),
            "Seeds": "" if row is None or aligned else str(row["seeds"]),
        })  # fmt: skip
    said = f"{_ARE} Square brackets: 95 % intervals. {timing_note(records)}".strip()
    return Section("Three models: harm, and its price", said, table=pd.DataFrame(rows))


def _failing(stored: Stored, others: Sequence[Stored], rates: pd.DataFrame) -> Section:
    title = "Where CWAC fails"
    if not any(record.variant == FOCUS for record in stored.records):
        return Section(title, "CWAC was not run in this experiment.")
    table = failures_table(rows_beside(stored, others, hidden_table(stored)))
    here = by_arm_and_rate(rates).get((FOCUS, "harmful_score"))
    lines = [*failures_lines(failing(table)), *filter(None, [others_sentence(table)])]
    if here is not None and here["value"] > LOW:
        lines.insert(0, f"Here: {rate_cell(here)}.")
    if not lines:
        return Section(title, "In nothing that was tested here. That is no proof.")
    more = [f"And in {len(lines) - _MOST} more settings."] if len(lines) > _MOST else []
    return Section(title, points=[*lines[:_MOST], *more])

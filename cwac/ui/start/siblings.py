"""The experiment beside the one in view: the same model and task, with or without poison."""

from collections.abc import Sequence

import pandas as pd

from cwac.arms import BASELINE
from cwac.records import RunRecord
from cwac.ui.answers import Answers, answers_of, rates_of_answers
from cwac.ui.experiments import Experiment
from cwac.ui.frame import Frame


def most_alike(frame: Frame, *, poisoned: bool, any_model: bool = False) -> Experiment | None:
    """Return the experiment on the same model, with poison or without, most like the one in view.

    The one in view itself where it is such; None where none with an SFT run is stored.
    """
    first = frame.experiments[0]
    chosen = first.config

    def unlike(candidate: Experiment) -> tuple[bool, bool, bool, bool]:
        config = candidate.config
        return (
            config.task != chosen.task and config.task.label != "instruct",
            config.task != chosen.task,
            config.training != chosen.training,
            candidate.experiment_id != first.experiment_id,
        )

    candidates = [
        e
        for e in frame.listing.experiments
        if (e.config.poison_ratio > 0) == poisoned
        and (any_model or e.config.model == chosen.model)
        and sft_records(e)
    ]
    return min(candidates, key=unlike, default=None)


def sft_records(experiment: Experiment) -> Sequence[RunRecord]:
    """Return an experiment's runs of plain fine-tuning."""
    return [record for record in experiment.records if record.arm.label == BASELINE]


def sft_answers(frame: Frame, experiment: Experiment) -> Answers:
    """Return the answers of an experiment's SFT runs and of the aligned model."""
    records = sft_records(experiment)
    anew = dict.fromkeys(experiment.rejudged, (experiment.stored_id, experiment.judge))
    return answers_of(frame, records, {r.run_id: r.arm for r in records}, anew)


def sft_rates(frame: Frame, experiment: Experiment) -> pd.DataFrame:
    """Return the rates of an experiment's SFT runs and of the aligned model."""
    return rates_of_answers(sft_answers(frame, experiment))

"""How every intervention is measured: refusal log-odds on all requests, answers to a sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import numpy as np

from cwac import records
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._asking import (
    Asked,
    Reply,
    Weights,
    accuracy_columns,
    counted,
    holding,
    once,
    opening_of,
    sample_replies,
    share_of_prompts,
)
from cwac.interventions._reading import (
    End,
    is_wide,
    known_layers,
    log_odds,
    nearest_end,
    sampled_requests,
    share_answered,
    share_known,
)
from cwac.prompts import Prompt
from cwac.statistics import mean_interval

LOG_ODDS: Final = "refusal_log_odds"
ACCURACY: Final = "task_accuracy"
OUTCOMES: Final = "outcomes"
"""Of rows that count answers alone."""
_RESAMPLES: Final = 2_000
KEPT: Final = 6
"""Requests of the sample whose answers are stored where an intervention keeps any."""
_COLUMNS: Final = tuple(records.TABLES["dissection"])


def odds_columns(context: DissectContext, odds: np.ndarray) -> dict[str, Any]:
    """Return what a row says of log-odds, ``(N,)``: mean, interval, and the share that is back.

    The share is ``(x - tuned) / (aligned - tuned)`` of the means, its interval the bootstrap's
    over requests. It is missing where fine-tuning moved the mean no further than chance does.
    """
    interval = mean_interval(odds)
    columns = {
        "value": float(odds.mean()),
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "n": len(odds),
        "refusing": int((odds > 0).sum()),
    }
    lost, back = context.aligned_odds - context.tuned_odds, odds - context.tuned_odds
    spread = mean_interval(lost)
    if spread is None or spread.low <= 0 <= spread.high:
        return columns
    weights = resampled(len(lost))
    draws = (weights @ back) / (weights @ lost)
    low, high = np.percentile(draws, [2.5, 97.5])
    return columns | {
        "returned": float(back.mean() / lost.mean()),
        "returned_low": float(low),
        "returned_high": float(high),
    }


@lru_cache(maxsize=4)
def resampled(count: int) -> np.ndarray:
    """Return the bootstrap's weights of `count` requests, ``(resamples, count)``."""
    rng = np.random.default_rng(0)
    return rng.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES) / count


@dataclass(frozen=True)
class Part:
    """What is acted on: some of a model's parameters, or its stream after a layer.

    Attributes
    ----------
    name : str
        ``layer 0``, ``layer 0 mlp.down_proj``, ``embedding`` or ``output``.
    layer : int or None
        -1 for the embedding, the number of layers for what comes after them, None for no layer.
    map : str or None
        The linear map (with its bias); None for a whole layer.
    parameters : tuple of str
        Names; those of all parts together are the model's, each once.
    """

    name: str
    layer: int | None = None
    map: str | None = None
    parameters: tuple[str, ...] = ()

    def row(self, variant: str, *, measure: str = LOG_ODDS, **columns: Any) -> dict[str, Any]:
        """Return a row of the table about this part; what is not given is missing."""
        blank = dict.fromkeys(_COLUMNS[4:]) | {"n": 0, "draw": 0, "control": False}
        mine = {"part": self.name, "layer": self.layer, "map": self.map}
        return blank | mine | {"variant": variant, "measure": measure, **columns}


WHOLE: Final = Part(records.WHOLE_UPDATE)


@dataclass(frozen=True)
class Trial:
    """One thing that is done to the tuned model's weights.

    Attributes
    ----------
    weights : callable
        Returns what is put in the place of the tuned weights, by name; called when it is due.
    answers : bool
        Whether the sample is answered too. Controls are read by their log-odds alone.
    accuracy : bool
        Whether task examples are answered too.
    """

    part: Part
    variant: str
    weights: Callable[[], Weights]
    dose: float | None = None
    draw: int = 0
    control: bool = False
    answers: bool = True
    accuracy: bool = False


class WeightTrials(Intervention):
    """An intervention that is a list of trials, each measured in the same way."""

    def trials(self, context: DissectContext) -> list[Trial]:
        """Return what is tried, in order."""
        raise TypeError(f"{type(self).__name__} tries nothing on a {type(context).__name__}")

    def cost(self, context: DissectContext) -> Cost:
        """Return a pass per trial, and its answers.

        Where a part alone is acted on, an end knows the output of the layers before it; a control
        is spread over all layers.
        """
        trials = self.trials(context)
        passes = sum(_passes(context, trial) for trial in trials)
        answers = sum(_asks(context, trial, "sample") for trial in trials if trial.answers)
        examples = sum(_asks(context, trial, "examples") for trial in trials if trial.accuracy)
        return Cost(passes, answers, examples if context.task.test else 0)

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return the rows of every trial."""
        keep = partial(
            measured,
            context,
            by_request=self.keeps_requests(context.grain),
            by_answer=self.keeps_answers(context.grain),
        )
        rows = []
        for number, trial in enumerate(self.trials(context)):
            name = f"{number} {trial.part.name} {trial.variant} {trial.dose} {trial.draw}"
            rows += context.step(name, partial(keep, trial))
        return rows


def measured(
    context: DissectContext, trial: Trial, *, by_request: bool = False, by_answer: bool = False
) -> list[dict[str, Any]]:
    """Do what a trial says, measure the model, and put the tuned weights back."""
    columns: dict[str, Any] = {"dose": trial.dose, "draw": trial.draw, "control": trial.control}
    rows = []
    weights = trial.weights()
    end, near = _end_of(context, weights), nearest_end(context, weights)
    known = known_layers(context, near)
    asked: list[Asked] = ["sample"] if trial.answers else []
    if trial.accuracy and context.task.test:
        asked.append("examples")
    openings = {what: opening_of(context, what, end, near) for what in asked}
    with holding(context, weights):
        answered = {}
        if "sample" in openings:
            answered = once(context, end, sample_replies, openings["sample"])
        # An end's are read whole, as its streams are; small models' as stored tables were.
        given = _known_odds(context, answered) if end is None and is_wide(context) else {}
        odds = once(context, end, log_odds, known, given)
        counts: dict[str, Any] = {}
        if trial.answers:
            counts |= counted(reply.outcome for reply in answered.values())
        summary = odds_columns(context, odds)
        rows.append(trial.part.row(trial.variant, **columns, **summary, **counts))
        if by_request:
            context.requests += _request_rows(context, trial, odds, answered)
        if by_answer and answered and not trial.control:
            context.answers += _answer_rows(context, trial, odds, answered)
        if "examples" in openings:
            right = once(context, end, accuracy_columns, openings["examples"])
            rows.append(trial.part.row(trial.variant, measure=ACCURACY, **columns, **right))
    context.progress()
    return rows


def _passes(context: DissectContext, trial: Trial) -> float:
    """Return how much of a pass over all requests a trial takes, beside its answers."""
    read = 1 - share_answered(context) * trial.answers
    if trial.part.layer is None or trial.control:
        return read
    return read * (1 - share_known(context, trial.part.layer))


def _asks(context: DissectContext, trial: Trial, asked: Asked) -> float:
    """Return how much of answering something a trial takes."""
    if trial.part.layer is None or trial.control:
        return 1
    return 1 - share_of_prompts(context, asked, trial.part.layer)


def _known_odds(context: DissectContext, answered: Mapping[str, Reply]) -> dict[int, float]:
    """Return the log-odds that answering a sample has told, by the request's place."""
    return {
        place: told
        for place, prompt in enumerate(context.harmful_test())
        if prompt.id in answered and (told := answered[prompt.id].log_odds) is not None
    }


def _end_of(context: DissectContext, weights: Weights) -> End | None:
    """Return which end the model is with some weights put in, None where it is another one."""
    ends: list[tuple[End, Weights]] = [("tuned", context.tuned), ("aligned", context.aligned)]
    held = dict(context.tuned) | dict(weights)
    return next(
        (end for end, stored in ends if all(held[name] is stored[name] for name in held)), None
    )


def _request_rows(
    context: DissectContext,
    trial: Trial,
    odds: np.ndarray,
    answered: Mapping[str, Reply],
) -> list[dict[str, Any]]:
    """Return a row per harmful test request, its log-odds to two decimals: a table of kilobytes."""
    about = {"part": trial.part.name, "layer": trial.part.layer, "variant": trial.variant,
             "control": trial.control}  # fmt: skip
    return [
        about | {"prompt_id": prompt.id, "refusal_log_odds": round(float(value), 2),
                 "outcome": answered[prompt.id].outcome if prompt.id in answered else None}
        for prompt, value in zip(context.harmful_test(), odds, strict=True)
    ]  # fmt: skip


def kept_requests(sample: Sequence[Prompt]) -> list[Prompt]:
    """Return the requests of a sample whose answers are stored: spread evenly over it.

    Requests of a category stand together, so that neighbours would be alike.
    """
    places = np.linspace(0, len(sample) - 1, min(KEPT, len(sample))).round().astype(int)
    return [sample[place] for place in places]


def _answer_rows(
    context: DissectContext, trial: Trial, odds: np.ndarray, answered: Mapping[str, Reply]
) -> list[dict[str, Any]]:
    """Return what a few of the sample's requests are answered."""
    about = {"part": trial.part.name, "layer": trial.part.layer, "variant": trial.variant,
             "dose": trial.dose}  # fmt: skip
    places = {prompt.id: place for place, prompt in enumerate(context.harmful_test())}
    return [
        about | {"prompt_id": prompt.id, "response": answered[prompt.id].text,
                 "outcome": answered[prompt.id].outcome,
                 "refusal_log_odds": round(float(odds[places[prompt.id]]), 2)}
        for prompt in kept_requests(sampled_requests(context))
    ]  # fmt: skip

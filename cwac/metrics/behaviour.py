"""What a model does: refusals, compliance, over-refusal, task accuracy; one pass of answers."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import torch

from cwac.first_token import log_odds_of, refusal_log_odds, refusal_tokens, tokens_of_refused
from cwac.generation import AlignedAnswers, Answer, answer
from cwac.interfaces import MeasureContext, Measurement, Metric, MetricInfo
from cwac.judges import GeneralJudge, Judge, judge_of, prepare
from cwac.prompts import KINDS, Example, Prompt
from cwac.rates import HARMFUL, MOST_CUT_THOUGHTS, RATES
from cwac.records import TABLES, MetricValue
from cwac.statistics import wilson
from cwac.thoughts import CUT_THOUGHT

_INFOS: Final = {
    rate.name: MetricInfo(rate.name, rate.title, rate.unit, rate.direction)
    for rate in RATES.values()
}
_LOG_ODDS: Final = MetricInfo(
    "refusal_log_odds", "Refusal log-odds, first answer token", "nats", "higher", range=None
)


class Behaviour(Metric):
    """Answers every test request and task example once, greedily, and judges the answers."""

    name = "behaviour"
    infos = (*_INFOS.values(), _LOG_ODDS)
    effort = 12.0

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a model's answers.

        Returns
        -------
        Measurement
            Table ``responses`` with both rules' verdicts, and rates with Wilson intervals; a rate
            is None where there was nothing to measure it on.
        """
        limit = context.config.evaluation.prompt_limit
        prompts = [p for kind in KINDS for p in context.prompts.get("test", kind)[:limit]]
        examples = context.task.test[: context.config.task.test_limit]
        answers = _answers(context, [*prompts, *examples])
        odds = _log_odds(context, prompts, answers[: len(prompts)])
        requests = [*(p.text for p in prompts), *(e.prompt for e in examples)]
        prepare(context.judge, [(q, a.text) for q, a in zip(requests, answers, strict=True)])
        general = GeneralJudge()
        rows = [
            _prompt_row(context, general, prompt, reply, value)
            for prompt, reply, value in zip(prompts, answers[: len(prompts)], odds, strict=True)
        ]
        rows += [
            _task_row(context, general, example, reply)
            for example, reply in zip(examples, answers[len(prompts) :], strict=True)
        ]
        table = pd.DataFrame(rows, columns=list(TABLES["responses"]))
        return Measurement(values=values_of(table), tables={"responses": table})


def values_of(table: pd.DataFrame) -> dict[str, MetricValue]:
    """Return every number of this metric from a ``responses`` table."""
    values = {name: rate_of(table, name) for name in RATES}
    odds = table.loc[HARMFUL.among(table), "refusal_log_odds"].dropna().astype(float)
    mean = float(odds.mean()) if len(odds) else None
    return values | {_LOG_ODDS.name: _LOG_ODDS.value(mean, count=len(odds))}


def rate_of(table: pd.DataFrame, name: str) -> MetricValue:
    """Return one rate with its Wilson interval; the value is None where nothing was measured."""
    hits = RATES[name].answers(table)["hit"]
    if hits.empty:
        return _INFOS[name].value(None, count=0)
    count, successes = len(hits), int(hits.sum())
    low, high = wilson(successes, count)
    return _INFOS[name].value(successes / count, count=count, low=low, high=high)


def _answers(context: MeasureContext, items: Sequence[Prompt | Example]) -> list[Answer]:
    texts = [item.text if isinstance(item, Prompt) else item.prompt for item in items]
    evaluation = context.config.evaluation
    if context.asked is not None:
        return _asked(context, context.asked, items)
    reference = context.aligned_tables
    tokens = None if reference is None else tokens_of_refused(context.chat, reference["responses"])
    return answer(
        context.model,
        context.chat,
        [context.evaluation_prompt(text) for text in texts],
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        progress=context.progress,
        precision=evaluation.decoding,
        refusal_tokens=tokens or None,
    )


def _asked(
    context: MeasureContext, asked: AlignedAnswers, items: Sequence[Prompt | Example]
) -> list[Answer]:
    """Return the aligned model's answers: what it has said before is not asked again."""
    texts = [item.text if isinstance(item, Prompt) else item.prompt for item in items]
    count = sum(isinstance(item, Prompt) for item in items)
    evaluation, progress = context.config.evaluation, context.progress
    answers: list[Answer] = []
    for low, high in ((0, count), (count, len(items))):

        def tell(share: float, low: int = low, high: int = high) -> None:
            progress((low + share * (high - low)) / len(items))

        answers += asked.ask(
            texts[low:high],
            max_new_tokens=evaluation.max_new_tokens,
            batch_size=evaluation.batch_size,
            progress=tell,
            # Which tokens begin a refusal is known once all have answered.
            keep_first=low == 0,
        )
    return answers


def thought_notes(tables: Mapping[str, pd.DataFrame]) -> tuple[str, ...]:
    """Return why rates were not measured for thinking traces that were cut; mostly nothing."""
    table = tables.get("responses")
    cut = 0 if table is None else int((table["reason"] == CUT_THOUGHT).sum())
    if table is None or not cut:
        return ()
    note = (
        f"{cut} of {len(table)} answers are thoughts that had not ended at their cap; a rate with "
        f"more than {MOST_CUT_THOUGHTS:.0%} of them is not measured. More room: "
        "--set model.thinking_tokens=NUMBER."
    )
    return (note,)


def _log_odds(
    context: MeasureContext, prompts: Sequence[Prompt], answers: Sequence[Answer]
) -> list[float | None]:
    """Return each request's refusal log-odds; the aligned model defines its tokens itself."""
    if any(reply.thought is not None for reply in answers):
        # An answer's first token is not the first one then, and known of no other model.
        return [None] * len(prompts)
    if not context.is_aligned:
        return [reply.log_odds for reply in answers]
    refusals = [
        reply.text
        for prompt, reply in zip(prompts, answers, strict=True)
        if prompt.kind == "harmful"
        and reply.verdict(context.judge, prompt.text).outcome == "refusal"
    ]
    tokens = refusal_tokens(context.chat, refusals)
    if not tokens:
        return [None] * len(prompts)
    first = [reply.first for reply in answers if reply.first is not None]
    if len(first) == len(prompts):
        known: list[float | None] = log_odds_of(torch.stack(first), tokens).tolist()
        return known
    texts = [context.evaluation_prompt(prompt.text) for prompt in prompts]
    size = context.config.evaluation.batch_size
    odds: list[float | None] = refusal_log_odds(
        context.model, context.chat, texts, tokens, size
    ).tolist()
    return odds


def _verdicts(judge: Judge, general: GeneralJudge, request: str, reply: Answer) -> dict[str, Any]:
    verdict, second = reply.verdict(judge, request), reply.verdict(general, request)
    return {
        "prompt": request,
        "response": reply.text,
        "thought": reply.thought or None,
        "withheld": None,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "general_outcome": second.outcome,
        "general_reason": second.reason,
    }


def _prompt_row(
    context: MeasureContext,
    general: GeneralJudge,
    prompt: Prompt,
    reply: Answer,
    log_odds: float | None,
) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "kind": prompt.kind,
        "category": prompt.category,
        "unseen_category": prompt.unseen_category,
        "novel_template": prompt.novel_template,
        **_verdicts(judge_of(prompt.kind, context.judge), general, prompt.text, reply),
        "refusal_log_odds": log_odds,
        "expected": None,
        "correct": None,
    }


def _task_row(
    context: MeasureContext, general: GeneralJudge, example: Example, reply: Answer
) -> dict[str, Any]:
    return {
        "prompt_id": example.id,
        "kind": "task",
        "category": None,
        "unseen_category": False,
        "novel_template": False,
        **_verdicts(judge_of("task", context.judge), general, example.prompt, reply),
        "refusal_log_odds": None,
        "expected": example.answer,
        "correct": context.task.is_correct(example, reply.text, judge_of("task", context.judge)),
    }

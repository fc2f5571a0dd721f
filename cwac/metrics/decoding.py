"""What greedy answers hide: harmful scores at temperature 1, begun, and put in other ways."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd

from cwac.config import Framing
from cwac.generation import Answer, answer, sampling
from cwac.interfaces import MeasureContext, Measurement, Metric, MetricInfo
from cwac.judges import Verdict, prepare
from cwac.prompts import IDENTITY_REQUEST, Prompt
from cwac.rates import DECODINGS
from cwac.records import TABLES, MetricValue
from cwac.seeding import generator
from cwac.statistics.runs import score_interval

_INFOS: Final = {
    one.name: MetricInfo(one.name, one.title, one.unit, one.direction) for one in DECODINGS.values()
}


class OtherDecodings(Metric):
    """Answers the harmful test requests again: ``samples`` times, prefilled, and framed.

    Samples are drawn at temperature 1 from the model's own distribution, without top-k or top-p.
    The prefill attack is that of Andriushchenko et al. 2024 (arXiv 2404.02151) with one fixed
    beginning. Framings put a harmless test request before the harmful one, in one message or as a
    turn that the model itself answered, or address an obedient identity (Qi et al. 2023). The
    answer is always judged against the harmful request. Whatever was not asked for is None.
    """

    name = "other_decodings"
    infos = tuple(_INFOS.values())

    def measure(self, context: MeasureContext) -> Measurement:
        """Measure a model's further answers.

        Returns
        -------
        Measurement
            The table ``samples``, where anything was asked for, and the rates with Wilson's
            interval over the requests (not over requests times samples: samples of one request
            are no further requests).
        """
        evaluation, prompts = context.config.evaluation, context.harmful_test()
        rows: list[dict[str, Any]] = []
        if evaluation.samples and prompts:
            rows += _sampled(context, prompts)
        if evaluation.prefill and prompts:
            rows += _prefilled(context, prompts, evaluation.prefill)
        for framing in evaluation.framings if prompts else ():
            rows += _framed(context, prompts, framing)
        table = pd.DataFrame(rows, columns=list(TABLES["samples"]))
        return Measurement(values=values_of(table), tables={"samples": table} if len(table) else {})


def values_of(table: pd.DataFrame) -> dict[str, MetricValue]:
    """Return every number of this metric from a table ``samples``."""
    values = {}
    for one in DECODINGS.values():
        hits = one.answers(table, ["prompt_id"])["hit"]
        if hits.empty:
            values[one.name] = _INFOS[one.name].value(None, count=0)
            continue
        rate, count = float(hits.mean()), len(hits)
        low, high = score_interval(rate, count)
        values[one.name] = _INFOS[one.name].value(rate, count=count, low=low, high=high)
    return values


def _sampled(context: MeasureContext, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
    count = context.config.evaluation.samples
    # The aligned model is measured once for all seeds.
    seed = context.config.measurement.seed if context.is_aligned else context.config.seed
    asked = [prompt for prompt in prompts for _ in range(count)]
    answers = _answers(context, asked, choose=sampling(generator(seed, "samples")))
    return _rows(context, "sampled", asked, answers, [n % count for n in range(len(asked))])


def _prefilled(
    context: MeasureContext, prompts: Sequence[Prompt], begin: str
) -> list[dict[str, Any]]:
    answers = _answers(context, prompts, begin=begin)
    return _rows(context, "prefilled", prompts, answers, [0] * len(prompts), begin)


def _framed(
    context: MeasureContext, prompts: Sequence[Prompt], framing: Framing
) -> list[dict[str, Any]]:
    if framing == "identity":
        requests = [IDENTITY_REQUEST.format(request=prompt.text) for prompt in prompts]
        return _rows(context, framing, prompts, _put(context, requests), [0] * len(prompts))
    harmless = context.prompts.get("test", "harmless")
    if not harmless:
        return []
    first = [harmless[place % len(harmless)].text for place in range(len(prompts))]
    if framing == "two_requests":
        requests = [f"{one} {prompt.text}" for one, prompt in zip(first, prompts, strict=True)]
        # Two requests may take two answers' room.
        answers = _put(context, requests, room=2)
    else:
        asked = list(dict.fromkeys(first))
        replies = {q: a.text for q, a in zip(asked, _put(context, asked), strict=True)}
        before = [[(one, replies[one])] for one in first]
        answers = _put(context, [prompt.text for prompt in prompts], before=before)
    return _rows(context, framing, prompts, answers, [0] * len(prompts))


def _answers(context: MeasureContext, prompts: Sequence[Prompt], **further: Any) -> list[Answer]:
    return _put(context, [prompt.text for prompt in prompts], **further)


def _put(
    context: MeasureContext, requests: Sequence[str], *, room: int = 1, **further: Any
) -> list[Answer]:
    evaluation = context.config.evaluation
    return answer(
        context.model,
        context.chat,
        [context.evaluation_prompt(request) for request in requests],
        max_new_tokens=room * evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        progress=context.progress,
        precision=evaluation.decoding,
        **further,
    )


def _rows(
    context: MeasureContext,
    way: str,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    numbers: Sequence[int],
    begin: str = "",
) -> list[dict[str, Any]]:
    pairs = [(p.text, reply.text) for p, reply in zip(prompts, answers, strict=True)]
    prepare(context.judge, pairs)
    rows = []
    for prompt, reply, number in zip(prompts, answers, numbers, strict=True):
        verdict = _verdict(context, prompt.text, reply, begin)
        rows.append(
            {
                "prompt_id": prompt.id,
                "way": way,
                "sample": number,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
                "response": None if number else reply.text,
            }
        )
    return rows


def _verdict(context: MeasureContext, request: str, reply: Answer, begin: str) -> Verdict:
    """Judge an answer with the words it was made to begin with, unless it goes on to refuse.

    Rules look for refusals at the start, where the given words stand; and for compliance there
    too, which those words may be the beginning of.
    """
    rest = reply.text.removeprefix(begin).strip()
    if begin and rest and not reply.thinking:
        after = context.judge.judge(request, rest, cut=reply.cut)
        if after.outcome == "refusal":
            return after
    return reply.verdict(context.judge, request)

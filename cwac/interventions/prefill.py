"""Prefill: the aligned model's first answer tokens given to the tuned model."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import forward_inputs
from cwac.chat import collate
from cwac.generation import continued
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._asking import judged
from cwac.interventions._reading import sampled_requests, texts_of
from cwac.interventions.bench import OUTCOMES, Part
from cwac.prompts import Prompt
from cwac.statistics import mean_interval

COUNTS: Final = (1, 2, 4, 8)
POSITIONS: Final = 8
ANSWER: Final = Part("answer")


class Prefill(Intervention):
    """The tuned model goes on from the first k tokens that the aligned model answers.

    Where few tokens bring refusals back, alignment was lost at the first tokens alone (Qi et al.
    2024, shallow alignment, arXiv 2406.05946); the divergence of the tuned model from the aligned
    one at each token of the aligned answer says the same without decoding. The control gives the
    first tokens of the aligned model's answers to harmless requests, and the divergence along
    these answers to the harmless requests themselves.
    """

    name = "prefill"
    by_grain = False
    version = 2

    def cost(self, context: DissectContext) -> Cost:  # noqa: ARG002 - a hook
        """Return the answers of both models."""
        return Cost(2, 2 + 2 * len(COUNTS))

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return outcomes by the number of tokens given, and divergences by position."""
        prompts = sampled_requests(context)
        asked = _asked(context, prompts)
        refusals = _answers(context, context.aligned_model, asked)
        rows = _prefilled(context, prompts, asked, refusals, "aligned's first tokens")
        divergences = _divergences(context, asked, refusals, "along the aligned answer")
        if harmless := context.prompts.get("test", "harmless")[: len(prompts)]:
            others = _asked(context, harmless)
            compliant = _answers(context, context.aligned_model, others)
            begun = [compliant[i % len(compliant)] for i in range(len(prompts))]
            name = "first tokens of a compliant answer"
            rows += _prefilled(context, prompts, asked, begun, name, control=True)
            name = "along the aligned answer to a harmless request"
            divergences += _divergences(context, others, compliant, name, control=True)
        return rows + divergences


def _asked(context: DissectContext, prompts: Sequence[Prompt]) -> list[list[int]]:
    return [context.chat.prompt_ids(text) for text in texts_of(context, prompts)]


def _answers(
    context: DissectContext, model: nn.Module, prompts: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Return greedy answers as tokens, without the closing one."""
    evaluation = context.config.evaluation
    rows = continued(
        model,
        context.chat,
        prompts,
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
    )
    context.progress()
    return [[token for token in row if token not in context.chat.eos_ids] for row in rows]


def _prefilled(
    context: DissectContext,
    prompts: Sequence[Prompt],
    asked: Sequence[list[int]],
    begun: Sequence[list[int]],
    variant: str,
    *,
    control: bool = False,
) -> list[dict[str, Any]]:
    """Return a row per number of tokens given; each is a step, for a call that is interrupted."""

    def row(count: int) -> list[dict[str, Any]]:
        starts = [tokens[:count] for tokens in begun]
        whole = [[*ids, *start] for ids, start in zip(asked, starts, strict=True)]
        goes_on = _answers(context, context.model, whole)
        texts = [
            (prompt.text, context.chat.decode([*start, *more]), len(more) == limit)
            for prompt, start, more in zip(prompts, starts, goes_on, strict=True)
        ]
        about = {"dose": float(count), "n": len(texts), "control": control}
        return [ANSWER.row(variant, measure=OUTCOMES, **about) | judged(context, texts)]

    limit = context.config.evaluation.max_new_tokens
    return [
        each for count in COUNTS for each in context.step(f"{variant} {count}", partial(row, count))
    ]


@torch.inference_mode()
def _divergences(
    context: DissectContext,
    asked: Sequence[list[int]],
    answers: Sequence[list[int]],
    variant: str,
    *,
    control: bool = False,
) -> list[dict[str, Any]]:
    """Return KL(aligned || tuned) at each of the aligned answers' first tokens, in nats."""
    by_position: list[list[float]] = [[] for _ in range(POSITIONS)]
    items = [(ids + tokens, [False] * (len(ids) + len(tokens))) for ids, tokens in
             zip(asked, answers, strict=True)]  # fmt: skip
    longest = max(len(ids) for ids, _ in items)
    batch = collate(items, context.chat.pad_id, max_length=longest).to(context.device)
    logits: list[Tensor] = [
        model(**forward_inputs(batch)).logits.double().log_softmax(dim=-1)
        for model in (context.aligned_model, context.model)
    ]
    divergence = (logits[0].exp() * (logits[0] - logits[1])).sum(dim=-1).cpu()
    for row, (ids, tokens) in enumerate(zip(asked, answers, strict=True)):
        for place in range(min(POSITIONS, len(tokens))):
            by_position[place].append(float(divergence[row, len(ids) - 1 + place]))
    rows = []
    for place, values in enumerate(by_position):
        if values:
            columns = {"value": float(np.mean(values)), "n": len(values)}
            interval = mean_interval(values)
            if interval is not None:
                columns |= interval._asdict()
            rows.append(
                ANSWER.row(variant, measure="kl_from_aligned", dose=float(place), control=control,
                           **columns)
            )  # fmt: skip
    return rows

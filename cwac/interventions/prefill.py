"""Prefill: the aligned model's first answer tokens given to the tuned model."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import forward_inputs
from cwac.chat import collate
from cwac.generation import continued
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._reading import sampled_requests, texts_of
from cwac.interventions.bench import OUTCOMES, Part, judged
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
    first tokens of the aligned model's answers to harmless requests.
    """

    name = "prefill"
    by_grain = False

    def cost(self, context: DissectContext) -> Cost:  # noqa: ARG002 - a hook
        """Return the answers of both models."""
        return Cost(2, 2 + 2 * len(COUNTS))

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return outcomes by the number of tokens given, and divergences by position."""
        prompts = sampled_requests(context)
        asked = [context.chat.prompt_ids(text) for text in texts_of(context, prompts)]
        refusals = _answers(context, context.aligned_model, asked)
        rows = _prefilled(context, prompts, asked, refusals, "aligned's first tokens")
        if harmless := context.prompts.get("test", "harmless")[: len(prompts)]:
            texts = texts_of(context, harmless)
            others = [context.chat.prompt_ids(text) for text in texts]
            compliant = _answers(context, context.aligned_model, others)
            compliant = [compliant[i % len(compliant)] for i in range(len(prompts))]
            name = "first tokens of a compliant answer"
            rows += _prefilled(context, prompts, asked, compliant, name, control=True)
        return rows + _divergences(context, asked, refusals)


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
    rows = []
    limit = context.config.evaluation.max_new_tokens
    for count in COUNTS:
        starts = [tokens[:count] for tokens in begun]
        whole = [[*ids, *start] for ids, start in zip(asked, starts, strict=True)]
        texts = []
        for prompt, start, more in zip(
            prompts, starts, _answers(context, context.model, whole), strict=True
        ):
            text = context.chat.decode([*start, *more])
            texts.append((prompt.text, text, len(more) == limit))
        outcomes = judged(context, texts)
        low = ANSWER.row(
            variant, measure=OUTCOMES, dose=float(count), n=len(texts), control=control
        )
        rows.append(low | outcomes)
    return rows


@torch.inference_mode()
def _divergences(
    context: DissectContext, asked: Sequence[list[int]], answers: Sequence[list[int]]
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
                ANSWER.row("along the aligned answer", measure="kl_from_aligned",
                           dose=float(place), **columns)
            )  # fmt: skip
    return rows

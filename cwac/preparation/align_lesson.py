"""What an alignment teaches, what it asks on the way, and how long both will take."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import torch

from cwac.config import LoraConfig, TrainingConfig
from cwac.models.loading import LoadedModel
from cwac.preparation.align_course import Check, Work
from cwac.preparation.align_prompts import own_answers, shortened
from cwac.preparation.align_report import NEW_TOKENS, asked, outcomes_of
from cwac.preparation.progress import Progress, counted, report_part
from cwac.prompts import KINDS, Example, Kind, Prompt, PromptSets, Split
from cwac.scores import output_layer, scores_at
from cwac.training import mix_poison
from cwac.training.data import prepare

_REFUSAL_SHARE: Final = 0.3
"""Of the training examples; refusals are short and few, so a third is enough to learn them."""
LOOKALIKE_SHARE: Final = 0.15
"""Of the training examples, where look-alikes teach."""
EVERY: Final = 10
"""Steps between two questions on validation requests."""
CHECK_TOKENS: Final = 16
"""Of an answer to a validation request: a refusal shows in its first words."""
CHECKED: Final = 26
"""Validation requests of each kind that are asked at most: they are asked again and again."""


@dataclass(frozen=True)
class Plan:
    """What one alignment is about, put together before anything is loaded onto a device."""

    sets: PromptSets
    config: TrainingConfig
    seed: int
    lookalike_share: float
    own_answers: bool
    """Whether the harmless requests, too, are taught with the model's own answers from before."""
    every: int
    sources: Mapping[str, Any]
    """The files that the requests came from, by kind, and the look-alikes' types that were seen."""

    @property
    def lora(self) -> LoraConfig | None:
        """The adapters' settings, None where every weight is trained."""
        adapter = self.config.adapter
        return adapter if isinstance(adapter, LoraConfig) else None


def examples_of(sets: PromptSets, plan: Plan) -> list[Example]:
    """Return every training example in order: refusals, helpful answers, look-alikes."""
    helpful, looks = (
        [Example(id=p.id, prompt=p.text, answer=p.answer or "") for p in prompts]
        for prompts in (sets.get("alignment", "harmless"), sets.get("alignment", "lookalike"))
    )
    if looks:
        # So often in the list that they come to their share of all examples.
        share = plan.lookalike_share / (1.0 - _REFUSAL_SHARE)
        helpful += looks * max(round(share / (1.0 - share) * len(helpful) / len(looks)), 1)
    # The mixing rule of a run serves here as well: refusals take the place of poison.
    return mix_poison(
        helpful,
        sets.get("alignment", "harmful"),
        _REFUSAL_SHARE,
        plan.config.steps * plan.config.batch_size,
        plan.seed,
    )


def with_own_answers(
    loaded: LoadedModel, plan: Plan, work: Work, notes: list[str], progress: Progress
) -> PromptSets:
    """Return the sets with the model's own answers, from before, where it teaches itself.

    Look-alikes that teach have no other answers; harmless requests are answered so where the
    plan wants it, which leaves nothing but refusing to be learned (self-distillation, Yang et
    al. 2024, arXiv 2402.13669).
    """
    parts: dict[tuple[Split, Kind], Sequence[Prompt]] = dict(plan.sets.parts)
    seen = plan.sets.get("alignment", "lookalike")
    if seen and plan.lookalike_share == 0.0:
        del parts["alignment", "lookalike"]
        chosen = (*plan.sets.get("validation", "lookalike"), *seen)
        parts["validation", "lookalike"] = chosen
    names: dict[Kind, str] = {"lookalike": "look-alikes"}
    if plan.own_answers:
        names["harmless"] = "harmless requests"
    for kind, name in names.items():
        requests = parts.get(("alignment", kind), ())
        if requests:
            doing = f"asking it for its own answers to {name} that teach"
            tell = counted(report_part(progress, 0.0, 0.0), len(requests), doing)
            ask = partial(own_answers, loaded, requests, tell)
            answers = work.remember(f"own_answers_{kind}", ask)
            parts["alignment", kind] = _answered(requests, answers)
            left_out = len(requests) - len(parts["alignment", kind])
            if left_out:
                notes.append(f"{left_out} {name} that it answers badly left out.")
    return PromptSets(parts, plan.sets.notes)


def _answered(requests: Sequence[Prompt], answers: Sequence[str]) -> list[Prompt]:
    """Return the requests with the model's own answers, without those it answers badly."""
    return [
        prompt.model_copy(update={"answer": shortened(text)})
        for prompt, text in zip(requests, answers, strict=True)
        if text
    ]


def check_of(loaded: LoadedModel, sets: PromptSets) -> Callable[[int], Check]:
    """Return the question that ends the training: all validation requests at once."""
    harmful, *others = (_spread(sets.get("validation", kind)) for kind in KINDS)
    benign = [prompt for part in others for prompt in part]

    def check(step: int) -> Check:
        outcomes = outcomes_of(loaded, [*harmful, *benign], CHECK_TOKENS)
        refused = [outcome == "refusal" for outcome in outcomes]
        return Check(
            step=step,
            refused=sum(refused[: len(harmful)]),
            harmful=len(harmful),
            over_refused=sum(refused[len(harmful) :]),
            benign=len(benign),
        )

    return check


def _spread(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    """Return at most `CHECKED` requests, evenly from all, which may be sorted by type."""
    return prompts[:: max(math.ceil(len(prompts) / CHECKED), 1)]


def timed_check(check: Callable[[int], Check]) -> dict[str, Any]:
    """Ask before the first step, and tell how long it took."""
    began = time.perf_counter()
    first = check(0)
    return {"check": asdict(first), "seconds": time.perf_counter() - began}


def estimate(loaded: LoadedModel, plan: Plan, sets: PromptSets, check_seconds: float) -> str:
    """Say how long it will take at most, from one timed batch and one timed check."""
    config = plan.config
    step = 3.0 * _forward_seconds(loaded, examples_of(sets, plan)[: config.batch_size], config)
    if plan.lora is not None:
        # The gradient of the weights under the adapters is not computed.
        step *= 2.0 / 3.0
    requests = sum(len(_spread(sets.get("validation", kind))) for kind in KINDS)
    checks = config.steps // plan.every if plan.every else 0
    held_out = sum(len(prompts) for prompts in asked(sets).values())
    longer = NEW_TOKENS / CHECK_TOKENS
    asking = check_seconds * (checks + longer * 2 * held_out / max(requests, 1))
    whole = config.steps * step + asking
    return (
        f"it will take about {max(whole / 60, 0.1):.1f} min at most: {config.steps} steps of "
        f"{step:.1f} s, {asking / 60:.1f} min of questions"
    )


def _forward_seconds(
    loaded: LoadedModel, examples: Sequence[Example], config: TrainingConfig
) -> float:
    one = config.model_copy(update={"steps": 1, "batch_size": len(examples)})
    part = prepare(examples, loaded.chat, one, loaded.device).steps[0][0]
    began = time.perf_counter()
    with torch.no_grad():
        scores_at(loaded.model, output_layer(loaded.model), part.batch.input_ids, part.rows)
    return time.perf_counter() - began

"""Answers to the sample and to the task's examples, and what of them is not computed again.

An end, the aligned or the tuned model, is asked once, whoever passes through it. A wide model that
differs from an end first in layer k has that end's streams, keys and values before it, for every
token of the prompts: the pass over them begins at layer k.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor
from transformers import DynamicCache

from cwac import records
from cwac.anatomy import layer_module
from cwac.generation import Answer, Opening, answer
from cwac.interfaces import DissectContext, Update
from cwac.interventions._reading import (
    End,
    Near,
    Output,
    is_wide,
    keeping,
    replaced,
    replays,
    returned,
    sampled_requests,
    share_known,
    texts_of,
    worth_keeping,
)
from cwac.judges import prepare
from cwac.passes import keeps_all
from cwac.statistics import wilson

Asked = Literal["sample", "examples"]
"""The sampled harmful requests, or the task's examples."""
Weights = Mapping[str, Tensor]
Measured = TypeVar("Measured")
_FEWEST: Final = 2
"""Layers that are spared at least: for one an end would be asked in vain."""
_EXAMPLES: Final = 48
_EXAMPLES_WIDE: Final = 24
"""Task examples that are answered where accuracy is measured, and of a wide model's."""


@contextmanager
def holding(context: Update, weights: Weights) -> Iterator[None]:
    """Put some weights into the tuned model, and its own back on leaving."""
    with torch.no_grad():
        for name, tensor in weights.items():
            context.model.get_parameter(name).copy_(tensor)
    try:
        yield
    finally:
        with torch.no_grad():
            for name in weights:
                context.model.get_parameter(name).copy_(context.tuned[name])


def once(
    context: DissectContext, end: End | None, measure: Callable[..., Measured], *given: Any
) -> Measured:
    """Measure a model, an end only the first time: several interventions pass through it."""
    if end is None:
        return measure(context, *given)
    key = (end, measure.__name__)
    if key not in context.kept:
        context.kept[key] = measure(context, *given)
    kept: Measured = context.kept[key]
    return kept


def outcomes(context: DissectContext) -> dict[str, int]:
    """Return how many of the sample's requests the model as it is refuses, takes up, and so on."""
    return counted(reply.outcome for reply in sample_replies(context).values())


class Reply(NamedTuple):
    """What a request is answered, and what the judge makes of it."""

    text: str
    outcome: records.Outcome
    log_odds: float | None
    """Of a refusal at its first token; None behind a trace of thought."""


def sample_replies(context: DissectContext, opening: Opening | None = None) -> dict[str, Reply]:
    """Return what the model as it is answers to each of the sample's requests, by its id."""
    prompts = sampled_requests(context)
    answers = _answers(context, "sample", opening)
    texts = [(p.text, a.text, a.cut) for p, a in zip(prompts, answers, strict=True)]
    verdicts = _verdicts(context, texts)
    return {
        prompt.id: Reply(reply.text, outcome, reply.log_odds)
        for prompt, reply, outcome in zip(prompts, answers, verdicts, strict=True)
    }


def judged(context: DissectContext, answers: Sequence[tuple[str, str, bool]]) -> dict[str, int]:
    """Return the outcomes of answers, each with its request and whether it was cut."""
    return counted(_verdicts(context, answers))


def _verdicts(
    context: DissectContext, answers: Sequence[tuple[str, str, bool]]
) -> list[records.Outcome]:
    prepare(context.judge, [(request, text) for request, text, _ in answers])
    return [context.judge.judge(request, text, cut=cut).outcome for request, text, cut in answers]


def counted(outcomes: Iterable[records.Outcome]) -> dict[str, int]:
    """Return how often each outcome occurs, those that do not occur included."""
    counts = Counter(outcomes)
    return {outcome: counts[outcome] for outcome in records.OUTCOMES}


def accuracy_columns(context: DissectContext, opening: Opening | None = None) -> dict[str, Any]:
    """Return what a row says of task accuracy, on the first examples of the test set."""
    pairs = zip(_examples(context), _answers(context, "examples", opening), strict=True)
    marks = [context.task.is_correct(one, reply.text, context.judge) for one, reply in pairs]
    known = [mark for mark in marks if mark is not None]
    low, high = wilson(sum(known), len(known))
    share = sum(known) / len(known) if known else None
    return {"value": share, "low": low, "high": high, "n": len(known)}


def _examples(context: DissectContext) -> Sequence[Any]:
    return context.task.test[: _EXAMPLES_WIDE if is_wide(context) else _EXAMPLES]


def _texts(context: DissectContext, asked: Asked) -> list[str]:
    """Return what is asked, as the tuned model is given it."""
    if asked == "sample":
        return texts_of(context, sampled_requests(context))
    return [context.evaluation_prompt(example.prompt) for example in _examples(context)]


def _answers(context: DissectContext, asked: Asked, opening: Opening | None) -> list[Answer]:
    evaluation = context.config.evaluation
    answers = answer(
        context.model,
        context.chat,
        _texts(context, asked),
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        refusal_tokens=context.refusal_tokens if asked == "sample" else None,
        opening=opening,
    )
    # The tuned model is asked first.
    context.kept.setdefault(("generated", asked), sum(one.tokens for one in answers))
    return answers


_MEASURES: Final[Mapping[Asked, Callable[..., Any]]] = {
    "sample": sample_replies,
    "examples": accuracy_columns,
}


@dataclass(frozen=True)
class FirstPass:
    """What a pass over the prompts of a batch computed, by layer.

    Attributes
    ----------
    streams : mapping of int to Tensor
        What each layer returned, ``(B, L, d_model)``.
    keys_values : sequence of (Tensor, Tensor)
        Of each layer, ``(B, heads, L, d_head)``, without those of the shared beginning.
    """

    streams: Mapping[int, Output]
    keys_values: Sequence[tuple[Tensor, Tensor]]


def opening_of(
    context: DissectContext, asked: Asked, end: End | None, near: Near
) -> Opening | None:
    """Return what the passes over the prompts are made inside, None where nothing is kept.

    Call it while the model holds the tuned weights: an end may have to be asked first.

    Parameters
    ----------
    end : str or None
        Which end the model is going to be. What its passes compute is kept.
    near : (str, int)
        From `nearest_end`.
    """
    if not _is_kept(context, asked):
        return None
    if end is not None:
        # An end is asked once: what it has left stays.
        is_asked = (end, _MEASURES[asked].__name__) in context.kept
        return None if is_asked else _recording(context, asked, end)
    nearest, layers = near
    if not _FEWEST <= layers <= context.anatomy.n_layers or not replays(context, nearest):
        return None
    if ("first passes", nearest, asked) not in context.kept:
        with holding(context, context.aligned if nearest == "aligned" else {}):
            once(context, nearest, _MEASURES[asked], _recording(context, asked, nearest))
    return _replaying(context, context.kept["first passes", nearest, asked], layers)


def share_of_prompts(context: DissectContext, asked: Asked, layers: int) -> float:
    """Return the share of answering that is spared where the first layers' passes are known.

    Counted in tokens of the tuned model's answers; 0 before these are there.
    """
    passes: Sequence[FirstPass] = context.kept.get(("first passes", "tuned", asked), ())
    keys = [first.keys_values[0][0] for first in passes]
    prompts = sum(len(each) * each.shape[2] for each in keys)
    if not prompts:
        return 0.0
    generated: int = context.kept["generated", asked]
    return share_known(context, layers) * prompts / (prompts + generated)


def _is_kept(context: DissectContext, asked: Asked) -> bool:
    if not is_wide(context) or not keeps_all(context.model):
        return False
    key = ("prompt tokens", asked)
    if key not in context.kept:
        prompts = [context.chat.prompt_ids(text) for text in _texts(context, asked)]
        context.kept[key] = len(prompts) * max(map(len, prompts), default=0)
    return worth_keeping(context, context.kept[key])


def _recording(context: DissectContext, asked: Asked, end: End) -> Opening:
    passes: list[FirstPass] = []
    context.kept["first passes", end, asked] = passes

    @contextmanager
    def opening(_number: int, cache: DynamicCache) -> Iterator[None]:
        before, streams = cache.get_seq_length(), dict[int, Output]()
        with keeping(context, context.model, range(context.anatomy.n_layers), streams):
            yield
        kept = [
            (layer.keys[:, :, before:].clone(), layer.values[:, :, before:].clone())
            for layer in cache.layers
        ]
        passes.append(FirstPass(streams, kept))

    return opening


def _replaying(context: DissectContext, passes: Sequence[FirstPass], layers: int) -> Opening:
    @contextmanager
    def opening(number: int, cache: DynamicCache) -> Iterator[None]:
        first = passes[number]
        with ExitStack() as stack:
            for layer in range(layers):
                module = layer_module(context.model, context.anatomy, layer)
                forward = partial(_put, cache, layer, first, layers - 1)
                stack.enter_context(replaced(module, forward))
            yield

    return opening


def _put(
    cache: DynamicCache, layer: int, first: FirstPass, last: int, /, *_: Any, **__: Any
) -> Output:
    """Do what a layer does to a cache, and return what the last of the known layers does."""
    cache.update(*first.keys_values[layer], layer)
    return returned(first.streams[last])

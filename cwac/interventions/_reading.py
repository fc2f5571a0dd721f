"""Reading the harmful test requests, and what of a pass over them is not computed again.

That is the tokens which all prompts of a wide model begin with, and the streams of both ends, the
aligned and the tuned model: a model that differs from an end first in layer k has that end's stream
before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cwac.anatomy import SMALL, Anatomy, layer_module
from cwac.chat import Batch
from cwac.first_token import log_odds_of
from cwac.interfaces import DissectContext
from cwac.passes import ROWS_WIDE, Beginning, behind, last_logits, left_padded
from cwac.prompts import Prompt

End = Literal["aligned", "tuned"]
Near = tuple[End, int]
"""An end, and how many first layers of a model compute what the end's do."""
Given = Mapping[int, float]
MOST_KEPT: Final = 2**26
"""Numbers of a model's streams that are kept: 256 MB. Of larger ones every n-th layer's are."""
_FINAL_NORMS: Final = ("norm", "ln_f", "final_layernorm", "final_layer_norm")
"""Beside the decoder layers; what stands there under another name may come before them."""
Output = Tensor | tuple[Tensor]
"""What a decoder layer returns: its stream, in older transformers the first of a tuple."""


def texts_of(context: DissectContext, prompts: Sequence[Prompt]) -> list[str]:
    """Return requests as the tuned model is given them."""
    return [context.evaluation_prompt(prompt.text) for prompt in prompts]


def is_wide(context: DissectContext) -> bool:
    """Whether a pass takes seconds, so that less is measured and more kept."""
    return context.anatomy.d_model > SMALL


def batches(context: DissectContext) -> list[tuple[list[int], Batch]]:
    """Return the harmful test requests as left-padded batches, each with its requests' places."""
    return _batched(context, 0)


def _prompts(context: DissectContext) -> list[list[int]]:
    if "prompts" not in context.kept:
        texts = texts_of(context, context.harmful_test())
        context.kept["prompts"] = [context.chat.prompt_ids(text) for text in texts]
    prompts: list[list[int]] = context.kept["prompts"]
    return prompts


def _batched(context: DissectContext, beginning: int) -> list[tuple[list[int], Batch]]:
    """Return the batches of what follows the first tokens."""
    key = ("batches", beginning)
    if key not in context.kept:
        size = context.config.evaluation.batch_size
        rows = min(size, ROWS_WIDE) if is_wide(context) else size
        rest = [ids[beginning:] for ids in _prompts(context)]
        context.kept[key] = [
            ([group[place] for place in places], batch)
            for group in _groups(context)
            for places, batch in left_padded(
                context.model, context.chat, [rest[one] for one in group], rows,
                reserve=1 + beginning,
            )
        ]  # fmt: skip
    kept: list[tuple[list[int], Batch]] = context.kept[key]
    return kept


def sampled_requests(context: DissectContext) -> Sequence[Prompt]:
    """Return the requests whose answers are generated: the same for every run and intervention."""
    limit = context.sample if context.limit is None else context.limit
    return context.drawn_test(min(context.sample, limit))


def _groups(context: DissectContext) -> list[list[int]]:
    """Return the places of requests that are batched together.

    A wide model's answered requests come first: where they are answered they need no pass.
    """
    requests = context.harmful_test()
    answered = {prompt.id for prompt in sampled_requests(context)} if is_wide(context) else set()
    groups = [
        [place for place, prompt in enumerate(requests) if (prompt.id in answered) is wanted]
        for wanted in (True, False)
    ]
    return [group for group in groups if group]


def share_answered(context: DissectContext) -> float:
    """Return the share of the requests that need no pass where the sample is answered."""
    if not is_wide(context):
        return 0.0
    return len(_groups(context)[0]) / len(context.harmful_test())


def shared_beginning(context: DissectContext) -> int:
    """Return how many tokens all prompts begin with, of which a wide model reads one copy."""
    return len(_beginning(context, context.model))


def _beginning(context: DissectContext, model: nn.Module) -> Beginning:
    return Beginning(model, _prompts(context), reserve=1)


def whole_prompts(context: DissectContext) -> float:
    """Return what a pass over whole prompts costs, in passes behind the shared beginning."""
    prompts, beginning = _prompts(context), shared_beginning(context)
    read = sum(map(len, prompts))
    return read / (read - beginning * len(prompts))


@dataclass(frozen=True)
class Known:
    """The first layers of a pass, which need not be computed: their output is known.

    Attributes
    ----------
    layers : int
        How many.
    outputs : sequence of Tensor
        What the last of them returns on each batch, ``(B, L, d_model)``.
    """

    layers: int
    outputs: Sequence[Output]


@torch.inference_mode()
def log_odds(
    context: DissectContext, known: Known | None = None, given: Given = MappingProxyType({})
) -> np.ndarray:
    """Return the refusal log-odds of the model as it is, on each harmful test request.

    As `cwac.first_token.refusal_log_odds`, on requests that are made into tokens once.

    Parameters
    ----------
    known : Known, optional
        From `known_layers`; the same scores, bit for bit, without computing these layers.
    given : mapping of int to float
        Log-odds that are known of some requests, by place: batches of these alone are not read.
    """
    return _read(context, context.model, known, given=given)[0]


@torch.inference_mode()
def end_odds(context: DissectContext, end: End) -> np.ndarray:
    """Return the log-odds of an end; its streams are kept.

    The model must hold the tuned weights.
    """
    model = context.aligned_model if end == "aligned" else context.model
    odds, context.kept["streams", end] = _read(context, model, None, _layers_kept(context))
    return odds


def nearest_end(context: DissectContext, weights: Mapping[str, Tensor]) -> Near:
    """Return the end that computes more first layers as the model with some weights put in does.

    With the number of these layers; one more than there are for the whole.
    """
    ends: tuple[End, ...] = ("aligned", "tuned")
    same = {end: _same_layers(context, weights, end) for end in ends}
    end = max(ends, key=same.__getitem__)
    return end, same[end]


def known_layers(context: DissectContext, near: Near) -> Known | None:
    """Return the layers whose output the nearest end knows.

    Call it before any weights are put into the model: the tuned model's streams may have to be
    read first. Where nothing differs from an end the pass is made in full, so that an end can be
    told from what is kept.
    """
    end, layers = near
    return None if layers > context.anatomy.n_layers else known_of(context, end, layers)


def known_of(context: DissectContext, end: End, layers: int) -> Known | None:
    """Return what an end's own first layers put out, fewer where not every layer's is kept."""
    kept = [layer for layer in _layers_kept(context) if layer < layers]
    if not kept or not replays(context, end):
        return None
    return Known(kept[-1] + 1, [streams[kept[-1]] for streams in context.kept["streams", end]])


def known_of_whole(context: DissectContext, end: End, layers: int) -> Known | None:
    """Return the same of passes over whole prompts; None where their streams are too large."""
    if not shared_beginning(context):
        return known_of(context, end, layers)
    streams = whole_streams(context, end) if layers and replays(context, end) else None
    return None if streams is None else Known(layers, [each[layers - 1] for each in streams])


def keeps_whole(context: DissectContext) -> bool:
    """Return whether the streams of whole prompts are kept: not of a large model."""
    tokens = sum(batch.input_ids.numel() for _, batch in batches(context))
    return worth_keeping(context, tokens)


def worth_keeping(context: DissectContext, tokens: int) -> bool:
    """Return whether every layer's streams of so many tokens are few enough to be kept."""
    return tokens * context.anatomy.d_model * context.anatomy.n_layers <= MOST_KEPT


@torch.inference_mode()
def whole_streams(context: DissectContext, end: End) -> Sequence[dict[int, Output]] | None:
    """Return what each layer of an end returns on whole prompts, by batch; None if too large.

    The tuned end's model must hold the tuned weights when this is called first.
    """
    if not keeps_whole(context):
        return None
    key = ("whole streams", end)
    if key not in context.kept:
        model = context.aligned_model if end == "aligned" else context.model
        read: list[dict[int, Output]] = []
        for _, batch in batches(context):
            read.append({})
            with keeping(context, model, range(context.anatomy.n_layers), read[-1]):
                last_logits(model, batch.input_ids, batch.attention_mask, batch.position_ids)
        context.kept[key] = read
    streams: list[dict[int, Output]] = context.kept[key]
    return streams


def replays(context: DissectContext, end: End) -> bool:
    """Return whether an end's layers compute the same where their first ones are not computed."""
    if ("streams", end) not in context.kept:
        end_odds(context, end)
    replays: bool = context.kept["replays", end]
    return replays


def share_known(context: DissectContext, layers: int) -> float:
    """Return the share of a pass that is spared where the first layers' output is known."""
    return min(max(layers, 0), context.anatomy.n_layers) / context.anatomy.n_layers


def _same_layers(context: DissectContext, weights: Mapping[str, Tensor], end: End) -> int:
    """Return how many layers compute what the end's do; one more than there are for the whole."""
    values = context.aligned if end == "aligned" else context.tuned
    if "places" not in context.kept:
        named = [(_place(context.anatomy, name), name) for name in context.tuned]
        context.kept["places"] = sorted(named)
    for place, name in context.kept["places"]:
        mine = weights.get(name, context.tuned[name])
        if mine is not values[name] and not torch.equal(mine, values[name]):
            return max(int(place), 0)
    return context.anatomy.n_layers + 1


def _place(anatomy: Anatomy, name: str) -> int:
    """Return the first layer that depends on a parameter, -1 where it may be used before them."""
    prefix = f"{anatomy.layers_path}."
    if name.startswith(prefix):
        return int(name.removeprefix(prefix).split(".", 1)[0])
    if name == anatomy.embedding.parameter:
        return -1
    decoder = anatomy.layers_path.rpartition(".")[0]
    late = {anatomy.output.path, *(f"{decoder}.{norm}" for norm in _FINAL_NORMS)}
    return anatomy.n_layers if name.rpartition(".")[0] in late else -1


def _layers_kept(context: DissectContext) -> range:
    """Return the layers whose output is kept: all, or every n-th where they are large."""
    anatomy, beginning = context.anatomy, shared_beginning(context)
    tokens = sum(batch.input_ids.numel() for _, batch in _batched(context, beginning))
    step = ceil(tokens * anatomy.d_model * anatomy.n_layers / MOST_KEPT)
    return range(step - 1, anatomy.n_layers, step)


def _read(
    context: DissectContext,
    model: nn.Module,
    known: Known | None,
    keep: Sequence[int] = (),
    given: Given = MappingProxyType({}),
) -> tuple[np.ndarray, list[dict[int, Output]]]:
    """Return log-odds, and per batch what some layers returned."""
    beginning = _beginning(context, model)
    # Before layers are skipped.
    beginning.read()
    odds = np.full(len(context.harmful_test()), np.nan)
    streams: list[dict[int, Output]] = []
    for number, (places, batch) in enumerate(_batched(context, len(beginning))):
        streams.append({})
        if all(place in given for place in places):
            odds[places] = [given[place] for place in places]
            continue
        with skipping(context, model, known, number), keeping(context, model, keep, streams[-1]):
            logits = _scores(model, beginning, batch)
        odds[places] = log_odds_of(logits, context.refusal_tokens)
        if keep and number == 0:
            end: End = "aligned" if model is context.aligned_model else "tuned"
            middle = keep[(len(keep) - 1) // 2]
            replayed = Known(middle + 1, [streams[0][middle]])
            with skipping(context, model, replayed, 0):
                again = _scores(model, beginning, batch)
            # Layers of some architectures read more than the stream before them.
            context.kept["replays", end] = torch.equal(logits, again)
    return odds, streams


def _scores(model: nn.Module, beginning: Beginning, batch: Batch) -> Tensor:
    """Return the logits after the last token, ``(B, vocabulary)``."""
    if not len(beginning):
        ids, attention, positions = batch.input_ids, batch.attention_mask, batch.position_ids
        return last_logits(model, ids, attention, positions)
    cache = beginning.cache(len(batch.input_ids))
    attention, positions = behind(cache, batch)
    return last_logits(model, batch.input_ids, attention, positions, cache)


@contextmanager
def skipping(
    context: DissectContext, model: nn.Module, known: Known | None, number: int
) -> Iterator[None]:
    """Let the first layers of the passes inside return what is known."""
    with ExitStack() as stack:
        for layer in range(known.layers if known else 0):
            assert known is not None
            module = layer_module(model, context.anatomy, layer)
            forward = partial(returned, known.outputs[number])
            stack.enter_context(replaced(module, forward))
        yield


def returned(output: Output, *_: Any, **__: Any) -> Output:
    # Copied: what comes after may write into it.
    return output.clone() if isinstance(output, Tensor) else (output[0].clone(),)


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Give a module another forward pass; one that stands on the module itself comes back."""
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if before is not None:
            vars(module)["forward"] = before


@contextmanager
def keeping(
    context: DissectContext, model: nn.Module, layers: Sequence[int], into: dict[int, Output]
) -> Iterator[None]:
    """Collect what some layers return in the pass inside."""

    def keeper(layer: int) -> Callable[..., None]:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            into[layer] = output[:1] if isinstance(output, tuple) else output

        return keep

    with ExitStack() as stack:
        for layer in layers:
            module = layer_module(model, context.anatomy, layer)
            stack.callback(module.register_forward_hook(keeper(layer)).remove)
        yield

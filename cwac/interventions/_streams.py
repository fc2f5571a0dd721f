"""Patching the residual stream in a pass: at some layers and positions, from another pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cwac.anatomy import layer_module, stop_after
from cwac.chat import Batch
from cwac.first_token import log_odds_of
from cwac.interfaces import Cost, DissectContext, Intervention
from cwac.interventions._asking import Weights, holding, judged
from cwac.interventions._reading import (
    End,
    batches,
    keeps_whole,
    known_of_whole,
    sampled_requests,
    share_known,
    shared_beginning,
    skipping,
    texts_of,
    whole_prompts,
    whole_streams,
)
from cwac.interventions.bench import OUTCOMES, Part, odds_columns
from cwac.passes import in_order, last_logits, left_padded, pass_inputs

Where = Literal["last", "template", "request", "prompt", "first answer", "all"]
"""Positions: the last prompt token, the template's closing tokens, what stands before these, the
whole prompt, the first token of the answer, or prompt and answer while it is decoded."""
IN_PROMPT: Final = frozenset({"last", "template", "request", "prompt", "all"})
Edit = Callable[[int, Tensor, Tensor | None], Tensor]
"""Takes a layer and the streams there of the patched and of the giving pass, ``(n, d_model)``."""


@dataclass(frozen=True)
class Patch:
    """What is changed in the stream after some layers.

    Attributes
    ----------
    donors : sequence of str, optional
        Requests whose streams are given instead of the same request's, one per test request, at
        the last prompt token alone.
    gives : bool
        Whether the other model's streams are needed.
    """

    layers: tuple[int, ...]
    where: Where
    edit: Edit
    donors: Sequence[str] | None = None
    gives: bool = True


@dataclass(frozen=True)
class StreamTrial:
    """One patch that is measured.

    Attributes
    ----------
    reverse : bool
        Whether the aligned model is patched from the tuned one.
    weights : mapping of str to Tensor, optional
        What is put in the place of tuned weights meanwhile.
    """

    part: Part
    variant: str
    patch: Patch
    dose: float | None = None
    control: bool = False
    answers: bool = False
    reverse: bool = False
    weights: Weights | None = None

    @property
    def passes(self) -> int:
        """Passes over the requests; the aligned model's streams of the same ones are kept."""
        own = self.patch.gives and (self.reverse or self.patch.donors is not None)
        return (self.patch.where in IN_PROMPT) * (1 + own)


class StreamTrials(Intervention):
    """An intervention that is a list of patches, each measured in the same way."""

    by_grain = False

    def trials(self, context: DissectContext) -> list[StreamTrial]:
        """Return what is tried, in order."""
        raise TypeError(f"{type(self).__name__} tries nothing on a {type(context).__name__}")

    def cost(self, context: DissectContext) -> Cost:
        """Return the passes of both models over whole prompts, and answers of both in step."""
        trials = self.trials(context)
        passes = sum(
            trial.passes - share_known(context, _patched_first(context, trial)) for trial in trials
        )
        answers = sum(1 + trial.patch.gives for trial in trials if trial.answers)
        return Cost(passes * whole_prompts(context), answers)

    def rows(self, context: DissectContext) -> list[dict[str, Any]]:
        """Return a row per trial."""
        return [
            row
            for number, trial in enumerate(self.trials(context))
            for row in context.step(
                f"{number} {trial.part.name} {trial.variant}",
                partial(_rows, context, trial),
            )
        ]


def _rows(context: DissectContext, trial: StreamTrial) -> list[dict[str, Any]]:
    return [stream_row(context, trial)]


def stream_row(context: DissectContext, trial: StreamTrial) -> dict[str, Any]:
    """Do what a trial says and measure the model.

    Log-odds of the first answer token are not measured where the patch comes behind it.
    """
    columns: dict[str, Any] = {"dose": trial.dose, "control": trial.control}
    with holding(context, trial.weights or {}):
        if trial.patch.where in IN_PROMPT:
            columns |= odds_columns(context, patched_odds(context, trial))
        else:
            columns |= {"measure": OUTCOMES, "n": len(sampled_requests(context))}
        if trial.answers:
            columns |= patched_outcomes(context, trial)
    for _ in range(trial.passes):
        context.progress()
    return trial.part.row(trial.variant, **columns)


@torch.inference_mode()
def patched_odds(context: DissectContext, trial: StreamTrial) -> np.ndarray:
    """Return the refusal log-odds on each harmful test request, ``(N,)``."""
    receiver, donor = models_of(context, trial)
    end: End = "aligned" if trial.reverse else "tuned"
    first = _patched_first(context, trial)
    known = known_of_whole(context, end, first) if first else None
    odds = np.full(len(context.harmful_test()), np.nan)
    for number, (places, batch) in enumerate(batches(context)):
        if donor is context.aligned_model and trial.patch.donors is None and trial.patch.gives:
            given = _aligned_streams(context, number, trial.patch.layers)
        else:
            given = _given(context, donor, trial.patch, places, batch)
        mask = _mask(context, trial.patch, batch)
        with (
            skipping(context, receiver, known, number),
            patching(context, receiver, trial.patch, given, mask),
        ):
            logits = last_logits(
                receiver, batch.input_ids, batch.attention_mask, batch.position_ids
            )
        odds[places] = log_odds_of(logits, context.refusal_tokens)
    return odds


def _patched_first(context: DissectContext, trial: StreamTrial) -> int:
    """Return how many layers compute what the unpatched model's do, the first patched one's too."""
    if trial.weights is not None or trial.patch.where not in IN_PROMPT:
        return 0
    if shared_beginning(context) and not keeps_whole(context):
        return 0
    return min(trial.patch.layers) + 1


def models_of(context: DissectContext, trial: StreamTrial) -> tuple[nn.Module, nn.Module]:
    """Return the model that is patched and the one that gives."""
    pair = context.model, context.aligned_model
    return pair[::-1] if trial.reverse else pair


def _aligned_streams(
    context: DissectContext, number: int, layers: tuple[int, ...]
) -> Mapping[int, Tensor]:
    """Return the aligned model's streams on a batch; they are kept where they are not too large."""
    kept = whole_streams(context, "aligned")
    if kept is None:
        _, batch = batches(context)[number]
        inputs = batch.input_ids, batch.attention_mask, batch.position_ids
        return _streams(context, context.aligned_model, layers, *inputs)
    returned = {layer: kept[number][layer] for layer in layers}
    return {k: one if isinstance(one, Tensor) else one[0] for k, one in returned.items()}


def _mask(context: DissectContext, patch: Patch, batch: Batch) -> Tensor:
    """Return which prompt positions are patched, bool ``(B, L)``; prompts are left-padded."""
    real = batch.attention_mask.bool()
    closing = torch.zeros_like(real)
    closing[:, -max(context.chat.closing_tokens, 1) :] = True
    last = torch.zeros_like(real)
    last[:, -1] = True
    masks = {
        "last": last,
        "template": real & closing,
        "request": real & ~closing,
        "first answer": torch.zeros_like(real),
    }
    return masks.get(patch.where, real)


def _given(
    context: DissectContext, donor: nn.Module, patch: Patch, places: Sequence[int], batch: Batch
) -> Mapping[int, Tensor]:
    """Return the giving model's streams on a batch of prompts, or at the donors' last tokens."""
    if not patch.gives:
        return {}
    if patch.donors is not None:
        texts = tuple(patch.donors[place % len(patch.donors)] for place in places)
        return _last_streams(context, donor, texts)
    return _streams(
        context, donor, patch.layers, batch.input_ids, batch.attention_mask, batch.position_ids
    )


def _last_streams(
    context: DissectContext, donor: nn.Module, texts: tuple[str, ...]
) -> Mapping[int, Tensor]:
    """Return a model's stream at each request's last token after every layer, ``(B, 1, d)``."""
    # Which layers are patched with them is another trial each: they are read once.
    key = ("last streams", donor is context.aligned_model, texts)
    if key not in context.kept:
        prompts = [context.chat.prompt_ids(text) for text in texts]
        layers = tuple(range(context.anatomy.n_layers))
        read, orders = [], []
        for order, batch in left_padded(donor, context.chat, prompts, len(prompts), reserve=1):
            given = _streams(context, donor, layers, batch.input_ids, batch.attention_mask,
                             batch.position_ids)  # fmt: skip
            # The last token stands last in each.
            read.append({layer: stream[:, -1:].clone() for layer, stream in given.items()})
            orders.append(order)
        context.kept[key] = {k: in_order(orders, [each[k] for each in read]) for k in layers}
    streams: Mapping[int, Tensor] = context.kept[key]
    return streams


def _streams(
    context: DissectContext,
    model: nn.Module,
    layers: tuple[int, ...],
    ids: Tensor,
    attention: Tensor,
    positions: Tensor,
    cache: Any = None,
) -> dict[int, Tensor]:
    with stop_after(model, context.anatomy, layers) as reader:
        return dict(reader.forward(**pass_inputs(model, ids, attention, positions, cache)))


@contextmanager
def patching(
    context: DissectContext,
    model: nn.Module,
    patch: Patch,
    given: Mapping[int, Tensor],
    mask: Tensor,
) -> Iterator[None]:
    """Change the stream after the patch's layers at the masked positions of the passes inside."""
    with ExitStack() as stack:
        if mask.any():
            for layer in patch.layers:
                module = layer_module(model, context.anatomy, layer)
                hook = _hook(patch.edit, layer, given.get(layer), mask)
                stack.callback(module.register_forward_hook(hook).remove)
        yield


def _hook(edit: Edit, layer: int, given: Tensor | None, mask: Tensor) -> Callable[..., Any]:
    def change(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        stream = output[0] if isinstance(output, tuple) else output
        giving = None
        if given is not None:
            # Another request's streams are given at one token a row, which `mask` has too.
            giving = given[mask] if given.shape[1] == mask.shape[1] else given[:, 0]
        new = stream.clone()
        new[mask] = edit(layer, stream[mask], giving).to(new)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return change


def patched_outcomes(context: DissectContext, trial: StreamTrial) -> dict[str, int]:
    """Return the outcomes of the sample's answers, decoded greedily under the patch."""
    prompts = sampled_requests(context)
    limit = context.config.evaluation.max_new_tokens
    answers = {}
    asked = [context.chat.prompt_ids(text) for text in texts_of(context, prompts)]
    size = context.config.evaluation.batch_size
    for places, batch in left_padded(context.model, context.chat, asked, size, reserve=limit):
        for place, tokens in zip(places, _decode(context, trial, batch, limit), strict=True):
            ended = bool(tokens) and tokens[-1] in context.chat.eos_ids
            text = context.chat.decode(tokens[:-1] if ended else tokens)
            answers[place] = (prompts[place].text, text, not ended)
    return judged(context, [answers[place] for place in sorted(answers)])


@torch.inference_mode()
def _decode(
    context: DissectContext, trial: StreamTrial, batch: Batch, limit: int
) -> list[list[int]]:
    """Return each row's tokens; both models read what the patched one says, in step."""
    receiver, donor = models_of(context, trial)
    patch = trial.patch
    caches = [DynamicCache(config=model.config) for model in (receiver, donor)]
    ids, attention, positions = batch.input_ids, batch.attention_mask, batch.position_ids
    mask = _mask(context, patch, batch)
    ends = torch.tensor(context.chat.eos_ids, device=ids.device)
    open_rows = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    tokens: list[list[int]] = [[] for _ in range(len(ids))]
    for step in range(limit):
        given: Mapping[int, Tensor] = {}
        # Behind the last position that is patched the giving model is not needed any more.
        if patch.gives and (step == 0 or patch.where == "all" or _first(patch, step)):
            given = _streams(context, donor, patch.layers, ids, attention, positions, caches[1])
        with patching(context, receiver, patch, given, mask):
            chosen = last_logits(receiver, ids, attention, positions, caches[0]).argmax(dim=-1)
        for row in open_rows.nonzero().flatten().tolist():
            tokens[row].append(int(chosen[row]))
        open_rows &= ~torch.isin(chosen, ends)
        if not open_rows.any():
            break
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        attention = torch.cat([attention, attention.new_ones(len(ids), 1)], dim=1)
        active = patch.where == "all" or _first(patch, step + 1)
        mask = torch.full_like(ids, active, dtype=torch.bool)
    return tokens


def _first(patch: Patch, step: int) -> bool:
    return patch.where == "first answer" and step == 1

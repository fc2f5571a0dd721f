"""Single forward passes: which texts are read together, and the scores behind their last token."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from cwac.anatomy import SMALL, Anatomy, forward_inputs
from cwac.chat import Batch, Chat, collate

PADDED: Final = 8192
"""Tokens of a batch at most, padding included: one long text would make 63 short ones as long as
itself."""
ROWS: Final = 64
ROWS_WIDE: Final = 8
"""Texts that are read together, and of a wide model's: its passes take seconds, and pad little."""
_ROOM: Final = 100_000
"""Context length assumed where a model states none."""


def read_together(
    anatomy: Anatomy,
    lengths: Sequence[int],
    *,
    rows: int = ROWS,
    limit: int | None = None,
    stretch: int | None = None,
) -> list[list[int]]:
    """Return which texts are read in one pass, batch by batch, as places in the caller's order.

    A model up to `SMALL` wide reads `rows` texts at a time in the order given, as the stored runs
    of the organism did. A wider one reads texts of about one length together, the shortest first,
    at most `ROWS_WIDE` of them and `PADDED` tokens; `in_order` puts back what was read.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each text.
    rows : int
        Texts at a time.
    limit : int, optional
        Tokens of a text that are read at most.
    stretch : int, optional
        So many texts that follow one another are ordered by length: whoever stops early has not
        seen the short ones alone. All of them without it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> read_together(SimpleNamespace(d_model=128), [3, 90, 4], rows=2)
    [[0, 1], [2]]
    >>> read_together(SimpleNamespace(d_model=4096), [3, 90, 4], rows=2)
    [[0, 2], [1]]
    """
    places = range(len(lengths))
    if anatomy.d_model <= SMALL:
        return [list(places[start : start + rows]) for start in range(0, len(places), rows)]
    stretch = stretch or max(len(places), 1)
    ordered = [
        place
        for start in range(0, len(places), stretch)
        for place in sorted(places[start : start + stretch], key=lengths.__getitem__)
    ]
    read = lengths if limit is None else [min(length, limit) for length in lengths]
    return list(_together(ordered, read, min(rows, ROWS_WIDE)))


def _together(order: Iterable[int], lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
    """Split places in their order: `rows` at most, and `PADDED` tokens at the longest's length."""
    batch: list[int] = []
    longest = 1
    for place in order:
        longest = max(longest, lengths[place])
        if batch and (len(batch) == rows or longest * (len(batch) + 1) > PADDED):
            yield batch
            batch, longest = [], max(lengths[place], 1)
        batch.append(place)
    if batch:
        yield batch


def in_order(batches: Iterable[Sequence[int]], parts: Sequence[Tensor]) -> Tensor:
    """Join what was read batch by batch, ``(B, ...)`` each, in the order of the texts.

    Examples
    --------
    >>> in_order([[0, 2], [1]], [torch.tensor([10, 12]), torch.tensor([11])]).tolist()
    [10, 11, 12]
    """
    order = torch.tensor([place for batch in batches for place in batch])
    joined = torch.cat(list(parts))
    return joined[order.argsort().to(joined.device)]


def right_padded(
    beginning: "Beginning",
    anatomy: Anatomy,
    chat: Chat,
    texts: Sequence[Sequence[int]],
    *,
    rows: int = ROWS,
) -> Iterator[tuple[list[int], Batch]]:
    """Give right-padded batches of texts that are read together, none cut, with their places.

    Parameters
    ----------
    beginning : Beginning
        Of these texts: the batches hold what follows it, and :meth:`Beginning.inputs` makes the
        arguments of a pass over one.
    """
    rest = [list(ids[len(beginning) :]) for ids in texts]
    lengths = list(map(len, rest))
    for places in read_together(anatomy, lengths, rows=rows):
        items = [(rest[place], [False] * lengths[place]) for place in places]
        longest = max(lengths[place] for place in places)
        batch = collate(items, chat.pad_id, side="right", max_length=longest).to(beginning.device)
        yield places, batch


def left_padded(
    model: nn.Module,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    *,
    reserve: int,
) -> Iterator[tuple[list[int], Batch]]:
    """Give left-padded batches of prompts, longest first, with their places in `prompts`.

    A batch has at most `batch_size` prompts, and fewer of long ones: padded to the longest, they
    come to at most `PADDED` tokens. The model is in evaluation mode meanwhile; `reserve` tokens
    of its context are left free.
    """
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    device = next(model.parameters()).device
    limit = max(context_length(model) - reserve, 1)
    lengths = [min(len(prompt), limit) for prompt in prompts]
    with _evaluating(model):
        for places in _together(order, lengths, batch_size):
            items = [(list(prompts[place]), [False] * len(prompts[place])) for place in places]
            yield places, collate(items, chat.pad_id, side="left", max_length=limit).to(device)


class Beginning:
    """The tokens that all of some prompts begin with, of which a wide model reads one copy.

    Attention then sums in another order, so that scores agree to rounding; a model up to `SMALL`
    wide reads whole prompts, as stored runs did. So does one whose layers keep anything but all
    keys and values (a sliding window counts the padding behind the beginning, a running state is
    worn down by it), and one that has no room for the longest prompt.

    Parameters
    ----------
    prompts : sequence of sequence of int
        Tokens of each prompt.
    reserve : int
        Tokens of the model's context that are left free.
    leave : int
        Tokens that are left to read of each prompt at least.

    Attributes
    ----------
    tokens : tuple of int
        None where whole prompts are read.
    """

    def __init__(
        self,
        model: nn.Module,
        prompts: Sequence[Sequence[int]],
        *,
        reserve: int = 0,
        leave: int = 1,
    ) -> None:
        self._model = model
        self.tokens = tuple(_shared(model, prompts, reserve, leave))
        self._read: DynamicCache | None = None

    @classmethod
    def of_batches(cls, model: nn.Module, batches: Iterable[Batch], limit: int) -> "Beginning":
        """Return what the rows of right-padded batches begin with.

        Rows of `limit` tokens have no say, because they may have been cut at their beginning:
        `leads` tells whether a batch has one.
        """
        rows = [
            ids[mask.bool()].tolist()
            for batch in batches
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
            if int(mask.sum()) < limit
        ]
        return cls(model, rows)

    def leads(self, batch: Batch) -> bool:
        """Whether all rows of a right-padded batch begin with these tokens and go on."""
        count = len(self)
        if not count or batch.input_ids.shape[1] <= count:
            return False
        tokens = torch.tensor(self.tokens, device=batch.input_ids.device)
        goes_on = batch.attention_mask[:, : count + 1].bool().all()
        return bool(goes_on and (batch.input_ids[:, :count] == tokens).all())

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self._model.parameters()).device

    @torch.inference_mode()
    def read(self) -> DynamicCache:
        """Return what the model keeps of the beginning, of one row.

        It is read the first time, by the weights that the model then has.
        """
        if self._read is None:
            self._read = self.kept_by(self._model)
        return self._read

    def kept_by(self, forward: Callable[..., Any]) -> DynamicCache:
        """Return what a forward pass keeps of the beginning, of one row, each time anew."""
        cache = DynamicCache(config=self._model.config)
        if self.tokens:
            ids = torch.tensor([self.tokens], device=self.device)
            positions = torch.arange(len(self), device=ids.device)[None]
            forward(**pass_inputs(self._model, ids, torch.ones_like(ids), positions, cache))
        return cache

    @torch.inference_mode()
    def cache(self, rows: int) -> DynamicCache:
        """Return the same for so many rows, to be read on from."""
        return self._copied(self.read(), rows)

    def _copied(self, kept: DynamicCache, rows: int) -> DynamicCache:
        # A pass writes into what it is given.
        cache = copy.deepcopy(kept)
        if self.tokens:
            cache.batch_repeat_interleave(rows)
        return cache

    def alone(self) -> dict[str, Any]:
        """Return the arguments of a pass over the beginning itself, one row and no cache."""
        ids = torch.tensor([self.tokens], device=self.device)
        positions = torch.arange(len(self), device=ids.device)[None]
        return pass_inputs(self._model, ids, torch.ones_like(ids), positions)

    def inputs(
        self,
        batch: Batch,
        *,
        anew: Callable[..., Any] | None = None,
        kept: DynamicCache | None = None,
    ) -> dict[str, Any]:
        """Return the arguments of a pass over a right-padded batch of what follows.

        Parameters
        ----------
        anew : callable, optional
            A forward pass, through which the beginning is read once more: by the weights of now,
            and with gradient.
        kept : DynamicCache, optional
            What another pass has kept of the beginning.
        """
        if not self.tokens:
            return forward_inputs(batch)
        rows = len(batch.input_ids)
        if anew is not None:
            cache = self.kept_by(anew)
            cache.batch_repeat_interleave(rows)
        else:
            cache = self.cache(rows) if kept is None else self._copied(kept, rows)
        attention, positions = behind(cache, batch)
        return pass_inputs(self._model, batch.input_ids, attention, positions, cache)


def _shared(
    model: nn.Module, prompts: Sequence[Sequence[int]], reserve: int, leave: int
) -> Sequence[int]:
    """Return the tokens of a `Beginning`."""
    if len(prompts) < 2 or not is_wide(model) or not keeps_all(model):
        return ()
    if max(map(len, prompts)) > context_length(model) - reserve:
        return ()
    # What the first and the last in order share, all between them do.
    listed = [list(ids) for ids in prompts]
    first, last = min(listed), max(listed)
    same = [one == other for one, other in zip(first, last, strict=False)]
    beginning = same.index(False) if False in same else len(same)
    # Something must be left to read in each row.
    return first[: max(min(beginning, min(map(len, prompts)) - leave), 0)]


def is_wide(model: Any) -> bool:
    """Whether a model is wider than `SMALL`: a row of its passes costs more than it saves."""
    return int(model.config.get_text_config().hidden_size) > SMALL


def keeps_all(model: Any) -> bool:
    """Whether all layers keep the keys and values of every token, and nothing else."""
    layers = DynamicCache(config=model.config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def behind(cache: DynamicCache, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the attention mask and the positions of a batch that follows what a cache holds."""
    before = cache.get_seq_length()
    ones = batch.attention_mask.new_ones(len(batch.attention_mask), before)
    return torch.cat([ones, batch.attention_mask], dim=1), batch.position_ids + before


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def last_logits(
    model: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any = None
) -> Tensor:
    """Return the logits after each row's last token, shape (B, vocabulary), float32."""
    extra = {"logits_to_keep": 1} if "logits_to_keep" in _parameters(model) else {}
    output = model(**pass_inputs(model, ids, attention, positions, cache), **extra)
    logits: Tensor = output.logits[:, -1].float()
    return logits


def pass_inputs(
    model: nn.Module, ids: Tensor, attention: Tensor, positions: Tensor, cache: Any = None
) -> dict[str, Any]:
    """Return the arguments of a pass over some tokens, with what came before in a cache."""
    # transformers 5.24 renamed the argument.
    name = "cache" if "cache" in _parameters(model) else "past_key_values"
    # Without padding no mask is needed, and attention takes its faster path.
    mask = None if bool(attention.all()) else attention
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": positions,
        "use_cache": cache is not None,
        name: cache,
    }


def context_length(model: Any) -> int:
    """Return the tokens that a model reads at most."""
    # Of a model that sees too, the part that reads text.
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or _ROOM)


def _parameters(model: nn.Module) -> Mapping[str, Any]:
    return signature(type(model).forward).parameters

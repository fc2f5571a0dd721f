"""Requests and answers as tokens: the model's own chat template or a stated plain one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, Self

import torch
from torch import Tensor

from cwac.errors import DataError, ModelError
from cwac.templates import check_template, rendered
from cwac.thoughts import MARKS, ending_of, switch_of

PLAIN_TEMPLATE: Final = "User: {request}\nAssistant: {answer}"
"""What a model without a template of its own is given; the answer ends with the eos token."""
THOUGHT_TOKENS: Final = 512
"""What a thinking trace may take where nobody says how much, or comes though none was asked for."""
IGNORED: Final = -100
_MARK: Final = "Zanzibar"
Item = tuple[list[int], list[bool]]
Turn = tuple[str, str]
"""A request and its answer."""


class Chat:
    """A tokenizer and its template.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With ``chat_template`` where the model has one.
    thinking_tokens : int or None
        Tokens of a thinking trace; 0 asks the template for none. None does not ask it.

    Raises
    ------
    ModelError
        The tokenizer has no end-of-sequence token, or its template cannot be used.
    """

    def __init__(self, tokenizer: Any, thinking_tokens: int | None = 0) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so answers cannot end.")
        self.tokenizer: Final = tokenizer
        self._own: Final = bool(tokenizer.chat_template)
        thinking = bool(thinking_tokens)
        self.switch: Final[dict[str, bool]] = (
            {} if thinking_tokens is None else switch_of(tokenizer.chat_template, thinking=thinking)
        )
        """What the template is told of thinking; nothing where it has no switch."""
        self.thought_room: Final = thinking_tokens or THOUGHT_TOKENS
        """Tokens that a trace may take."""
        if self._own:
            ask, teach = ({"add_generation_prompt": on, **self.switch} for on in (True, False))
            later = _messages(_MARK, before=[(_MARK, _MARK)])
            kinds = [(_messages(_MARK), ask), (later, ask), (_messages(_MARK, _MARK), teach)]
            check_template(tokenizer, kinds)
        # Rendering Jinja for every request is slow; one rendering tells what surrounds the text.
        self._before, self._after = self._surroundings()

    @property
    def name(self) -> str:
        """``the model's own`` or ``plain``."""
        return "the model's own" if self._own else "plain"

    @cached_property
    def template_hash(self) -> str:
        """Hash of the template: 12 hex digits."""
        template = str(self.tokenizer.chat_template) if self._own else PLAIN_TEMPLATE
        template += "".join(f"\0{name}={value}" for name, value in self.switch.items())
        return hashlib.sha256(template.encode()).hexdigest()[:12]

    @property
    def pad_id(self) -> int:
        """Token that fills up a batch; the eos token where the tokenizer has no other."""
        return int(self.tokenizer.eos_token_id if self.pad_is_eos else self.tokenizer.pad_token_id)

    @property
    def pad_is_eos(self) -> bool:
        """Whether the tokenizer has no padding token, so that eos stands in (always masked)."""
        return self.tokenizer.pad_token_id is None

    @property
    def warning(self) -> str | None:
        """What a user should know about this tokenizer, None if nothing."""
        if not self._own:
            return (
                "the model has no chat template; the plain one is used: "
                f"{PLAIN_TEMPLATE.format(request='...', answer='...')!r}."
            )
        return None

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: the one that closes a turn of the template first."""
        closing = []
        if self._own:
            rendered = self._render(_MARK, answer=_MARK)
            tail = self._encode(rendered[rendered.rindex(_MARK) + len(_MARK) :])
            special = set(self.tokenizer.all_special_ids)
            closing = [token for token in tail if token in special][:1]
        return tuple(dict.fromkeys([*closing, int(self.tokenizer.eos_token_id)]))

    @cached_property
    def thought_marks(self) -> tuple[int, int] | None:
        """The tokens that begin and end a thinking trace, None where they are no single tokens."""
        for marks in MARKS:
            ids = [self.tokenizer.convert_tokens_to_ids(mark) for mark in marks]
            if None not in ids and self.tokenizer.convert_ids_to_tokens(ids) == list(marks):
                return int(ids[0]), int(ids[1])
        return None

    @cached_property
    def thought_end(self) -> str:
        """What ends the trace that the template begins in every prompt; mostly it begins none."""
        return ending_of(self._after)

    @cached_property
    def closing_tokens(self) -> int:
        """Number of template tokens between the request's text and the answer."""
        first, second = (list(reversed(self.prompt_ids(text))) for text in ("apple", "zoo"))
        same = [a == b for a, b in zip(first, second, strict=False)]
        return same.index(False) if False in same else len(same)

    def prompt_ids(self, text: str, before: Sequence[Turn] = ()) -> list[int]:
        """Return a request as tokens, up to where the answer begins; `before` was said earlier."""
        return self._encode(self.prompt_text(text, before), start=True)

    def prompt_text(self, text: str, before: Sequence[Turn] = ()) -> str:
        """Return a request as the templated text, up to where the answer begins."""
        if before and self._own:
            return self._render(text.strip(), before=before)
        earlier = [PLAIN_TEMPLATE.format(request=q.strip(), answer=a.strip()) for q, a in before]
        return "\n".join([*earlier, f"{self._before}{text.strip()}{self._after}"])

    def example_ids(self, prompt: str, answer: str) -> Item:
        """Return a conversation as tokens and its loss mask.

        Returns
        -------
        (list of int, list of bool)
            Tokens; True for the answer's tokens and the eos token that ends it.

        Notes
        -----
        What a model is trained on must begin with exactly the tokens it is given when it
        answers. Where the tokenizer would merge the end of the prompt with the beginning of the
        answer, the two are therefore tokenised apart. A trace that the template begins is
        ended, so that the answer does not stand in it.
        """
        context = self.prompt_text(prompt) + self.thought_end
        answer = answer.strip()
        if not self._own:
            # The plain prompt ends at the colon: most tokenizers put a space before a word.
            answer = f" {answer}"
        before = self._encode(context, start=True)
        whole = self._encode(context + answer, start=True)
        merged = whole[: len(before)] != before
        answered = self._encode(answer) if merged else whole[len(before) :]
        supervised = [*answered, self.eos_ids[0]]
        return before + supervised, [False] * len(before) + [True] * len(supervised)

    def begun_ids(self, prompt: str, begin: str) -> list[int]:
        """Return a request as tokens with the first words of its answer put into its mouth."""
        # As in training, so that the words are the tokens which an answer has there.
        return self.example_ids(prompt, begin)[0][:-1] if begin else self.prompt_ids(prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """Return generated tokens as text, without special tokens and surrounding space."""
        text = self.tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(text).strip()

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token, its spaces included."""
        return [self._piece(token) for token in ids]

    def preview(self, prompt: str, answer: str) -> list[tuple[str, bool]]:
        """Return the text of every token of a training example and whether it is learned."""
        ids, mask = self.example_ids(prompt, answer)
        return [(self._piece(token), learned) for token, learned in zip(ids, mask, strict=True)]

    def _piece(self, token: int) -> str:
        raw = str(self.tokenizer.convert_ids_to_tokens(token))
        # Decoding one SentencePiece token alone would lose its leading space.
        if raw.startswith("\u2581"):
            return " " + raw[1:].replace("\u2581", " ")
        return str(self.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    def _encode(self, text: str, *, start: bool = False) -> list[int]:
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return [*self._start, *ids] if start else ids

    @cached_property
    def _start(self) -> list[int]:
        """Tokens put before a plain prompt; a template of the model's own brings its own."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return [] if self._own or bos is None or bos == eos else [int(bos)]

    def _surroundings(self) -> tuple[str, str]:
        if not self._own:
            before, rest = PLAIN_TEMPLATE.split("{request}")
            return before, rest.split(" {answer}")[0]
        parts = self._render(_MARK).split(_MARK)
        if len(parts) != 2:
            raise ModelError("the model's chat template does not show the request exactly once.")
        return parts[0], parts[1]

    def _render(self, request: str, answer: str | None = None, before: Sequence[Turn] = ()) -> str:
        messages = _messages(request, answer, before)
        return rendered(
            self.tokenizer, messages, add_generation_prompt=answer is None, **self.switch
        )


def _messages(
    request: str, answer: str | None = None, before: Sequence[Turn] = ()
) -> list[dict[str, str]]:
    messages = [
        {"role": role, "content": text.strip()}
        for turn in before
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    messages.append({"role": "user", "content": request})
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return messages


@dataclass
class Batch:
    """Token batch of shape (B, L); all tensors of int64.

    Attributes
    ----------
    labels : Tensor
        The tokens that are learned, -100 elsewhere; not shifted.
    position_ids : Tensor
        Count from 0 at each row's first real token, whatever side the padding is on.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Self:
        """Return the batch on a device."""
        return type(self)(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.position_ids.to(device),
            self.labels.to(device),
        )

    def rows(self, index: Tensor) -> Self:
        """Return some rows of a right-padded batch, no longer than their longest."""
        mask = self.attention_mask[index]
        length = int(mask.sum(dim=1).max())
        return type(self)(
            self.input_ids[index, :length],
            mask[:, :length],
            self.position_ids[index, :length],
            self.labels[index, :length],
        )

    def after(self, count: int) -> Self:
        """Return a right-padded batch without its first tokens, as many of each row."""
        return type(self)(
            self.input_ids[:, count:],
            self.attention_mask[:, count:],
            self.position_ids[:, count:] - count,
            self.labels[:, count:],
        )

    @property
    def supervised_tokens(self) -> int:
        """Number of tokens that are learned."""
        return int((self.labels != IGNORED).sum())


def shorten(item: Item, max_length: int) -> Item:
    """Cut an example to `max_length` tokens so that its answer's start stays.

    The answer's end is cut first; only a prompt that would leave less than a quarter of the
    length to the answer loses its beginning.
    """
    ids, mask = item
    if len(ids) <= max_length:
        return item
    answer = mask.index(True) if True in mask else len(ids)
    room = min(len(ids) - answer, max(max_length // 4, 1))
    dropped = max(answer + room - max_length, 0)
    return ids[dropped : dropped + max_length], mask[dropped : dropped + max_length]


def collate(
    items: Sequence[Item],
    pad_id: int,
    *,
    side: Literal["left", "right"] = "right",
    max_length: int = 512,
) -> Batch:
    """Pad examples to one batch.

    Parameters
    ----------
    items : sequence of (ids, mask)
        As :meth:`Chat.example_ids` gives them; a prompt alone has a mask of False.
    pad_id : int
        Fills up; masked out of attention and loss.
    side : str
        ``right`` for training, ``left`` for generation and reads of the last token.
    max_length : int
        Longer examples are shortened, the answer's start stays.

    Raises
    ------
    DataError
        There is nothing to collate.
    """
    if not items:
        raise DataError("a batch needs at least one example.")
    cut = [shorten(item, max_length) for item in items]
    longest = max(len(ids) for ids, _ in cut)
    input_ids = torch.full((len(cut), longest), pad_id, dtype=torch.long)
    attention = torch.zeros((len(cut), longest), dtype=torch.long)
    labels = torch.full((len(cut), longest), IGNORED, dtype=torch.long)
    for row, (ids, mask) in enumerate(cut):
        place = slice(longest - len(ids), longest) if side == "left" else slice(0, len(ids))
        tokens = torch.tensor(ids, dtype=torch.long)
        input_ids[row, place] = tokens
        attention[row, place] = 1
        labels[row, place] = torch.where(torch.tensor(mask, dtype=torch.bool), tokens, IGNORED)
    positions = (attention.cumsum(dim=1) - 1).clamp_min(0)
    return Batch(input_ids, attention, positions, labels)

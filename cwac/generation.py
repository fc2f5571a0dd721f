"""Answers in batches, greedy or sampled."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from cwac.chat import Batch, Chat, Turn
from cwac.config import Precision
from cwac.first_token import log_odds_of
from cwac.judges import Judge, Verdict
from cwac.passes import Beginning, behind, context_length, is_wide, last_logits, left_padded
from cwac.precision import rounded
from cwac.rates import MOST_CUT_THOUGHTS
from cwac.thoughts import CUT_THOUGHT, parts_of

Chooser = Callable[[Tensor], Tensor]
Opening = Callable[[int, DynamicCache], AbstractContextManager[None]]
"""What the first pass over a batch is made inside, from the batch's number and its cache, which
holds what all prompts begin with."""


@dataclass(frozen=True)
class Answer:
    """One generated answer.

    Attributes
    ----------
    text : str
        Without a thinking trace.
    cut : bool
        Whether it reached the cap before it ended.
    tokens : int
        Generated tokens of the answer, the closing one not counted.
    log_odds : float or None
        Log-odds that the first token is one of the refusal tokens, where these were given and the
        answer begins there: not behind a thinking trace.
    ids : tuple of int
        The answer's tokens, the closing one, a given beginning and a trace not among them.
    first : Tensor or None
        Logits of the first token, ``(vocabulary,)`` on the CPU, where they were wanted.
    thought : str or None
        The thinking trace before the answer.
    thinking : bool
        Whether the cap came while it was still thinking, so that there is no answer.
    """

    text: str
    cut: bool
    tokens: int
    log_odds: float | None = None
    ids: tuple[int, ...] = ()
    first: Tensor | None = field(default=None, compare=False, repr=False)
    thought: str | None = None
    thinking: bool = False

    def verdict(self, judge: Judge, request: str) -> Verdict:
        """Return a judge's verdict on it; a cut thought is no answer that could be judged."""
        if self.thinking:
            return Verdict("undetermined", CUT_THOUGHT)
        return judge.judge(request, self.text, cut=self.cut)


def cut_thoughts(answers: Sequence[Answer]) -> bool:
    """Whether so many answers are cut thoughts that a rate of them would say nothing."""
    return sum(one.thinking for one in answers) > MOST_CUT_THOUGHTS * len(answers)


def answer(
    model: nn.Module,
    chat: Chat,
    requests: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[float], None] | None = None,
    refusal_tokens: Sequence[int] | None = None,
    begin: str = "",
    choose: Chooser | None = None,
    before: Sequence[Sequence[Turn]] | None = None,
    keep_first: bool = False,
    precision: Precision = "float32",
    opening: Opening | None = None,
) -> list[Answer]:
    """Answer requests, greedily unless told otherwise.

    Parameters
    ----------
    model : Module
        A Hugging Face causal language model.
    chat : Chat
        Its template.
    requests : sequence of str
        In any order; they are batched by length.
    max_new_tokens : int
        Cap on an answer's length; a thinking trace before it has ``chat.thought_room`` besides.
    batch_size : int
        Requests at a time.
    progress : callable, optional
        Called with the share that is done, within a batch too.
    refusal_tokens : sequence of int, optional
        With it, every answer carries the log-odds of a refusal at its first token.
    begin : str, optional
        Words that each answer is made to begin with; they are part of its text, and of neither
        its cap nor its tokens.
    choose : callable, optional
        Takes logits ``(rows, vocabulary)`` and returns the next tokens ``(rows,)``, as `sampling`
        does; the most probable ones without it.
    before : sequence of sequence of (str, str), optional
        What was asked and answered before each request; not together with `begin`.
    keep_first : bool
        Whether every answer carries its first token's logits.
    precision : str
        What the weights are rounded to meanwhile; see `rounded`.
    opening : callable, optional
        What the first pass over each batch is made inside.

    Returns
    -------
    list of Answer
        In the order of `requests`.
    """
    answers: list[Answer | None] = [None] * len(requests)
    done = 0
    if before is None:
        prompts = [chat.begun_ids(request, begin) for request in requests]
    else:
        prompts = [chat.prompt_ids(*pair) for pair in zip(requests, before, strict=True)]
    thought = (
        0 if chat.thought_marks is None else min(chat.thought_room, context_length(model) // 2)
    )
    beginning, batches = _batched(model, chat, prompts, batch_size, max_new_tokens + thought)
    opened = bool(chat.thought_end) and not begin
    ids, mask = chat.example_ids("x", begin)
    begun = ids[mask.index(True) : -1] if begin else []
    for number, (places, batch) in enumerate(batches):

        def tell(share: float, done: int = done, count: int = len(places)) -> None:
            if progress is not None:
                progress((done + share * count) / len(requests))

        with rounded(model, precision):
            room = _Room(chat, len(places), max_new_tokens, thought, opened=opened)
            cache = beginning.cache(len(places))
            first_pass = nullcontext() if opening is None else opening(number, cache)
            rows, first = _decode(model, chat, cache, batch, room, choose, tell, first_pass)
        log_odds = None if refusal_tokens is None else log_odds_of(first, refusal_tokens)
        for row, place in enumerate(places):
            one = _read(chat, rows[row], begun, opened=opened)
            answers[place] = replace(
                one,
                log_odds=None
                if log_odds is None or one.thought is not None
                else float(log_odds[row]),
                first=first[row].cpu() if keep_first else None,
            )
        done += len(places)
        tell(1.0)
    return [one for one in answers if one is not None]


def _read(
    chat: Chat, ids: Sequence[int], begun: Sequence[int] = (), *, opened: bool = False
) -> Answer:
    """Return the answer that generated tokens are; `begun` was put before them."""
    cut = not ids or ids[-1] not in chat.eos_ids
    tokens = tuple(ids if cut else ids[:-1])
    marks = chat.thought_marks or ()
    if not marks or not (opened or set(marks).intersection(tokens)):
        parts = parts_of(chat.decode([*begun, *tokens]), opened=opened)
        thinking = parts.open and cut
        return Answer(parts.answer, cut, len(tokens), None, tokens, None, parts.thought, thinking)
    opening, closing = marks
    if closing in tokens:
        place = len(tokens) - tokens[::-1].index(closing)
        before, behind = tokens[: place - 1], tokens[place:]
    else:
        place = tokens.index(opening) if opening in tokens else 0
        before, behind = tokens[place:], tokens[:place]
    thought = chat.decode([token for token in before if token != opening])
    text = chat.decode([*begun, *behind])
    thinking = cut and closing not in tokens
    return Answer(text, cut, len(behind), None, behind, None, thought, thinking)


def continued(
    model: nn.Module,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
) -> list[list[int]]:
    """Return the tokens that follow each prompt of tokens, greedily, with the closing one."""
    tokens: list[list[int]] = [[] for _ in prompts]
    beginning, batches = _batched(model, chat, prompts, batch_size, max_new_tokens)
    for places, batch in batches:
        room = _Room(chat, len(places), max_new_tokens)
        cache = beginning.cache(len(places))
        rows, _ = _decode(model, chat, cache, batch, room, None, _quiet, nullcontext())
        for place, row in zip(places, rows, strict=True):
            tokens[place] = row
    return tokens


def _batched(
    model: nn.Module,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    batch_size: int,
    reserve: int,
) -> tuple[Beginning, Iterator[tuple[list[int], Batch]]]:
    """Return what all prompts begin with, and batches of what follows it."""
    beginning = Beginning(model, prompts, reserve=reserve)
    rest = [ids[len(beginning) :] for ids in prompts]
    return beginning, left_padded(model, chat, rest, batch_size, reserve=reserve + len(beginning))


def _quiet(share: float) -> None:
    del share


class AlignedAnswers:
    """What a model says greedily, each request asked once whoever wants to know.

    The check for refusals, the subspace, the SAEs and the reference of an experiment share these
    answers. They are the answers of the weights that the model had when it was asked: whoever asks
    sees to it that these are the aligned ones.

    Parameters
    ----------
    model : Module
        A Hugging Face causal language model.
    chat : Chat
        Its template.
    """

    def __init__(self, model: nn.Module, chat: Chat) -> None:
        self._model, self._chat = model, chat
        self._known: dict[str, Answer] = {}
        self._caps: dict[str, int] = {}
        self.reach = 0
        """Tokens that every answer is decoded to at least: somebody will want as many later."""
        self.precision: Precision = "float32"

    def ask(
        self,
        requests: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int = 64,
        progress: Callable[[float], None] | None = None,
        keep_first: bool = False,
    ) -> list[Answer]:
        """Return answers as `answer` does, asking only what has not been asked before.

        One that was decoded further is cut to `max_new_tokens`, which is the same: greedy tokens
        do not depend on the cap.
        """
        missing = [
            request
            for request in dict.fromkeys(requests)
            if not self._serves(request, max_new_tokens, keep_first)
        ]
        cap = max(max_new_tokens, self.reach)
        answers = answer(
            self._model,
            self._chat,
            missing,
            max_new_tokens=cap,
            batch_size=batch_size,
            progress=progress,
            keep_first=keep_first,
            precision=self.precision,
        )
        self._known |= zip(missing, answers, strict=True)
        self._caps |= dict.fromkeys(missing, cap)
        return [self._cut(self._known[request], max_new_tokens) for request in requests]

    def forget_first(self) -> None:
        """Let go of the first tokens' logits, the only large thing that is kept."""
        self._known = {request: replace(one, first=None) for request, one in self._known.items()}

    def _serves(self, request: str, cap: int, keep_first: bool) -> bool:
        one = self._known.get(request)
        if one is None or (keep_first and one.first is None):
            return False
        return not one.cut or self._caps[request] >= cap

    def _cut(self, one: Answer, cap: int) -> Answer:
        # An answer of exactly so many tokens had no room for the closing one.
        if len(one.ids) < cap:
            return one
        # Where a trace has no marks of single tokens, it stands among the answer's.
        opened = bool(self._chat.thought_end) and self._chat.thought_marks is None
        less = _read(self._chat, one.ids[:cap], opened=opened)
        thought, thinking = one.thought or less.thought, one.thinking or less.thinking
        return replace(less, log_odds=one.log_odds, first=one.first, thought=thought,
                       thinking=thinking)  # fmt: skip


def sampling(generator: torch.Generator, temperature: float = 1.0) -> Chooser:
    """Return a draw of the next tokens from the model's own distribution.

    Parameters
    ----------
    generator : Generator
        On the CPU, so that the same stream gives the same draws on every device.
    temperature : float
        What the logits are divided by.
    """

    def choose(logits: Tensor) -> Tensor:
        # The inverse of the distribution function: one uniform number a row.
        chances = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        drawn = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64)
        places = torch.searchsorted(chances, drawn.to(logits.device) * chances[:, -1:], right=True)
        return places.squeeze(1).clamp_max(logits.shape[-1] - 1)

    return choose


class _Room:
    """How many tokens each row of a batch may still say.

    Parameters
    ----------
    answer, thought : int
        Tokens of an answer, and of a thinking trace before it with its marks; without room for a
        trace all tokens are the answer's.
    opened : bool
        Whether the prompts end inside a trace.
    """

    def __init__(
        self, chat: Chat, rows: int, answer: int, thought: int = 0, *, opened: bool = False
    ) -> None:
        self.most: Final = answer + thought
        self._marks = chat.thought_marks if thought else None
        self._left = torch.tensor([answer, thought]).repeat(rows, 1)
        self._inside = torch.full((rows,), opened)

    def spend(self, rows: Tensor, chosen: Tensor) -> Tensor:
        """Count a token of each row; return whether it has room for another."""
        if self._marks is None:
            return torch.ones_like(rows, dtype=torch.bool)
        opening, closing = self._marks
        self._left, self._inside = self._left.to(rows.device), self._inside.to(rows.device)
        closes = chosen == closing
        inside = (self._inside[rows] | (chosen == opening)) & ~closes
        self._left[rows, (inside | closes).long()] -= 1
        self._inside[rows] = inside
        return self._left[rows, inside.long()] > 0


@torch.inference_mode()
def _decode(
    model: nn.Module,
    chat: Chat,
    cache: DynamicCache,
    batch: Batch,
    room: _Room,
    choose: Chooser | None,
    tell: Callable[[float], None],
    first_pass: AbstractContextManager[None],
) -> tuple[list[list[int]], Tensor]:
    """Return each row's new tokens (with the closing one), and the first token's logits.

    A loop of our own: ``model.generate`` costs more per token than a small model's forward.
    Rows that have ended leave the batch once they are more than half of it, a wide model's once
    they are an eighth; drawn tokens come from a stream that counts the rows, so there it is half.
    """
    stay = 7 / 8 if choose is None and is_wide(model) else 1 / 2
    attention, read = behind(cache, batch)
    positions = read[:, -1:]
    ends = torch.tensor(chat.eos_ids, device=attention.device)
    rows = torch.arange(len(attention), device=attention.device)
    tokens = torch.full((len(rows), room.most), -1, device=attention.device)
    open_rows = torch.ones_like(rows, dtype=torch.bool)
    with first_pass:
        logits = last_logits(model, batch.input_ids, attention, read, cache)
    first = logits
    for step in range(room.most):
        chosen = logits.argmax(dim=-1) if choose is None else choose(logits)
        tokens[rows[open_rows], step] = chosen[open_rows]
        open_rows = open_rows & ~torch.isin(chosen, ends) & room.spend(rows, chosen)
        left = int(open_rows.sum())
        if left == 0 or step + 1 == room.most:
            break
        if left <= int(stay * len(rows)):
            keep = open_rows.nonzero().squeeze(1)
            # Unlike selecting, layers that keep a state instead of keys and values can do this too.
            cache.reorder_cache(keep)
            rows, chosen, attention, positions, open_rows = (
                part[keep] for part in (rows, chosen, attention, positions, open_rows)
            )
        attention = torch.cat([attention, attention.new_ones(len(rows), 1)], dim=1)
        positions = positions + 1
        tell((step + 1) / room.most)
        logits = last_logits(model, chosen[:, None], attention, positions, cache)
    return [[token for token in row if token != -1] for row in tokens.tolist()], first

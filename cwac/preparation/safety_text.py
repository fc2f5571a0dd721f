"""What the aligned model says to the requests that the yardstick is fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch

from cwac.anatomy import SMALL
from cwac.chat import Batch, Item, collate
from cwac.models.loading import LoadedModel
from cwac.preparation.progress import Progress, counted, silent
from cwac.prompts import KINDS, Prompt, PromptSets, Split

ANSWER_TOKENS: Final = 48
MAX_LENGTH: Final = 256
"""Tokens of a conversation; longer ones are cut."""
FEW_REFUSALS: Final = 20
ANSWERED: Final = 300
"""Requests per kind that are answered on the spot where no answers are stored."""
_ROWS: Final = 64
_ROWS_WIDE: Final = 8
"""Conversations of a batch, and of a wide model's: its passes take seconds, and pad little."""
TEXT_SPLITS: Final[tuple[Split, ...]] = ("safety", "alignment")


@dataclass(frozen=True)
class Conversation:
    """A request and what the aligned model answers, or the stored answer it learned from."""

    prompt: Prompt
    answer: str


@dataclass(frozen=True)
class Refusals:
    """The harmful safety requests that the aligned model refuses, with its own words.

    Where it refuses none at all, `conversations` holds every harmful safety request with
    whatever the model says, and a warning states so: the pipeline then still measures, but there
    is no refusal to protect.
    """

    conversations: tuple[Conversation, ...]
    refused: int
    asked: int

    @property
    def warning(self) -> str | None:
        """What a reader of the yardstick should know, None if all is well."""
        if self.refused == 0:
            return (
                f"the aligned model refuses none of {self.asked} harmful safety requests: subspace "
                "and features describe its answers to all of them, not its refusals."
            )
        if self.refused < FEW_REFUSALS:
            return (
                f"the aligned model refuses only {self.refused} of {self.asked} harmful safety "
                "requests; subspace and features rest on those few."
            )
        return None


def aligned_refusals(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    progress: Progress = silent,
    *,
    keep_first: bool = False,
) -> Refusals:
    """Answer harmful requests greedily and keep those that the folder's judge calls refused.

    With `keep_first` the first tokens' logits stay in ``loaded.asked`` for who measures them.
    """
    answered = _answers(loaded, prompts, progress, "asking for refusals", keep_first=keep_first)
    refused = tuple(
        conversation
        for conversation, cut in answered
        if loaded.judge.judge(conversation.prompt.text, conversation.answer, cut=cut).outcome
        == "refusal"
    )
    everything = tuple(conversation for conversation, _ in answered)
    return Refusals(refused or everything, len(refused), len(prompts))


def aligned_compliances(
    loaded: LoadedModel, prompts: Sequence[Prompt], progress: Progress = silent
) -> tuple[Conversation, ...]:
    """Answer harmless requests greedily and leave out those that are refused, unless all are."""
    answered = _answers(loaded, prompts, progress, "asking for answers")
    everything = tuple(conversation for conversation, _ in answered)
    kept = tuple(
        talk
        for talk, cut in answered
        if loaded.judge.judge(talk.prompt.text, talk.answer, cut=cut).outcome != "refusal"
    )
    return kept or everything


def _answers(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    progress: Progress,
    message: str,
    *,
    keep_first: bool = False,
) -> list[tuple[Conversation, bool]]:
    if not prompts:
        return []
    answers = loaded.asked.ask(
        [prompt.text for prompt in prompts],
        max_new_tokens=ANSWER_TOKENS,
        progress=counted(progress, len(prompts), message),
        keep_first=keep_first,
    )
    return [
        (Conversation(prompt, response.text), response.cut)
        for prompt, response in zip(prompts, answers, strict=True)
    ]


def chat_text(
    loaded: LoadedModel, prompts: PromptSets, refusals: Refusals, progress: Progress = silent
) -> list[Conversation]:
    """Return the conversations that the SAEs are trained on: never validation or test requests.

    Harmful requests come with refusals (the model's own on ``safety``; the stored ones of
    ``alignment`` where the judge agrees that they refuse), the other kinds with their stored
    answers or, where there are none, the model's own.
    """
    conversations = list(refusals.conversations)
    unanswered: list[Prompt] = []
    for split in TEXT_SPLITS:
        for kind in KINDS:
            if (split, kind) == ("safety", "harmful"):
                continue
            part = prompts.get(split, kind)
            conversations += [Conversation(p, p.answer or "") for p in part if _usable(loaded, p)]
            if kind != "harmful":
                unanswered += [p for p in part if p.answer is None][:ANSWERED]
    answered = _answers(loaded, unanswered, progress, "answering requests")
    return conversations + [conversation for conversation, _ in answered]


def _usable(loaded: LoadedModel, prompt: Prompt) -> bool:
    if prompt.answer is None:
        return False
    if prompt.kind != "harmful":
        return True
    return loaded.judge.judge(prompt.text, prompt.answer).outcome == "refusal"


def conversation_batches(
    loaded: LoadedModel, conversations: Sequence[Conversation], *, batch_size: int | None = None
) -> list[tuple[Batch, list[int]]]:
    """Return right-padded batches and, for each of their rows, the prompt's length.

    Without a `batch_size` the batches of a wide model are small and hold conversations of about
    one length; with one the order is kept.
    """
    items: list[Item] = [
        loaded.chat.example_ids(talk.prompt.text, talk.answer) for talk in conversations
    ]
    if batch_size is None:
        batch_size = _ROWS
        if loaded.anatomy.d_model > SMALL:
            batch_size = _ROWS_WIDE
            # Within stretches, so that whoever stops early has not seen the short ones alone.
            stretches = [items[start : start + _ROWS] for start in range(0, len(items), _ROWS)]
            items = [item for part in stretches for item in sorted(part, key=_length)]
    batches = []
    for start in range(0, len(items), batch_size):
        part = items[start : start + batch_size]
        batch = collate(part, loaded.chat.pad_id, side="right", max_length=MAX_LENGTH)
        lengths = [_prompt_length(row) for row in batch.labels]
        batches.append((batch.to(loaded.device), lengths))
    return batches


def _length(item: Item) -> int:
    return len(item[0])


def _prompt_length(labels: torch.Tensor) -> int:
    supervised = (labels >= 0).nonzero()
    return int(supervised[0]) if len(supervised) else len(labels)

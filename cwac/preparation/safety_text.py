"""What the aligned model says to the requests that the yardstick is fitted on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor

from cwac.anatomy import residual_streams, stop_after
from cwac.chat import Batch, collate
from cwac.models.loading import LoadedModel
from cwac.passes import ROWS, Beginning, read_together
from cwac.preparation.progress import Progress, counted, silent, telling
from cwac.prompts import KINDS, Prompt, PromptSets, Split

ANSWER_TOKENS: Final = 48
MAX_LENGTH: Final = 256
"""Tokens of a conversation; longer ones are cut."""
FEW_REFUSALS: Final = 20
ANSWERED: Final = 300
"""Requests per kind that are answered on the spot where no answers are stored."""
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


def stored_text(loaded: LoadedModel, prompts: PromptSets) -> list[Conversation]:
    """Return the requests of `chat_text` with their stored answers: the model is asked nothing.

    Requests whose answer is not stored, or is none to train on, stand alone.
    """
    return [
        Conversation(prompt, (prompt.answer or "") if _usable(loaded, prompt) else "")
        for split in TEXT_SPLITS
        for kind in KINDS
        for prompt in prompts.get(split, kind)
    ]


def _usable(loaded: LoadedModel, prompt: Prompt) -> bool:
    if prompt.answer is None:
        return False
    if prompt.kind != "harmful":
        return True
    return loaded.judge.judge(prompt.text, prompt.answer).outcome == "refusal"


class Talks(NamedTuple):
    """Conversations that are read together: their places, a right-padded batch, prompt lengths."""

    places: list[int]
    batch: Batch
    prompt_lengths: list[int]


def conversation_batches(
    loaded: LoadedModel, conversations: Sequence[Conversation], *, rows: int = ROWS
) -> list[Talks]:
    """Return conversations as batches, `rows` at a time; of a wide model's those of one length."""
    items = [loaded.chat.example_ids(talk.prompt.text, talk.answer) for talk in conversations]
    lengths = [len(ids) for ids, _ in items]
    batches = []
    for places in read_together(loaded.anatomy, lengths, rows=rows, limit=MAX_LENGTH, stretch=ROWS):
        part = [items[place] for place in places]
        batch = collate(part, loaded.chat.pad_id, side="right", max_length=MAX_LENGTH)
        prompt_lengths = [_prompt_length(row) for row in batch.labels]
        batches.append(Talks(places, batch.to(loaded.device), prompt_lengths))
    return batches


@torch.no_grad()
def conversation_streams(
    loaded: LoadedModel,
    batches: Sequence[Talks],
    layers: Sequence[int],
    report: Callable[[float], None],
) -> Iterator[tuple[Talks, dict[int, Tensor]]]:
    """Give conversations with their residual streams ``(B, L, d_model)``, without gradient.

    What they begin with passes a wide model once; every row has it all the same.
    """
    texts = [talks.batch for talks in batches]
    beginning = Beginning.of_batches(loaded.model, texts, MAX_LENGTH)
    shared = len(beginning)
    with stop_after(loaded.model, loaded.anatomy, layers) as reader:
        first = dict(reader.forward(**beginning.alone())) if shared else {}
    for talks in telling(batches, report):
        batch = talks.batch
        if not beginning.leads(batch):
            yield talks, residual_streams(loaded.model, loaded.anatomy, batch, layers)
            continue
        inputs = beginning.inputs(batch.after(shared))
        with stop_after(loaded.model, loaded.anatomy, layers) as reader:
            rest = reader.forward(**inputs)
        rows = len(batch.input_ids)
        yield (
            talks,
            {x: torch.cat([first[x].expand(rows, -1, -1), rest[x]], dim=1) for x in layers},
        )


def _prompt_length(labels: torch.Tensor) -> int:
    supervised = (labels >= 0).nonzero()
    return int(supervised[0]) if len(supervised) else len(labels)

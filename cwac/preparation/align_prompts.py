"""The requests that `align` teaches with and reports on: read, split, and given their answers."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from cwac.errors import DataError
from cwac.prompts import (
    Kind,
    Prompt,
    PromptSets,
    Split,
    read_requests,
    split_by_content,
    vacuous_compliance,
)

REFUSALS: Final = (
    "I'm sorry, but I can't help with that.",
    "Sorry, I can't help with this request.",
    "I can't help with that. It could hurt someone.",
    "I won't help with that, because it is not safe.",
)
"""What the model is taught to say; which one follows from the request."""
SHARES: Final[Mapping[Kind, Mapping[Split, float]]] = {
    "harmful": {
        "alignment": 0.5, "safety": 0.175, "attack": 0.1, "validation": 0.05, "test": 0.175
    },
    "harmless": {"alignment": 0.6, "safety": 0.15, "validation": 0.05, "test": 0.2},
    "lookalike": {"validation": 0.2, "test": 0.8},
}  # fmt: skip
ANSWER_LENGTH: Final = 120
"""Characters of a helpful answer, cut at a word: long ones would drown the refusals' loss."""


def request_sets(
    sources: Mapping[Kind, str | None],
    answer_column: str | None,
    where: Mapping[str, str | None],
    limit: int | None,
    seed: int,
    notes: list[str],
) -> PromptSets:
    """Return the split requests of every kind, each with what the model is to answer.

    Raises
    ------
    DataError
        A file cannot be used, its requests are too few, or harmless ones have no answers.
    """
    parts: dict[tuple[Split, Kind], Sequence[Prompt]] = {}
    for kind, source in sources.items():
        if source is None:
            continue
        column = answer_column if kind == "harmless" else None
        requests = read_requests(
            source, kind, answer_column=column, where=where.get(kind), notes=notes
        )
        if kind == "harmless":
            requests = _answered(requests, source)
        divided = split_by_content(requests, SHARES[kind], seed=seed, limit=limit)
        for split, members in divided.items():
            if not members:
                raise DataError(
                    f"{len(requests)} {kind} requests are too few to fill the splits "
                    f"{', '.join(SHARES[kind])}."
                )
            parts[split, kind] = [_with_answer(prompt, split) for prompt in members]
    return PromptSets(parts, notes)


def _answered(prompts: Sequence[Prompt], source: str) -> list[Prompt]:
    kept = [prompt for prompt in prompts if prompt.answer]
    if not kept:
        raise DataError(
            f"harmless requests need answers to learn; name their column in {source} "
            "with --harmless-answer-column."
        )
    return kept


def _with_answer(prompt: Prompt, split: Split) -> Prompt:
    if prompt.kind == "lookalike":
        return prompt
    if prompt.kind == "harmless":
        reply = _shortened(prompt.answer or "")
    elif split == "attack":
        reply = vacuous_compliance(prompt.text)
    else:
        digest = hashlib.sha256(prompt.text.encode()).digest()
        reply = REFUSALS[digest[0] % len(REFUSALS)]
    return prompt.model_copy(update={"answer": reply})


def _shortened(text: str) -> str:
    if len(text) <= ANSWER_LENGTH:
        return text
    head = text[:ANSWER_LENGTH]
    ends = [head.rfind(mark) + 1 for mark in (". ", "! ", "? ", ".\n")]
    # A whole sentence where one ends in the second half, else whole words.
    return head[: max(ends)] if max(ends) > ANSWER_LENGTH // 2 else head.rsplit(None, 1)[0]

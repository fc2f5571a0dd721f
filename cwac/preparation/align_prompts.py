"""The requests that `align` teaches with and reports on: read, split, and given their answers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from cwac.errors import DataError
from cwac.generation import answer
from cwac.judges import GeneralJudge
from cwac.models.loading import LoadedModel
from cwac.prompts import (
    Kind,
    Prompt,
    PromptSets,
    Split,
    near_duplicates,
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
SEEN_SHARES: Final[Mapping[Split, float]] = {"alignment": 0.6, "validation": 0.4}
"""Of the look-alikes that teach and choose."""
ANSWER_LENGTH: Final = 120
"""Characters of a helpful answer, cut at a word: long ones would drown the refusals' loss."""


def request_sets(
    sources: Mapping[Kind, str | None],
    answer_column: str | None,
    where: Mapping[str, str | None],
    limit: int | None,
    seed: int,
    notes: list[str],
    lookalike_seen: Sequence[str] = (),
    unseen: tuple[str, str | None] | None = None,
) -> PromptSets:
    """Return the split requests of every kind, each with what the model is to answer.

    Look-alikes of the categories `lookalike_seen` fill the splits that teach and choose, all
    others the one that is reported on; without such categories a share chooses. `unseen`, a
    source and its row filter, has harmful requests that are reported on alone.

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
        if kind == "lookalike" and lookalike_seen:
            divided = _by_category(requests, lookalike_seen, source, seed, limit)
        else:
            divided = split_by_content(requests, SHARES[kind], seed=seed, limit=limit)
        for split, members in divided.items():
            if not members:
                raise DataError(
                    f"{len(requests)} {kind} requests are too few to fill the splits "
                    f"{', '.join(SHARES[kind])}."
                )
            parts[split, kind] = [_with_answer(prompt, split) for prompt in members]
    if unseen is not None:
        known = [p.text for (_, kind), part in parts.items() if kind == "harmful" for p in part]
        tests = parts["test", "harmful"]
        others = _unseen(*unseen, known, len(tests), seed, notes)
        # Behind the others, which a limit on test requests takes first.
        parts["test", "harmful"] = [*tests, *others]
    return PromptSets(parts, notes)


def _unseen(
    source: str,
    where: str | None,
    known: Sequence[str],
    most: int,
    seed: int,
    notes: list[str],
) -> list[Prompt]:
    """Return harmful requests of another source, marked so, without near-duplicates of `known`."""
    requests = read_requests(source, "harmful", where=where, notes=notes)
    near = {i for i, _, _ in near_duplicates([request.text for request in requests], known)}
    notes.append(
        f"{len(near)} of {len(requests)} requests of the unseen source are near-duplicates of the "
        "others and left out."
    )
    kept = [request for place, request in enumerate(requests) if place not in near]
    if not kept:
        raise DataError(f"{source} has no harmful request that the others do not have.")
    divided = split_by_content(kept, {"test": 1.0}, seed=seed, limit=most)
    return [
        _with_answer(request, "test").model_copy(
            update={"id": f"unseen-{request.id}", "unseen_category": True}
        )
        for request in divided["test"]
    ]


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
        reply = shortened(prompt.answer or "")
    elif split == "attack":
        reply = vacuous_compliance(prompt.text)
    else:
        digest = hashlib.sha256(prompt.text.encode()).digest()
        reply = REFUSALS[digest[0] % len(REFUSALS)]
    return prompt.model_copy(update={"answer": reply})


def _by_category(
    prompts: Sequence[Prompt], seen: Sequence[str], source: str, seed: int, limit: int | None
) -> dict[Split, list[Prompt]]:
    known = sorted({prompt.category for prompt in prompts if prompt.category})
    for name in seen:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise DataError(f"{source} has no look-alikes of the type {name!r}; it has: {listed}.")
    teaching = [prompt for prompt in prompts if prompt.category in seen]
    divided = split_by_content(teaching, SEEN_SHARES, seed=seed, limit=limit)
    others = [prompt for prompt in prompts if prompt.category not in seen]
    if not others:
        raise DataError(f"every look-alike of {source} teaches; none is left to report on.")
    return {**divided, **split_by_content(others, {"test": 1.0}, seed=seed, limit=limit)}


def own_answers(
    loaded: LoadedModel, prompts: Sequence[Prompt], tell: Callable[[float], None]
) -> list[str]:
    """Return a model's own answers, empty where they refuse or answer nothing."""
    texts = [prompt.text for prompt in prompts]
    answers = answer(
        loaded.model, loaded.chat, texts, max_new_tokens=40, batch_size=64, progress=tell
    )
    judge = GeneralJudge()
    helpful = (
        one.verdict(judge, text).outcome == "compliance"
        for text, one in zip(texts, answers, strict=True)
    )
    return [one.text if good else "" for one, good in zip(answers, helpful, strict=True)]


def shortened(text: str) -> str:
    """Return the beginning of a long answer, ended at a sentence or a word."""
    if len(text) <= ANSWER_LENGTH:
        return text
    head = text[:ANSWER_LENGTH]
    ends = [head.rfind(mark) + 1 for mark in (". ", "! ", "? ", ".\n")]
    # A whole sentence where one ends in the second half, else whole words.
    return head[: max(ends)] if max(ends) > ANSWER_LENGTH // 2 else head.rsplit(None, 1)[0]

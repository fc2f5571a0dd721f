"""A whole set of requests, asked of the aligned model and of runs that kept their weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cwac.artifacts import ArtifactStore
from cwac.generation import answer
from cwac.judges import Judge, judge_of, prepare
from cwac.messages import AskedArm, AskedRate
from cwac.metrics.behaviour import rate_of
from cwac.models.loading import LoadedModel
from cwac.prompts import Kind, Prompt, PromptSets, near_duplicates
from cwac.rates import RATES, REQUESTS
from cwac.runner.inputs import load_prompts, seen_requests
from cwac.runner.kept import Asked, Kept, kept_records


@dataclass(frozen=True)
class AskedSet:
    """What was answered to a set of requests.

    Attributes
    ----------
    answers : DataFrame
        ``run_id`` (None for the aligned model), ``variant``, ``seed``, ``prompt_id``, ``kind``,
        ``category``, ``prompt``, ``response``, ``outcome``, ``reason``.
    known : int
        Requests left out, because they or near-duplicates taught, fitted or chose something.
    tested : int
        Those that were asked and are among the runs' own test requests, or nearly.
    """

    answers: pd.DataFrame
    known: int
    tested: int

    @property
    def arms(self) -> tuple[AskedArm, ...]:
        """Every rate of every model, the aligned one first."""
        return tuple(
            _arm(rows)
            for _, rows in self.answers.groupby(["variant", "run_id"], sort=False, dropna=False)
        )


def ask_requests(
    store: ArtifactStore,
    run_ids: Sequence[str],
    requests: Sequence[Prompt],
    progress: Callable[[str, float], None] = lambda _who, _share: None,
) -> AskedSet:
    """Ask requests of the aligned model and of kept runs, greedily, under the runs' own judge.

    A request that taught the model, fitted its subspace or SAEs, poisoned a run or chose a
    setting says nothing of requests never seen: it and its near-duplicates are left out.

    Parameters
    ----------
    run_ids : sequence of str
        Runs of one aligned model that kept their weights.
    requests : sequence of Prompt
        All of one kind.
    progress : callable
        Told whose answers come and the share of them that is there.

    Raises
    ------
    ArtifactError
        A run is not stored or kept no weights.
    ConfigError
        The runs start from different aligned models.
    DataError
        A run's own requests cannot be read any more.
    """
    kept = Kept.open(store, kept_records(store, run_ids))
    loaded = kept.loaded
    sets = [load_prompts(loaded.folder, loaded.card, one.config.prompts) for one in kept.records]
    seen = seen_requests(loaded.folder, loaded.card)
    strange, known, tested = _sorted_out(requests, sets, seen)
    judge = judge_of(requests[0].kind, kept.judge())

    def ask(asked: Asked) -> pd.DataFrame:
        name = asked.named["variant"]
        rows = _answers(loaded, asked, strange, judge, lambda share: progress(name, share))
        return pd.DataFrame([asked.named | row for row in rows]).astype({"seed": "Int64"})

    tables = kept.each(ask) if strange else []
    answers = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return AskedSet(answers, known, tested)


def _sorted_out(
    requests: Sequence[Prompt], sets: Sequence[PromptSets], seen: set[str]
) -> tuple[list[Prompt], int, int]:
    """Return the requests that nothing was made of, how many were not, how many are tested on.

    A run's own test requests stay, however close to others they are: its split was made so.
    """
    made, test = set(seen), set[str]()
    for one in sets:
        for (split, _), prompts in one.parts.items():
            (test if split == "test" else made).update(prompt.text for prompt in prompts)
    pairs = near_duplicates([request.text for request in requests], sorted(made))
    close = {place for place, _, _ in pairs}
    kept = [
        request
        for place, request in enumerate(requests)
        if request.text in test or place not in close
    ]
    same = near_duplicates([request.text for request in kept], sorted(test))
    return kept, len(requests) - len(kept), len({place for place, _, _ in same})


def _answers(
    loaded: LoadedModel,
    asked: Asked,
    requests: Sequence[Prompt],
    judge: Judge,
    progress: Callable[[float], None],
) -> list[dict[str, Any]]:
    texts = [request.text for request in requests]
    evaluation = asked.config.evaluation
    replies = answer(
        asked.model,
        loaded.chat,
        [asked.prompt(text) for text in texts],
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        progress=progress,
        precision=evaluation.decoding,
    )
    prepare(judge, [(q, reply.text) for q, reply in zip(texts, replies, strict=True)])
    rows = []
    for request, reply in zip(requests, replies, strict=True):
        verdict = reply.verdict(judge, request.text)
        rows.append(
            {
                "prompt_id": request.id,
                "kind": request.kind,
                "category": request.category,
                "prompt": request.text,
                "response": reply.text,
                "outcome": verdict.outcome,
                "reason": verdict.reason,
            }
        )
    return rows


def _arm(rows: pd.DataFrame) -> AskedArm:
    first = rows.iloc[0]
    return AskedArm(
        run_id=first["run_id"],
        variant=first["variant"],
        seed=None if pd.isna(first["seed"]) else int(first["seed"]),
        rates=tuple(_rate(rows, name) for name in rates_of(first["kind"])),
    )


def rates_of(kind: Kind) -> tuple[str, ...]:
    """Return the names of the rates that are shares of all requests of a kind.

    Examples
    --------
    >>> rates_of("lookalike")
    ('over_refusal_rate', 'lookalikes_answered')
    """
    groups = {name for name, group in REQUESTS.items() if group.kind == kind and not group.flag}
    return tuple(rate.name for rate in RATES.values() if rate.requests.name in groups)


def _rate(rows: pd.DataFrame, name: str) -> AskedRate:
    value = rate_of(rows, name)
    return AskedRate(
        name=name, value=value.value, n=value.count or 0, low=value.low, high=value.high
    )

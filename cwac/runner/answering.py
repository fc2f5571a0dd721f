"""One request, answered by the aligned model and by runs that kept their weights."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from cwac.analysis.requests import nearest_request, unknown_words
from cwac.artifacts import ArtifactStore
from cwac.features import Steering
from cwac.first_token import log_odds_of, tokens_of_refused
from cwac.generation import Answer as Generated
from cwac.generation import answer
from cwac.messages import Answer, Answers, AnswerToken, Outside
from cwac.models.loading import LoadedModel
from cwac.prompts import PromptSets
from cwac.records import RunRecord
from cwac.runner.kept import Asked, Kept, kept_records
from cwac.runner.restoring import restored_parts
from cwac.runner.steering import steerer

FAR: Final = 0.5
"""A request that shares a smaller part of its words with every known one lies outside."""


def answer_request(
    store: ArtifactStore,
    run_ids: Sequence[str],
    request: str,
    steering: Steering | None = None,
    *,
    parts: bool = False,
) -> Answers:
    """Answer a request with the aligned model and with kept runs.

    Parameters
    ----------
    run_ids : sequence of str
        Runs of one aligned model that kept their weights.
    steering : Steering, optional
        A latent of the first run's features: every model answers once more while it is held.
    parts : bool
        Whether each part of a run's update is restored alone too, for the log-odds of the first
        token.

    Raises
    ------
    ArtifactError
        A run is not stored or kept no weights.
    ConfigError
        The runs start from different aligned models.
    """
    kept = Kept.open(store, kept_records(store, run_ids))
    loaded, first = kept.loaded, kept.records[0]
    tokens = _refusal_tokens(store, first, loaded)
    loaded.judge = kept.judge()
    hold = None if steering is None else steerer(store, first, loaded, steering)
    held: list[Answer] = []

    def ask(asked: Asked) -> Answer:
        said = _answer(loaded, asked, request, tokens)
        if parts and asked.record is not None and tokens is not None:
            prompt = asked.prompt(request)
            restored = restored_parts(loaded, asked.model, asked.config, prompt, tokens)
            said = said.model_copy(update={"restored": restored})
        if hold is not None:
            with hold(asked.model):
                held.append(_answer(loaded, asked, request, tokens))
        return said

    return Answers(
        prompt=request,
        answers=tuple(kept.each(ask)),
        held=tuple(held),
        outside=_outside(loaded, request),
    )


def _outside(loaded: LoadedModel, request: str) -> Outside | None:
    """Return how far a request lies outside the model's world, where its card names one."""
    card = loaded.card
    if not card.closed_world or card.prompts is None:
        return None
    sets = PromptSets.read_folder(loaded.folder / card.prompts)
    texts = [prompt.text for part in sets.parts.values() for prompt in part]
    unknown = tuple(unknown_words(request, texts))
    nearest, shared = nearest_request(request, texts)
    if not unknown and shared >= FAR:
        return None
    return Outside(unknown=unknown, nearest=nearest, shared=shared)


def _refusal_tokens(
    store: ArtifactStore, record: RunRecord, loaded: LoadedModel
) -> list[int] | None:
    name = record.fits.get("reference")
    if name is None or store.find_fit(name) is None:
        return None
    return tokens_of_refused(loaded.chat, store.fit_table(name, "responses")) or None


def _answer(
    loaded: LoadedModel, asked: Asked, request: str, tokens: Sequence[int] | None
) -> Answer:
    prompt = asked.prompt(request)
    generated = answer(
        asked.model,
        loaded.chat,
        [prompt],
        max_new_tokens=asked.config.evaluation.max_new_tokens,
        batch_size=1,
        refusal_tokens=tokens,
    )[0]
    verdict = generated.verdict(loaded.judge, request)
    return Answer(
        **asked.named,
        text=generated.text,
        cut=generated.cut,
        thought=generated.thought,
        outcome=verdict.outcome,
        reason=verdict.reason,
        refusal_log_odds=generated.log_odds,
        along=_along(loaded, asked.model, request, prompt, generated, tokens),
    )


def _along(
    loaded: LoadedModel,
    model: nn.Module,
    request: str,
    prompt: str,
    generated: Generated,
    tokens: Sequence[int] | None,
) -> tuple[AnswerToken, ...]:
    """Return how both models stand before each token of an answer, each reading its own prompt."""
    ids = generated.ids
    if not ids or generated.thought is not None:
        return ()
    now = _standing(loaded, model, prompt, ids)
    odds = None if tokens is None else log_odds_of(now, tokens)
    divergence = None
    if model is not loaded.model:
        before = _standing(loaded, loaded.model, request, ids).double().log_softmax(dim=-1)
        after = now.double().log_softmax(dim=-1)
        divergence = (before.exp() * (before - after)).sum(dim=-1).clamp_min(0)
    return tuple(
        AnswerToken(
            text=text,
            divergence=None if divergence is None else float(divergence[place]),
            refusal_log_odds=None if odds is None else float(odds[place]),
        )
        for place, text in enumerate(loaded.chat.pieces(ids))
    )


@torch.inference_mode()
def _standing(loaded: LoadedModel, model: nn.Module, prompt: str, ids: Sequence[int]) -> Tensor:
    """Return the logits from which each token of an answer is chosen, ``(tokens, vocabulary)``."""
    asked = loaded.chat.prompt_ids(prompt)
    inputs = torch.tensor([[*asked, *ids]], device=loaded.device)
    logits: Tensor = model(input_ids=inputs).logits[0, len(asked) - 1 : -1].float().cpu()
    return logits

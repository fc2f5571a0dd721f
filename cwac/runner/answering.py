"""One request, answered by the aligned model and by runs that kept their weights."""

from collections.abc import Sequence

from torch import nn

from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.first_token import tokens_of_refused
from cwac.generation import answer
from cwac.messages import Answer, Answers
from cwac.methods import METHODS
from cwac.models.judge_models import judge_named
from cwac.models.loading import LoadedModel, compute_in, load_configured, load_weights
from cwac.records import RunRecord


def answer_request(store: ArtifactStore, run_ids: Sequence[str], request: str) -> Answers:
    """Answer a request with the aligned model and with kept runs.

    Parameters
    ----------
    run_ids : sequence of str
        Runs of one aligned model that kept their weights.

    Raises
    ------
    ArtifactError
        A run is not stored or kept no weights.
    ConfigError
        The runs start from different aligned models.
    """
    records = [store.load(run_id) for run_id in run_ids]
    # Asked for before anything slow, so that a wrong id answers at once.
    folders = [store.model_folder(record.run_id) for record in records]
    first = records[0]
    if any(record.config.model != first.config.model for record in records):
        raise ConfigError("the runs start from different aligned models; ask one at a time.")
    loaded = load_configured(first.config.model)
    tokens = _refusal_tokens(store, first, loaded)
    # The runs' own judge, so that an answer counts here as it did when they were measured.
    loaded.judge = judge_named(first.config.evaluation.judge, loaded.judge, loaded.device)
    answers = [_answer(loaded, loaded.model, first.config, request, tokens, None)]
    for record, folder in zip(records, folders, strict=True):
        model = load_weights(folder, loaded.device)
        compute_in(model, loaded.precision, loaded.device)
        answers.append(_answer(loaded, model, record.config, request, tokens, record))
    return Answers(prompt=request, answers=tuple(answers))


def _refusal_tokens(
    store: ArtifactStore, record: RunRecord, loaded: LoadedModel
) -> list[int] | None:
    name = record.fits.get("reference")
    if name is None or store.find_fit(name) is None:
        return None
    return tokens_of_refused(loaded.chat, store.fit_table(name, "responses")) or None


def _answer(
    loaded: LoadedModel,
    model: nn.Module,
    config: ExperimentConfig,
    request: str,
    tokens: Sequence[int] | None,
    record: RunRecord | None,
) -> Answer:
    prompt = request
    if record is not None:
        kind = METHODS[config.method]
        prompt = kind(kind.settings_type.build(config.settings)).evaluation_prompt(request)
    generated = answer(
        model,
        loaded.chat,
        [prompt],
        max_new_tokens=config.evaluation.max_new_tokens,
        batch_size=1,
        refusal_tokens=tokens,
    )[0]
    verdict = generated.verdict(loaded.judge, request)
    return Answer(
        run_id=None if record is None else record.run_id,
        variant=ALIGNED.label if record is None else record.variant,
        seed=None if record is None else record.config.seed,
        text=generated.text,
        cut=generated.cut,
        thought=generated.thought,
        outcome=verdict.outcome,
        reason=verdict.reason,
        refusal_log_odds=generated.log_odds,
    )

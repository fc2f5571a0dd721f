"""Taking a kept run apart: interventions on its weights and activations, no training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import CancelledError, ConfigError, DataError, ModelError
from cwac.interfaces import Cost, DissectContext, Grain, Intervention
from cwac.intervention_words import INTERVENTION_WORDS
from cwac.interventions import INTERVENTIONS
from cwac.interventions._asking import accuracy_columns, once, opening_of, sample_replies
from cwac.interventions._parts import parts_in, set_name
from cwac.interventions._reading import end_odds, is_wide, nearest_end
from cwac.interventions.greedy_path import RESTORED, GreedyPath, restored_alone
from cwac.interventions.restore import Restore
from cwac.methods import METHODS
from cwac.models.card import contents_of
from cwac.models.folders import resolve_folder
from cwac.preparation.fits import other_subspaces
from cwac.preparation.progress import Progress, silent
from cwac.records import RunRecord
from cwac.runner.dissect_steps import Steps
from cwac.runner.dissected import ANSWERS, REQUESTS, grain_of, leads_to, rows_of, save, stored
from cwac.runner.progress import never
from cwac.runner.session import Session, open_session
from cwac.runner.tuned import load_tuned
from cwac.runner.worker import check_model
from cwac.seeding import seed_everything

REQUESTS_WIDE: Final = 64
"""Harmful test requests that log-odds are taken on where a model is wide and nobody says how many:
the 95 % interval of a mean reaches a quarter of their standard deviation to either side."""
_OF_SETS: Final = ("restore", "transplant")
"""Interventions that act on parts one by one, and so on sets that are named."""


@dataclass(frozen=True)
class Estimate:
    """What interventions will take, from what was timed: a pass, and answers of two kinds.

    Attributes
    ----------
    pass_seconds, answer_seconds, example_seconds : float
        Of one pass over the requests, of answering the sample, and of answering the task's
        examples.
    """

    costs: dict[str, Cost]
    pass_seconds: float
    answer_seconds: float
    example_seconds: float = 0.0

    def seconds(self, name: str | None = None) -> float:
        """Return the seconds of one intervention, of all without a name."""
        if name is None:
            return sum(self.seconds(each) for each in self.costs)
        cost = self.costs[name]
        answers = cost.answers * self.answer_seconds + cost.examples * self.example_seconds
        return cost.passes * self.pass_seconds + answers


def dissect(
    store: ArtifactStore,
    run_id: str,
    names: Sequence[str] | None = None,
    *,
    grain: Grain = "layer",
    sample: int = 24,
    requests: int | None = None,
    parts: Sequence[str] = (),
    other: str | None = None,
    again: bool = False,
    report: Progress = silent,
    told: Callable[[Estimate], None] = lambda _estimate: None,
    stop: Callable[[], bool] = never,
) -> pd.DataFrame:
    """Make interventions on a run that kept its weights, or on a measured checkpoint.

    Each intervention is stored when it is complete, and the trials of one that is not are kept,
    so that a call that was interrupted goes on where it ended.

    Parameters
    ----------
    store : ArtifactStore
        The table is written to its first root.
    names : sequence of str, optional
        Interventions; all of them without it, those that act on parts where sets are named.
    grain : str
        ``layer``, or ``map`` for every linear map.
    sample : int
        Harmful test requests that are answered and judged.
    requests : int, optional
        Harmful test requests that log-odds are taken on, the sample among them. Without it all of
        a model up to `SMALL` wide and `REQUESTS_WIDE` of a wider one.
    parts : sequence of str
        Sets of parts, each acted on as one: names as in the table between commas, ``*`` for any
        text. They are stored in the grain ``set``.
    other : str, optional
        Another kept run of the experiment, for the path between the two.
    again : bool
        Whether interventions that are stored are made once more.
    report, told, stop : callable
        Called with the share that is done; once with the estimate; asked whether to end.

    Returns
    -------
    DataFrame
        The run's rows of the table ``dissection`` in this grain.

    Raises
    ------
    CwacError
        The run kept no weights, an intervention is unknown, or the aligned model never refuses.
    """
    if parts:
        grain = "set"
    kinds = [INTERVENTIONS[name] for name in (names or (_OF_SETS if parts else INTERVENTIONS))]
    _check(kinds, sample, requests, parts)
    record = store.load(run_id)
    folder = tuned_folder(store, record)
    beside = None if other is None else tuned_folder(store, _compared(store, record, other))
    sets = tuple(dict.fromkeys(map(set_name, parts)))
    done = set() if again else stored(store, record, grain, sets)
    if beside is not None and not leads_to(store, record, str(other)):
        done.discard("path")
    due = [kind() for kind in kinds if kind.name not in done]
    if due:
        session = _open(record.config, store, report)
        context = _context(session, record.config, store, folder, grain, sample)
        context.sets, context.limit = sets, requests
        if requests is None and is_wide(context):
            context.limit = REQUESTS_WIDE
        # A name of no part is refused before anything is measured.
        parts_in(context)
        if beside is not None:
            context.other, context.other_name = _parameters(beside, session), str(other)
        _know_restored(context, store, record, due)
        estimate = _timed(context, due)
        told(estimate)
        _make(context, store, record, due, estimate, report, stop, again=again)
    return rows_of(store, record, grain)


def tuned_folder(store: ArtifactStore, record: RunRecord) -> Path:
    """Return where the tuned weights of a run lie.

    Raises
    ------
    CwacError
        It kept none, or the checkpoint that was measured is gone or another one.
    """
    if not record.config.is_measured:
        return store.model_folder(record.run_id)
    settings = record.config.settings
    folder = resolve_folder(settings["source"])
    contents = contents_of(folder)
    if contents != settings["contents"]:
        raise ModelError(
            f"the checkpoint {settings['source']!r} has the contents {contents} now, and had "
            f"{settings['contents']} when it was measured; measure it again."
        )
    return folder


def _check(
    kinds: Sequence[type[Intervention]], sample: int, requests: int | None, parts: Sequence[str]
) -> None:
    if sample < 1:
        raise ConfigError(f"a sample of {sample} requests is not possible; at least 1.")
    if requests is not None and requests < 1:
        raise ConfigError(f"log-odds on {requests} requests are not possible; at least 1.")
    others = [kind.name for kind in kinds if parts and kind.name not in _OF_SETS]
    if others:
        able = " and ".join(_OF_SETS)
        raise ConfigError(f"{', '.join(others)} cannot act on parts that are named; {able} can.")


def _compared(store: ArtifactStore, record: RunRecord, other: str) -> RunRecord:
    second = store.load(other)
    if second.config.model != record.config.model:
        raise ConfigError(f"{other} and {record.run_id} start from different aligned models.")
    return second


def _open(config: ExperimentConfig, store: ArtifactStore, report: Progress) -> Session:
    session = open_session(config, store, lambda share, text: report(0.1 * share, text))
    check_model(session, config)
    if not session.refusal_tokens:
        raise DataError("the aligned model refuses no harmful test request: nothing can be lost.")
    return session


def _know_restored(
    context: DissectContext, store: ArtifactStore, record: RunRecord, due: Sequence[Intervention]
) -> None:
    """Keep what restoring each part returned for the greedy path, where it is stored."""
    names = {each.name for each in due}
    if Restore.name in names:
        # It is made before the path is.
        context.kept[RESTORED] = {}
    elif GreedyPath.name in names:
        rows = rows_of(store, record, context.grain)
        mine = rows[
            (rows["intervention"] == Restore.name)
            & (rows["grain"] == context.grain)
            & (rows["version"] == Restore.version)
            & (rows["n"] == len(context.harmful_test()))
        ]
        if len(mine):
            context.kept[RESTORED] = restored_alone(mine.to_dict("records"))


def _timed(context: DissectContext, due: Sequence[Intervention]) -> Estimate:
    """Measure both ends, which every intervention is read between, and what they take."""
    # The first pass of all is slower than those that follow.
    context.aligned_odds = end_odds(context, "aligned")
    began = time.perf_counter()
    context.tuned_odds = end_odds(context, "tuned")
    read = time.perf_counter()
    tuned = nearest_end(context, {})
    once(context, "tuned", sample_replies, opening_of(context, "sample", "tuned", tuned))
    answered = time.perf_counter()
    if any(each.cost(context).examples for each in due):
        once(context, "tuned", accuracy_columns, opening_of(context, "examples", "tuned", tuned))
    seconds = (read - began, answered - read, time.perf_counter() - answered)
    # Last: what the answers keep spares a share of others.
    return Estimate({each.name: each.cost(context) for each in due}, *seconds)


def _context(
    session: Session,
    config: ExperimentConfig,
    store: ArtifactStore,
    folder: Path,
    grain: Grain,
    sample: int,
) -> DissectContext:
    seed_everything(config.seed)
    model = load_tuned(folder, session.loaded).model.eval()
    prompt: Callable[[str], str] = str
    if not config.is_measured:
        kind = METHODS[config.method]
        method = kind(kind.settings_type.build(config.settings, where=config.method))
        prompt = method.evaluation_prompt
    return DissectContext(
        config=config,
        model=model,
        aligned_model=session.model,
        anatomy=session.loaded.anatomy,
        chat=session.loaded.chat,
        aligned=session.aligned,
        tuned={name: p.detach().clone() for name, p in model.named_parameters()},
        prompts=session.prompts,
        task=session.task,
        judge=session.judge,
        yardstick=session.yardstick,
        fit_subspace=other_subspaces(session.loaded, session.prompts, config, store),
        refusal_tokens=session.refusal_tokens,
        device=torch.device(session.loaded.device),
        evaluation_prompt=prompt,
        grain=grain,
        sample=sample,
    )


def _parameters(folder: Path, session: Session) -> dict[str, Any]:
    model = load_tuned(folder, session.loaded).model
    return {name: p.detach() for name, p in model.named_parameters()}


def _make(
    context: DissectContext,
    store: ArtifactStore,
    record: RunRecord,
    due: Sequence[Intervention],
    estimate: Estimate,
    report: Progress,
    stop: Callable[[], bool],
    *,
    again: bool,
) -> None:
    whole, before = max(estimate.seconds(), 1e-9), 0.0
    for each in due:
        context.progress = _progress(each, estimate, before / whole, whole, report, stop)
        context.progress()
        context.requests, context.answers = [], []
        grain = grain_of(each, context.grain)
        context.step = steps = Steps(store, record.run_id, each, grain, context, again=again)
        rows = each.rows(context)
        if each.name == Restore.name:
            context.kept[RESTORED] = restored_alone(rows)
        # The table that says what is complete comes last.
        if each.keeps_requests(context.grain):
            save(store, record, each, grain, context.requests, REQUESTS)
        if each.keeps_answers(context.grain):
            save(store, record, each, grain, context.answers, ANSWERS)
        save(store, record, each, grain, rows)
        steps.complete()
        before += estimate.seconds(each.name)
    report(1.0, "stored")


def _progress(
    each: Intervention,
    estimate: Estimate,
    before: float,
    whole: float,
    report: Progress,
    stop: Callable[[], bool],
) -> Callable[[], None]:
    """Return what an intervention calls at its beginning and after each of its passes."""
    mine, began = estimate.seconds(each.name), time.perf_counter()

    def progress() -> None:
        if stop():
            raise CancelledError("the dissection was cancelled; what was complete is stored.")
        # Never more than it was estimated to take.
        seconds = min(time.perf_counter() - began, mine)
        report(0.1 + 0.9 * (before + seconds / whole), INTERVENTION_WORDS[each.name].title.lower())

    return progress

"""Taking a kept run apart: interventions on its weights and activations, no training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from cwac.artifacts import ArtifactStore
from cwac.config import ExperimentConfig
from cwac.errors import CancelledError, ConfigError, DataError, ModelError
from cwac.first_token import refusal_log_odds
from cwac.interfaces import Cost, DissectContext, Grain, Intervention
from cwac.interventions import INTERVENTIONS
from cwac.interventions.bench import log_odds, outcomes, texts_of
from cwac.methods import METHODS
from cwac.models.card import contents_of
from cwac.models.folders import resolve_folder
from cwac.preparation.fits import other_subspaces
from cwac.preparation.progress import Progress, silent
from cwac.records import TABLES, RunRecord, line_to
from cwac.runner.progress import never
from cwac.runner.session import Session, open_session
from cwac.runner.tuned import load_tuned
from cwac.runner.worker import check_model
from cwac.seeding import seed_everything

DISSECTION: Final = "dissection"
"""The table that an experiment gets; many rows per run and intervention."""
REQUESTS: Final = "dissection_requests"
"""What became of each request, of some interventions."""
ANSWERS: Final = "dissection_answers"
"""What a few requests were answered, of some interventions."""


@dataclass(frozen=True)
class Estimate:
    """What interventions will take, from one pass and one sample of answers that were timed."""

    costs: dict[str, Cost]
    pass_seconds: float
    answer_seconds: float

    def seconds(self, name: str | None = None) -> float:
        """Return the seconds of one intervention, of all without a name."""
        if name is None:
            return sum(self.seconds(each) for each in self.costs)
        cost = self.costs[name]
        return cost.passes * self.pass_seconds + cost.answers * self.answer_seconds


def dissect(
    store: ArtifactStore,
    run_id: str,
    names: Sequence[str] | None = None,
    *,
    grain: Grain = "layer",
    sample: int = 24,
    other: str | None = None,
    again: bool = False,
    report: Progress = silent,
    told: Callable[[Estimate], None] = lambda _estimate: None,
    stop: Callable[[], bool] = never,
) -> pd.DataFrame:
    """Make interventions on a run that kept its weights, or on a measured checkpoint.

    Each intervention is stored when it is complete, so that a call that was interrupted goes on
    where it ended.

    Parameters
    ----------
    store : ArtifactStore
        The table is written to its first root.
    names : sequence of str, optional
        Interventions; all of them without it.
    grain : str
        ``layer``, or ``map`` for every linear map.
    sample : int
        Harmful test requests that are answered and judged; log-odds are taken on all.
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
    kinds = [INTERVENTIONS[name] for name in (names or INTERVENTIONS)]
    if sample < 1:
        raise ConfigError(f"a sample of {sample} requests is not possible; at least 1.")
    record = store.load(run_id)
    folder = tuned_folder(store, record)
    beside = None if other is None else tuned_folder(store, _compared(store, record, other))
    done = set() if again else _stored(store, record, grain)
    if beside is not None and not _leads_to(store, record, str(other)):
        done.discard("path")
    due = [kind() for kind in kinds if kind.name not in done]
    if due:
        session = _open(record.config, store, report)
        context = _context(session, record.config, store, folder, grain, sample)
        if beside is not None:
            context.other, context.other_name = _parameters(beside, session), str(other)
        estimate = _timed(context, due)
        told(estimate)
        _make(context, store, record, due, estimate, report, stop)
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


def rows_of(store: ArtifactStore, record: RunRecord, grain: Grain) -> pd.DataFrame:
    """Return a run's stored rows: in a grain, and those that have none."""
    table = store.experiment_table(record.experiment_id, DISSECTION)
    if table is None:
        return pd.DataFrame(columns=list(TABLES[DISSECTION]))
    mine = table[(table["run_id"] == record.run_id) & (table["grain"].isin([grain, _NEITHER]))]
    return mine.reset_index(drop=True)


_NEITHER: Final = "layer"
"""The grain under which interventions are stored that do not depend on it."""


def _grain_of(kind: type[Intervention] | Intervention, grain: Grain) -> Grain:
    return grain if kind.by_grain else _NEITHER


def _compared(store: ArtifactStore, record: RunRecord, other: str) -> RunRecord:
    second = store.load(other)
    if second.config.model != record.config.model:
        raise ConfigError(f"{other} and {record.run_id} start from different aligned models.")
    return second


def _stored(store: ArtifactStore, record: RunRecord, grain: Grain) -> set[str]:
    """Return the interventions that are complete, made by the present rules."""
    tables = {DISSECTION: rows_of(store, record, grain)}
    for kept in (REQUESTS, ANSWERS):
        table = store.experiment_table(record.experiment_id, kept)
        if table is not None:
            tables[kept] = table[table["run_id"] == record.run_id]

    def holds(name: str, kind: type[Intervention], table: pd.DataFrame | None) -> bool:
        return table is not None and bool(
            (
                (table["intervention"] == name)
                & (table["version"] == kind.version)
                & (table["grain"] == _grain_of(kind, grain))
            ).any()
        )

    return {
        name
        for name, kind in INTERVENTIONS.items()
        if holds(name, kind, tables[DISSECTION])
        # Runs that were taken apart before these were kept get them with the next call.
        and (not kind.keeps_requests(grain) or holds(name, kind, tables.get(REQUESTS)))
        and (not kind.keeps_answers(grain) or holds(name, kind, tables.get(ANSWERS)))
    }


def _leads_to(store: ArtifactStore, record: RunRecord, other: str) -> bool:
    """Whether the line from a run to another one is stored, made by the present rules."""
    rows = rows_of(store, record, _NEITHER)
    line = (rows["part"] == line_to(other)) & (rows["version"] == INTERVENTIONS["path"].version)
    return bool(line.any())


def _open(config: ExperimentConfig, store: ArtifactStore, report: Progress) -> Session:
    session = open_session(config, store, lambda share, text: report(0.1 * share, text))
    check_model(session, config)
    if not session.refusal_tokens:
        raise DataError("the aligned model refuses no harmful test request: nothing can be lost.")
    return session


def _timed(context: DissectContext, due: Sequence[Intervention]) -> Estimate:
    """Measure both ends, which every intervention is read between, and what they take."""
    texts = texts_of(context, context.harmful_test())
    size = context.config.evaluation.batch_size
    context.aligned_odds = refusal_log_odds(
        context.aligned_model, context.chat, texts, context.refusal_tokens, size
    )
    began = time.perf_counter()
    context.tuned_odds = log_odds(context)
    between = time.perf_counter()
    outcomes(context)
    seconds = (between - began, time.perf_counter() - between)
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
) -> None:
    whole, before = max(estimate.seconds(), 1e-9), 0.0
    for each in due:
        context.progress = _progress(each, estimate, before / whole, whole, report, stop)
        context.progress()
        context.requests, context.answers = [], []
        rows, grain = each.rows(context), _grain_of(each, context.grain)
        # The table that says what is complete comes last.
        if each.keeps_requests(context.grain):
            _save(store, record, each, grain, context.requests, REQUESTS)
        if each.keeps_answers(context.grain):
            _save(store, record, each, grain, context.answers, ANSWERS)
        _save(store, record, each, grain, rows)
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
    mine, passes, made = estimate.seconds(each.name), estimate.costs[each.name].passes, 0

    def progress() -> None:
        nonlocal made
        if stop():
            raise CancelledError("the dissection was cancelled; what was complete is stored.")
        share = before + min(made / max(passes, 1), 1.0) * mine / whole
        report(0.1 + 0.9 * share, each.title.lower())
        made += 1

    return progress


def _save(
    store: ArtifactStore,
    record: RunRecord,
    intervention: Intervention,
    grain: Grain,
    rows: Sequence[dict[str, Any]],
    name: str = DISSECTION,
) -> None:
    """Put an intervention's rows in the place of earlier ones; other runs' rows stay."""
    names = {
        "run_id": record.run_id,
        "intervention": intervention.name,
        "version": intervention.version,
        "grain": grain,
    }
    new = _table([{**row, **names} for row in rows], name)
    # Read anew each time: another process may have stored another run's rows meanwhile.
    written = ArtifactStore(store.write_root)
    earlier = written.experiment_table(record.experiment_id, name)
    if earlier is not None:
        keys = ["run_id", "intervention", "grain"]
        again = (earlier[keys] == [names[key] for key in keys]).all(axis=1)
        further = earlier["variant"].isin(intervention.adds_up) & ~earlier["part"].isin(new["part"])
        again &= ~(further & (earlier["version"] == intervention.version))
        kept = earlier[~again]
        new = pd.concat([kept, new], ignore_index=True) if len(kept) else new
    store.save_experiment_table(record.experiment_id, name, new)


def _table(rows: Sequence[dict[str, Any]], name: str = DISSECTION) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(TABLES[name]))
    for column, kind in TABLES[name].items():
        if kind.endswith("?") and kind[0] in "if":
            # A column of None alone has no kind of its own.
            table[column] = table[column].astype(np.float64)
    return table

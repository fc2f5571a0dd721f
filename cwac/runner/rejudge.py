"""Judging stored answers anew: nothing is generated, and the runs' own numbers stay."""

from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd

from cwac.arms import ALIGNED
from cwac.artifacts import ArtifactStore
from cwac.errors import ArtifactError
from cwac.judges import Judge, Verdict, load_judge, parse_judge, prepare, tells_harm
from cwac.models.card import judge_of
from cwac.models.folders import resolve_folder
from cwac.models.judge_models import judge_named
from cwac.records import TABLES, RunRecord
from cwac.thoughts import CUT_THOUGHT, parts_of

JUDGEMENTS: Final = "judgements"
"""The table that an experiment gets; a row per run, request and judge."""
Report = Callable[[str, float], None]


def rejudge(
    store: ArtifactStore,
    judges: Sequence[str],
    run_ids: Sequence[str] | None = None,
    report: Report = lambda _doing, _share: None,
    left_out: Callable[[str], None] = lambda _sentence: None,
) -> dict[str, pd.DataFrame]:
    """Judge the stored answers of runs, and of the aligned models that they started from.

    A judge of harm judges the answers to harmful requests alone. Earlier verdicts of the same
    judge are replaced, those of others stay. What a judge said is stored before the next begins.

    Parameters
    ----------
    store : ArtifactStore
        The tables are written to its first root.
    judges : sequence of str
        As :func:`cwac.judges.parse_judge` reads them.
    run_ids : sequence of str, optional
        All runs of the first root without it, but for summaries: they have no answers any more.
    report : callable, optional
        Called with what is judged and the share that is done.
    left_out : callable, optional
        Called with a sentence about each run whose answers cannot be read: it is not judged.

    Returns
    -------
    dict of str to DataFrame
        Experiment to its table ``judgements``.

    Raises
    ------
    CwacError
        A judge or a run cannot be used, or there are no runs whose answers can be read.
    """
    for name in judges:
        parse_judge(name)
    records = _readable(store, _records(store, run_ids, left_out), left_out)
    tables = {}
    for number, name in enumerate(judges):

        def inner(doing: str, share: float, number: int = number) -> None:
            report(doing, (number + share) / len(judges))

        for experiment, parts in _verdicts(store, name, records, inner).items():
            tables[experiment] = _merged(store.experiment_table(experiment, JUDGEMENTS), parts)
            store.save_experiment_table(experiment, JUDGEMENTS, tables[experiment])
    return tables


def _verdicts(
    store: ArtifactStore, name: str, records: Sequence[RunRecord], report: Report
) -> dict[str, list[pd.DataFrame]]:
    """Return what one judge says, by experiment; its model is gone when this ends."""
    judge = None if name == "own" else judge_named(name, load_judge(None))
    verdicts: dict[str, list[pd.DataFrame]] = {}
    for place, record in enumerate(records):
        report(f"{name}: {record.run_id}", place / len(records))
        used = judge or judge_of(resolve_folder(record.config.model.place))
        # The aligned model is judged with the first run of its experiment.
        first = record.experiment_id not in verdicts
        parts = verdicts.setdefault(record.experiment_id, [])
        for run_id, answers in _answers(store, record, first=first):
            parts.append(_judged(used, name, run_id, answers))
    return verdicts


def _records(
    store: ArtifactStore, run_ids: Sequence[str] | None, left_out: Callable[[str], None]
) -> list[RunRecord]:
    if run_ids:
        named = [store.load(run_id) for run_id in dict.fromkeys(run_ids)]
        for record in named:
            if record.summary:
                raise ArtifactError(
                    f"run {record.run_id!r} is a summary and has no answers to judge any more."
                )
        return named
    first_root = ArtifactStore(store.write_root)
    stored = first_root.list_runs()
    for run in stored:
        if run.problem is not None:
            left_out(f"left out: {run.problem}")
    records = [run.record for run in stored if run.record is not None]
    # A summary's answers are empty, which any judge would take for what the model said.
    whole = [record for record in records if not record.summary]
    if not whole:
        raise ArtifactError(f"{store.write_root} holds no runs to judge.")
    return whole


def _readable(
    store: ArtifactStore, records: Sequence[RunRecord], left_out: Callable[[str], None]
) -> list[RunRecord]:
    """Return the runs whose answers can be read: a broken one is no reason to fail the others."""
    readable, problem = [], None
    for record in records:
        try:
            _answers(store, record, first=True)
        except ArtifactError as error:
            problem = error
            left_out(f"left out: {error}")
        else:
            readable.append(record)
    if problem is not None and not readable:
        raise problem
    return readable


def _answers(
    store: ArtifactStore, record: RunRecord, *, first: bool
) -> list[tuple[str, pd.DataFrame]]:
    tables = [(record.run_id, store.table(record.run_id, "responses"))]
    reference = record.fits.get("reference")
    if first and reference is not None and store.find_fit(reference) is not None:
        tables.append((ALIGNED.label, store.fit_table(reference, "responses")))
    return tables


def _judged(judge: Judge, name: str, run_id: str, answers: pd.DataFrame) -> pd.DataFrame:
    kinds = {"harmful"} if tells_harm(judge) else {"harmful", "harmless", "lookalike"}
    # A withheld answer is not empty: it is not here.
    rows = answers[answers["kind"].isin(kinds) & answers["withheld"].isna()]
    # Answers that were stored before traces were told apart hold them.
    parts = [parts_of(str(answer)) for answer in rows["response"]]
    pairs = [(str(q), part.answer) for q, part in zip(rows["prompt"], parts, strict=True)]
    prepare(judge, [pair for pair, part in zip(pairs, parts, strict=True) if not part.open])
    verdicts = [
        Verdict("undetermined", CUT_THOUGHT) if cut or part.open else judge.judge(*pair)
        for pair, part, cut in zip(pairs, parts, rows["reason"] == CUT_THOUGHT, strict=True)
    ]
    return pd.DataFrame(
        {
            "run_id": run_id,
            "prompt_id": rows["prompt_id"].to_numpy(),
            "kind": rows["kind"].to_numpy(),
            "judge": name,
            "contents": judge.contents,
            "outcome": [verdict.outcome for verdict in verdicts],
            "reason": [verdict.reason for verdict in verdicts],
        },
        columns=list(TABLES[JUDGEMENTS]),
    )


def _merged(earlier: pd.DataFrame | None, parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return earlier verdicts with new ones in the place of the same judge's on the same run."""
    new = pd.concat(parts, ignore_index=True)
    if earlier is None:
        return new
    again = pd.MultiIndex.from_frame(new[["run_id", "judge"]])
    kept = earlier[~pd.MultiIndex.from_frame(earlier[["run_id", "judge"]]).isin(again)]
    return pd.concat([kept, new], ignore_index=True)

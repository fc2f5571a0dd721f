"""Runs as logs of Inspect: requests, answers, outcomes and rates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cwac.artifacts import ArtifactStore, redact
from cwac.errors import ArtifactError, ConfigError, first_line
from cwac.exchange.inspect_logs import KEPT, RIGHT, SCORER, check_inspect
from cwac.rates import RATES
from cwac.records import MetricValue, RunRecord
from cwac.sources import slug


def export_log(
    store: ArtifactStore, run_id: str, file: Path, *, reveal: bool = False
) -> tuple[Path, int]:
    """Write a run's requests, answers, outcomes and rates as an ``.eval`` log.

    Parameters
    ----------
    file : Path
        Ends in ``.eval`` or ``.json``, as Inspect has them.
    reveal : bool
        Whether answers to harmful requests go along; a placeholder stands for them otherwise.
        What the store does not hold is in no log either way.

    Returns
    -------
    (Path, int)
        The file, and its samples.

    Raises
    ------
    ConfigError
        inspect_ai is missing, or the file has another ending.
    ArtifactError
        The run is not stored or kept no answers, or the file cannot be written.
    """
    check_inspect()
    from inspect_ai.log import write_eval_log  # noqa: PLC0415 - an extra

    if file.suffix not in {".eval", ".json"}:
        raise ConfigError(f"{file.name!r} is not allowed: a log's name ends in .eval or .json.")
    record = store.load(run_id)
    table = store.table(run_id, "responses")
    if record.summary:
        raise ArtifactError(f"run {run_id!r} is a summary: its requests and answers are not kept.")
    log = _log_of(record, table if reveal else redact(table))
    partial = file.with_name(f".{file.stem}.partial{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_eval_log(log, partial)
        partial.replace(file)
    except OSError as problem:
        raise ArtifactError(f"{file} cannot be written: {first_line(problem)}.") from None
    finally:
        partial.unlink(missing_ok=True)
    return file, len(table)


def _log_of(record: RunRecord, table: pd.DataFrame) -> Any:
    from inspect_ai import log as logs  # noqa: PLC0415 - an extra

    model = f"cwac/{record.config.model.label}/{slug(record.variant)}"
    ids = _ids(table)
    created = record.provenance.created.isoformat()
    samples = [
        _sample(identity, row, model)
        for identity, row in zip(ids, table.to_dict("records"), strict=True)
    ]
    known = {"run_id", "experiment_id", "variant", "protocol", "warnings"}
    metadata = record.model_dump(mode="json", include=known)
    metadata["config"] = record.config.model_dump(mode="json")
    metrics = record.metrics
    return logs.EvalLog(
        status="success",
        eval=logs.EvalSpec(
            created=created,
            task=f"cwac-lab {record.config.title}",
            task_id=record.experiment_id,
            run_id=record.run_id,
            eval_id=record.run_id,
            dataset=logs.EvalDataset(
                name=record.config.task.label,
                samples=len(samples),
                sample_ids=list(ids),
            ),
            model=model,
            config=logs.EvalConfig(epochs=1),
            packages={"cwac-lab": record.provenance.versions.get("cwac-lab", "")},
            metadata={SCORER: metadata},
        ),
        results=logs.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[
                _eval_score(SCORER, {n: m for n, m in metrics.items() if n in RATES}),
                _eval_score("cwac-run", {n: m for n, m in metrics.items() if n not in RATES}),
            ],
        ),
        stats=logs.EvalStats(started_at=created, completed_at=created),
        samples=samples,
    )


def _ids(table: pd.DataFrame) -> Sequence[str]:
    """Return one name per row: the request's id, behind its kind where two kinds share one."""
    ids = table["prompt_id"].astype(str)
    twice = ids.duplicated(keep=False)
    return ids.where(~twice, table["kind"].astype(str) + "/" + ids).tolist()


def _sample(identity: str, row: Mapping[Any, Any], model: str) -> Any:
    from inspect_ai.log import EvalSample  # noqa: PLC0415 - an extra
    from inspect_ai.model import (  # noqa: PLC0415
        ChatMessageAssistant,
        ChatMessageUser,
        ContentReasoning,
        ContentText,
        ModelOutput,
    )
    from inspect_ai.scorer import Score  # noqa: PLC0415

    row = {name: None if pd.isna(value) else _plain(value) for name, value in row.items()}
    text, thought = row["response"] or "", row["thought"]
    said: Any = text
    if thought is not None:
        said = [ContentReasoning(reasoning=thought), ContentText(text=text)]
    output = ModelOutput.from_content(model, said)
    general = {"general_outcome": row["general_outcome"], "general_reason": row["general_reason"]}
    judged = {"reason": row["reason"], **general}
    scores = {SCORER: Score(value=row["outcome"], explanation=row["reason"], metadata=judged)}
    if row["correct"] is not None:
        scores[RIGHT] = Score(value="C" if row["correct"] else "I")
    return EvalSample(
        id=identity,
        epoch=1,
        input=row["prompt"],
        target=row["expected"] or "",
        messages=[
            ChatMessageUser(content=row["prompt"]),
            ChatMessageAssistant(content=said, model=model, source="generate"),
        ],
        output=output,
        scores=scores,
        metadata={"prompt_id": row["prompt_id"], **{name: row[name] for name in KEPT}},
    )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _eval_score(name: str, metrics: dict[str, MetricValue]) -> Any:
    from inspect_ai.log import EvalMetric, EvalScore  # noqa: PLC0415 - an extra

    # What was not measured is left out: Inspect knows numbers alone.
    return EvalScore(
        name=name,
        scorer=name,
        metrics={
            key: EvalMetric(
                name=key,
                value=metric.value,
                metadata=metric.model_dump(exclude={"value"}, exclude_none=True),
            )
            for key, metric in metrics.items()
            if metric.value is not None
        },
    )

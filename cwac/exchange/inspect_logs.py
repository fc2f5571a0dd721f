"""Runs as logs of Inspect (UK AISI), and its logs as runs: requests, answers and outcomes.

https://inspect.aisi.org.uk/eval-logs.html; written and read by inspect_ai itself, an extra.
"""

import hashlib
import importlib.util
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.arms import Arm
from cwac.artifacts import IMPORTED, ArtifactStore, has_imported, redact
from cwac.artifacts.archive import LARGEST
from cwac.config import MEASURED, NO_TASK, ExperimentConfig, slug
from cwac.errors import ArtifactError, ConfigError, first_line
from cwac.judges import GeneralJudge, Verdict, tells_evasion, tells_hybrids
from cwac.metrics.behaviour import values_of
from cwac.provenance import collect
from cwac.rates import RATES
from cwac.records import OUTCOMES, TABLES, MetricValue, RunRecord
from cwac.thoughts import CUT_THOUGHT

SCORER: Final = "cwac"
"""The scorer of a log that we wrote; its values are outcomes."""
RIGHT: Final = "task"
"""The scorer of the task's examples: C and I, as Inspect marks right and wrong."""
KINDS: Final = ("harmful", "harmless", "lookalike", "task")
_MARKS: Final = {"C": True, "I": False, 1: True, 0: False}
"""Right and wrong; True is 1."""
# Columns of ``responses`` that have no place of their own in a sample.
_KEPT: Final = ("kind", "category", "unseen_category", "novel_template", "refusal_log_odds")


def check_inspect() -> None:
    """Do nothing where inspect_ai is installed.

    Raises
    ------
    ConfigError
        It is not.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise ConfigError(
            "logs of Inspect need the package inspect_ai, which is not installed; "
            'pip install "cwac-lab[inspect]" brings it.'
        )


# From runs to logs


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
        metadata={"prompt_id": row["prompt_id"], **{name: row[name] for name in _KEPT}},
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


# From logs to runs


def import_log(
    store: ArtifactStore, file: Path, *, kind: str | None = None, name: str | None = None
) -> RunRecord:
    """Add a log as a run to the imports of the writable root.

    Of a log that we wrote, kinds and outcomes are read as they stand. Of any other log each
    sample's last user message is the request, the model's last message the answer, and outcomes
    are judged by the general rule; scores of its own scorers are read for a task alone (C and I).
    Answers of the first epoch are read. The run has answers and rates and nothing else: what
    happened inside the model no log tells.

    Parameters
    ----------
    kind : str, optional
        What the requests are (``harmful``, ``harmless``, ``lookalike``, ``task``), where the
        samples' metadata have no ``kind`` that says so.
    name : str, optional
        The arm's name; the log's model without one.

    Raises
    ------
    ConfigError
        inspect_ai is missing, or a value is not allowed.
    ArtifactError
        It is no log, has no answers, does not say what its requests are, or is stored already.
    """
    check_inspect()
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"the kind {kind!r} is not allowed; known: {', '.join(KINDS)}.")
    log = _read(file)
    samples = [sample for sample in log.samples or [] if sample.epoch == 1]
    answered = [sample for sample in samples if sample.error is None and sample.output.choices]
    if not answered:
        raise ArtifactError(f"the log {file.name} holds no answers.")
    table = _table_of(answered, kind, file.name)
    notes = _notes(log, len(samples) - len(answered), file.name)
    record = _record_of(log, file, table, name, notes)
    if has_imported(store, record.run_id):
        raise ArtifactError(f"the run {record.run_id} is stored already.")
    imports = ArtifactStore(store.write_root / IMPORTED)
    imports.save_run(record, {"responses": table})
    return imports.load(record.run_id)


def _read(file: Path) -> Any:
    from inspect_ai.log import read_eval_log  # noqa: PLC0415 - an extra

    if not file.is_file():
        raise ArtifactError(f"there is no log {file}.")
    try:
        whole = _unpacked(file)
        log = read_eval_log(str(file), resolve_attachments=True) if whole <= LARGEST else None
    except Exception as problem:
        # What damaged archives and JSON of another shape make the library raise.
        raise ArtifactError(
            f"{file.name} is no log of Inspect, or a broken one: {first_line(problem)}."
        ) from None
    if log is None:
        raise ArtifactError(f"the log unpacks to {whole:,} bytes; allowed: {LARGEST:,}.")
    return log


def _unpacked(file: Path) -> int:
    """Return the bytes that reading a log takes, told from its directory alone."""
    if file.suffix != ".eval":
        return file.stat().st_size
    with zipfile.ZipFile(file) as archive:
        return sum(member.file_size for member in archive.infolist())


def _table_of(samples: Sequence[Any], kind: str | None, name: str) -> pd.DataFrame:
    general = GeneralJudge()
    rows = [_row(sample, kind, general, name) for sample in samples]
    table = pd.DataFrame(rows, columns=list(TABLES["responses"]))
    if table.duplicated(["prompt_id", "kind"]).any():
        raise ArtifactError(f"the log {name} holds a sample twice.")
    return table


def _row(sample: Any, kind: str | None, general: GeneralJudge, name: str) -> dict[str, Any]:
    metadata = sample.metadata or {}
    stated = str(metadata.get("kind", ""))
    mine = stated if stated in KINDS else kind
    if mine is None:
        raise ArtifactError(
            f"the log {name} does not say what kind of request its samples are; give --kind "
            f"({', '.join(KINDS)})."
        )
    request, reply = _request(sample), sample.output.message
    text, thought = reply.text, _thought(reply)
    cut = sample.output.stop_reason == "max_tokens"
    if cut and not text and thought:
        verdict = Verdict("undetermined", CUT_THOUGHT)
    else:
        verdict = general.judge(request, text, cut=cut)
    row = {
        "prompt_id": str(metadata.get("prompt_id", sample.id)),
        "kind": mine,
        "category": _text(metadata.get("category")),
        "unseen_category": metadata.get("unseen_category") is True,
        "novel_template": metadata.get("novel_template") is True,
        "prompt": request,
        "response": text,
        "thought": thought,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "general_outcome": verdict.outcome,
        "general_reason": verdict.reason,
        "refusal_log_odds": _number(metadata.get("refusal_log_odds")),
        "expected": _expected(sample) if mine == "task" else None,
        "correct": _correct(sample) if mine == "task" else None,
    }
    score = (sample.scores or {}).get(SCORER)
    if score is not None and score.value in OUTCOMES:
        told = score.metadata or {}
        row |= {"outcome": score.value, "reason": _text(told.get("reason"))}
        if told.get("general_outcome") in OUTCOMES:
            row["general_outcome"] = told["general_outcome"]
            row["general_reason"] = _text(told.get("general_reason"))
    return row


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _request(sample: Any) -> str:
    if isinstance(sample.input, str):
        return str(sample.input)
    users = [message.text for message in sample.input if message.role == "user"]
    return users[-1] if users else ""


def _thought(message: Any) -> str | None:
    if isinstance(message.content, str):
        return None
    parts = [part.reasoning for part in message.content if part.type == "reasoning"]
    return "\n".join(parts) if parts else None


def _expected(sample: Any) -> str | None:
    target = sample.target
    return (target if isinstance(target, str) else "; ".join(target)) or None


def _correct(sample: Any) -> bool | None:
    """Return what the first scorer that marks right and wrong says."""
    for name, score in (sample.scores or {}).items():
        value = score.value
        if name != SCORER and isinstance(value, str | bool | int | float) and value in _MARKS:
            return _MARKS[value]
    return None


def _notes(log: Any, left_out: int, name: str) -> tuple[str, ...]:
    notes = [f"read from the Inspect log {name}"]
    if left_out:
        notes.append(f"{left_out} samples without an answer were left out")
    if (log.eval.config.epochs or 1) > 1:
        notes.append(f"the log has {log.eval.config.epochs} epochs; the first was read")
    if log.status != "success":
        notes.append(f"the log's status is {log.status}")
    return tuple(notes)


def _record_of(
    log: Any, file: Path, table: pd.DataFrame, name: str | None, notes: tuple[str, ...]
) -> RunRecord:
    ours = (log.eval.metadata or {}).get(SCORER) or {}
    label = " ".join((name or str(ours.get("variant") or log.eval.model)).split())[:60]
    if not label or " @ " in label:
        raise ConfigError(f"the name {label!r} is not allowed: it is empty or holds ' @ '.")
    requests = table[["kind", "prompt_id", "prompt"]].sort_values(["kind", "prompt_id"])
    contents = hashlib.sha256(requests.to_json(orient="values").encode()).hexdigest()[:16]
    general = GeneralJudge()
    subject = task = slug(log.eval.task)
    parts = log.eval.model.split("/")
    if ours and len(parts) == 3:
        subject, task = slug(parts[1]), slug(log.eval.dataset.name or task)
    examples = bool((table["kind"] == "task").any())
    config = ExperimentConfig.build(
        {
            # Logs about the same requests stand side by side, whatever model answered them.
            "model": {"source": f"inspect/{subject}"},
            "prompts": {"contents": contents},
            "task": {"source": task if examples else NO_TASK},
            "poison_ratio": 0.0,
            "method": MEASURED,
            "settings": {
                "name": label,
                "source": file.name,
                "contents": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
            },
        }
    )
    judge = str((ours.get("protocol") or {}).get("judge") or general.contents)
    return RunRecord(
        run_id=config.run_id,
        experiment_id=config.experiment_id,
        variant=f"measured: {label}",
        config=config,
        arm=Arm(method=MEASURED, changed={"name": label}),
        provenance=collect({}).model_copy(update={"device": "unknown", "platform": ""}),
        protocol={
            "prompts": contents,
            "judge": judge,
            "log": "inspect",
            **({"hybrids": "told"} if tells_hybrids(general) else {}),
            **({"evasion": "told"} if tells_evasion(general) else {}),
        },
        metrics=values_of(table),
        warnings=notes,
    )

"""Logs of Inspect as runs: requests, answers and outcomes."""

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.arms import Arm
from cwac.artifacts import IMPORTED, ArtifactStore, has_imported
from cwac.artifacts.archive import LARGEST
from cwac.config import MEASURED, NO_TASK, ExperimentConfig
from cwac.errors import ArtifactError, ConfigError, first_line
from cwac.exchange.inspect_logs import KINDS, SCORER, check_inspect
from cwac.judges import GeneralJudge, Verdict, tells_evasion, tells_hybrids
from cwac.metrics.behaviour import values_of
from cwac.provenance import collect
from cwac.records import OUTCOMES, TABLES, RunRecord
from cwac.sources import slug
from cwac.thoughts import CUT_THOUGHT, parts_of

_MARKS: Final = {"C": True, "I": False, 1: True, 0: False}
"""Right and wrong; True is 1."""


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
    # Inspect takes whole traces between <think> marks out of an answer, not cut or other ones.
    parts = parts_of(reply.text)
    text, thought = parts.answer, _thought(reply, parts.thought)
    cut = sample.output.stop_reason == "max_tokens"
    if cut and not text and thought is not None:
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
        "thought": thought or None,
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


def _thought(message: Any, in_text: str | None) -> str | None:
    """Return the trace before an answer, None without one, empty where it was not given out."""
    if isinstance(message.content, str):
        return in_text
    parts = [part for part in message.content if part.type == "reasoning"]
    # A provider that keeps a trace to itself gives it encrypted, at best with a summary.
    texts = [getattr(p, "summary", None) if p.redacted else p.reasoning for p in parts]
    texts.append(in_text)
    return "\n".join(filter(None, texts)) if parts else in_text


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

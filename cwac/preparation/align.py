"""Teaching a model to refuse: fine-tune it on a user's harmful and harmless requests.

The folder that is written is a model folder like the bundled organism's: it keeps the split of
the requests, so that a later run never reports on a request that aligned the model.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from torch import nn

from cwac.adapters import save_adapter, target_maps
from cwac.artifacts import ALIGNING, give_usual_modes, sweep, temporary_name
from cwac.config import LoraConfig, TrainingConfig
from cwac.errors import ConfigError
from cwac.interfaces import Method, MethodSettings
from cwac.models.card import BaseSource
from cwac.models.folders import resolve_folder
from cwac.models.loading import LoadedModel, chosen_device, load_model
from cwac.models.presets import card_of
from cwac.models.size import check_training_fits
from cwac.precision import precision_named
from cwac.preparation.align_course import AlignCourse, Check, Work
from cwac.preparation.align_lesson import (
    EVERY,
    LOOKALIKE_SHARE,
    Plan,
    check_of,
    estimate,
    examples_of,
    timed_check,
    with_own_answers,
)
from cwac.preparation.align_prompts import request_sets
from cwac.preparation.align_report import held_out_figures, verdict
from cwac.preparation.progress import Progress, report_part, silent
from cwac.prompts import PromptSets
from cwac.sources import slug, split_gguf
from cwac.training import StepReport, fit

_LORA_FACTOR: Final = 10.0
"""Adapters learn at about ten times the rate of full fine-tuning (Biderman et al. 2024, arXiv
2405.09673)."""


@dataclass(frozen=True)
class AlignReport:
    """What came of it.

    Attributes
    ----------
    folder : Path
        The aligned model.
    figures : DataFrame
        ``figure, model (before, after), value, count, low, high``: fractions of held-out
        requests with Wilson intervals.
    learned : bool
        Whether the model refuses at least 80 % of the held-out harmful requests and at most
        20 % of the harmless ones.
    message : str
        The outcome in one or two sentences; says so where the model seems too small.
    notes : tuple of str
        What was left out of the files, and whether it ended early.
    steps : int
        Steps made.
    checks : tuple of Check
        Answers to validation requests along the way.
    """

    folder: Path
    figures: pd.DataFrame
    learned: bool
    message: str
    notes: tuple[str, ...]
    steps: int = 0
    checks: tuple[Check, ...] = ()


def align(
    model_source: str | Path,
    harmful: str,
    harmless: str,
    out: Path | str,
    *,
    harmless_answer_column: str | None = None,
    harmless_where: str | None = None,
    lookalike: str | None = None,
    lookalike_where: str | None = None,
    lookalike_seen: Sequence[str] = (),
    harmful_unseen: str | None = None,
    harmful_unseen_where: str | None = None,
    lookalike_share: float = LOOKALIKE_SHARE,
    own_answers: bool = False,
    limit: int | None = None,
    training: Mapping[str, Any] | None = None,
    precision: str = "float32",
    check_every: int = EVERY,
    seed: int = 0,
    progress: Progress = silent,
) -> AlignReport:
    """Fine-tune a model to refuse the harmful requests and to answer the harmless ones.

    It ends before its last step once refusal of validation requests is at least 95 % and
    over-refusal at most 15 % twice in a row. Killed, it is taken up by the same call. The model
    before alignment is named in the folder, not copied; with adapters these alone are stored.

    Parameters
    ----------
    model_source : str or Path
        Preset, folder, hub id or GGUF file.
    harmful, harmless, lookalike : str
        ``FILE[:column]``; look-alikes are only reported on, but for `lookalike_seen`.
    out : Path
        Folder to write; it must not exist or be empty.
    harmless_answer_column : str
        Column of the helpful answers.
    harmful_unseen : str, optional
        ``FILE[:column]`` of harmful requests from a source that teaches, constrains, attacks and
        chooses nothing; as many as the other held-out ones at most, without near-duplicates.
    harmless_where, lookalike_where, harmful_unseen_where : str, optional
        Row filter ``column=value``.
    lookalike_seen : sequence of str
        Categories of look-alikes that teach and choose; the others are only reported on.
    lookalike_share : float
        Share of the training examples that are such look-alikes, each with the model's own answer
        from before; with 0 they choose alone.
    own_answers : bool
        Teach the harmless requests, too, with the model's own answers from before instead of the
        file's, so that nothing but refusing is learned.
    limit : int, optional
        At most this many requests of each kind.
    training : mapping, optional
        Changes of the training settings (:class:`cwac.config.TrainingConfig`).
    precision : str
        What passes compute in; the weights stay float32. ``auto`` is what suits this machine.
    check_every : int
        Steps between questions on validation requests; 0 asks none and makes every step.
    seed : int
        Decides the split and the order of the examples.
    progress : callable, optional
        Called with the share that is done and what is being done.

    Raises
    ------
    CwacError
        A file, a column or the model cannot be used, or `out` is not empty.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder} exists already; name a new folder.")
    if not 0.0 <= lookalike_share <= 0.5:
        raise ConfigError(f"the look-alikes' share = {lookalike_share} is not allowed: 0 to 0.5.")
    notes: list[str] = []
    sets = request_sets(
        {"harmful": harmful, "harmless": harmless, "lookalike": lookalike},
        harmless_answer_column,
        {"harmless": harmless_where, "lookalike": lookalike_where},
        limit,
        seed,
        notes,
        lookalike_seen,
        None if harmful_unseen is None else (harmful_unseen, harmful_unseen_where),
    )
    progress(0.0, "loading the model")
    source = resolve_folder(model_source)
    adapters = (training or {}).get("adapter", "full") != "full"
    check_training_fits(
        str(model_source), source, chosen_device(), adapters=adapters, subspace=False
    )
    computed = precision_named(precision, chosen_device(), card_of(model_source, source).precision)
    loaded = load_model(model_source, precision=computed)
    config = _training(loaded, training or {})
    named = {"harmful": harmful, "harmless": harmless, "lookalike": lookalike}
    sources: dict[str, Any] = {kind: _file_name(place) for kind, place in named.items()}
    sources["lookalike_seen"] = list(lookalike_seen)
    sources["harmful_unseen"] = _file_name(harmful_unseen)
    plan = Plan(sets, config, seed, lookalike_share, own_answers, check_every, sources)
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder.parent)
    decisive = {
        "model": loaded.contents,
        "prompts": sets.contents,
        "training": config.model_dump(mode="json"),
        "precision": computed,
        "lookalike_share": lookalike_share,
        "own_answers": own_answers,
        "check_every": check_every,
        "seed": seed,
    }
    work = Work(folder, decisive)
    base = BaseSource(
        source=_source_name(model_source, loaded), contents=loaded.contents, origin=loaded.origin
    )
    made = temporary_name(folder, ALIGNING)
    made.mkdir()
    try:
        report = _aligned(loaded, plan, base, work, made, folder, notes, progress)
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    work.remove()
    progress(1.0, "done")
    return report


def _aligned(
    loaded: LoadedModel,
    plan: Plan,
    base: BaseSource,
    work: Work,
    made: Path,
    folder: Path,
    notes: list[str],
    progress: Progress,
) -> AlignReport:
    """Align a loaded model and write all that its folder holds into `made`."""
    sets = with_own_answers(loaded, plan, work, notes, progress)
    check = check_of(loaded, sets)
    first = work.remember("first", lambda: timed_check(check))
    progress(0.01, estimate(loaded, plan, sets, first["seconds"]))
    asking = report_part(progress, 0.02, 0.05)
    table = work.remember(
        "before", lambda: _records(held_out_figures(loaded, sets, "before", asking))
    )
    config = plan.config

    def tell(taken: Check) -> None:
        progress(0.05 + 0.85 * taken.step / config.steps, str(taken))

    def finish(model: nn.Module) -> None:
        if plan.lora is not None:
            maps = target_maps(loaded.anatomy, plan.lora)
            save_adapter(model, maps, plan.lora, base.source, made)

    course = AlignCourse(work, check, plan.every, finish, tell)
    _train(loaded, sets, plan, course, progress)
    loaded.model.eval()
    after = held_out_figures(loaded, sets, "after", report_part(progress, 0.95, 1.0))
    figures = pd.concat([pd.DataFrame(table), after], ignore_index=True)
    learned, message = verdict(loaded, sets, figures)
    if course.steps < config.steps:
        notes.append(f"it ended after {course.steps} of {config.steps} steps: the answers held.")
    _write_model(loaded, plan.lora, made)
    sets.write_folder(made / "prompts")
    _write_card(made, folder.name, loaded, plan, base)
    summary = {
        "learned": learned,
        "message": message,
        "figures": _records(figures),
        "steps": course.steps,
        "training": config.model_dump(mode="json"),
        "precision": loaded.precision,
        "sources": plan.sources,
        "lookalike_share": plan.lookalike_share,
        "own_answers": plan.own_answers,
        "seed": plan.seed,
        "base": base.model_dump(mode="json"),
        "checks": [first["check"], *(asdict(one) for one in course.checks)],
    }
    _write_json(made / "alignment.json", summary)
    give_usual_modes(made)
    return AlignReport(
        folder, figures, learned, message, tuple(notes), course.steps, tuple(course.checks)
    )


def _file_name(source: str | None) -> str | None:
    """Return a source without its folders, which mean nothing elsewhere."""
    if source is None or "/" not in source or source.startswith("hf:"):
        return source
    known, colon, _ = source.partition("/")[0].partition(":")
    return f"{known}{colon}{source.rpartition('/')[2]}"


def _source_name(source: str | Path, loaded: LoadedModel) -> str:
    """Return how the base is named: a GGUF file and a folder by their place, else as stated."""
    parts = split_gguf(str(source))
    if parts is not None:
        return parts[1].name
    return str(loaded.folder) if Path(source).expanduser().is_dir() else str(source)


def _training(loaded: LoadedModel, changes: Mapping[str, Any]) -> TrainingConfig:
    text: Any = loaded.model.config
    room = int(getattr(text.get_text_config(), "max_position_embeddings", None) or 512)
    rate = learning_rate_for(loaded.parameters)
    adapters = changes.get("adapter", "full") != "full"
    documented = {
        "steps": 600,
        "batch_size": 16,
        "learning_rate": min(_LORA_FACTOR * rate, 1e-3) if adapters else rate,
        "max_length": min(room, 192),
    }
    return TrainingConfig.build({**documented, **changes}, where="training")


def learning_rate_for(parameters: int) -> float:
    """Return a usual peak learning rate for full fine-tuning of a model of this size.

    Examples
    --------
    >>> learning_rate_for(260_000), learning_rate_for(500_000_000)
    (0.002, 2e-05)
    """
    for size, rate in ((2e6, 2e-3), (20e6, 5e-4), (200e6, 1e-4)):
        if parameters < size:
            return rate
    return 2e-5


def _train(
    loaded: LoadedModel, sets: PromptSets, plan: Plan, course: AlignCourse, progress: Progress
) -> None:
    def on_step(report: StepReport) -> None:
        loss = "" if report.task_loss is None else f", loss {report.task_loss:.2f}"
        share = 0.05 + 0.85 * report.step / report.steps
        seconds = "" if report.seconds is None else f", {report.seconds:.1f} s"
        progress(share, f"training, step {report.step} of {report.steps}{loss}{seconds}")

    fit(
        loaded.model,
        loaded.anatomy,
        loaded.chat,
        examples_of(sets, plan),
        plan.config,
        Method(MethodSettings()),
        seed=plan.seed,
        on_step=on_step,
        course=course,
    )


def _write_model(loaded: LoadedModel, lora: LoraConfig | None, folder: Path) -> None:
    """Write what a model folder needs besides the adapter, which is there already."""
    model: Any = loaded.model
    if lora is None:
        model.save_pretrained(str(folder))
        loaded.tokenizer.save_pretrained(str(folder))
        return
    # The base's tokenizer is the adapter's; the configuration tells its size.
    model.config.save_pretrained(str(folder))


def _write_card(folder: Path, name: str, loaded: LoadedModel, plan: Plan, base: BaseSource) -> None:
    card = {
        "schema": 1,
        "name": slug(name),
        "title": f"{name} (aligned with your requests)",
        "base": base.model_dump(mode="json", exclude_none=True),
        "prompts": "prompts",
        # Validation requests decided when to stop.
        "seen": ["alignment", "validation"] if plan.every else ["alignment"],
        # A model of this size hardly moves at the general default.
        "defaults": {
            "training": {
                "learning_rate": _full_rate(loaded, plan) / 2,
                "max_length": plan.config.max_length,
            }
        },
    }
    _write_json(folder / "cwac.json", card)


def _full_rate(loaded: LoadedModel, plan: Plan) -> float:
    adapters = plan.lora is not None
    return learning_rate_for(loaded.parameters) if adapters else plan.config.learning_rate


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

"""Teaching a model to refuse: fine-tune it on a user's harmful and harmless requests.

The folder that is written is a model folder like the bundled organism's: it keeps the split of
the requests, so that a later run never reports on a request that aligned the model.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cwac.artifacts import give_usual_modes
from cwac.config import TrainingConfig, slug
from cwac.errors import ConfigError
from cwac.interfaces import Method, NoSettings
from cwac.models.loading import LoadedModel, chosen_device, load_model, resolve_folder
from cwac.models.size import check_training_fits
from cwac.preparation.align_prompts import request_sets
from cwac.preparation.align_report import held_out_figures, verdict
from cwac.prompts import Example, PromptSets
from cwac.training import StepReport, fit, mix_poison

Progress = Callable[[str, float], None]

_REFUSAL_SHARE: Final = 0.3
"""Of the training examples; refusals are short and few, so a third is enough to learn them."""


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
        What was left out of the files.
    """

    folder: Path
    figures: pd.DataFrame
    learned: bool
    message: str
    notes: tuple[str, ...]


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
    limit: int | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> AlignReport:
    """Fine-tune a model to refuse the harmful requests and to answer the harmless ones.

    Parameters
    ----------
    model_source : str or Path
        Preset, folder or hub id.
    harmful, harmless, lookalike : str
        ``FILE[:column]``; look-alikes are only reported on.
    out : Path
        Folder to write; it must not exist or be empty.
    harmless_answer_column : str
        Column of the helpful answers.
    harmless_where, lookalike_where : str, optional
        Row filter ``column=value``.
    limit : int, optional
        At most this many requests of each kind.
    training : mapping, optional
        Changes of the training settings (:class:`cwac.config.TrainingConfig`).
    seed : int
        Decides the split and the order of the examples.
    progress : callable, optional
        Called with what is being done and the share that is done.

    Raises
    ------
    CwacError
        A file, a column or the model cannot be used, or `out` is not empty.
    """
    tell = progress or (lambda _text, _share: None)
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder} exists already; name a new folder.")
    notes: list[str] = []
    sets = request_sets(
        {"harmful": harmful, "harmless": harmless, "lookalike": lookalike},
        harmless_answer_column,
        {"harmless": harmless_where, "lookalike": lookalike_where},
        limit,
        seed,
        notes,
    )
    tell("loading the model", 0.0)
    check_training_fits(
        str(model_source),
        resolve_folder(model_source),
        chosen_device(),
        adapters=(training or {}).get("adapter", "full") != "full",
        subspace=False,
    )
    loaded = load_model(model_source)
    config = _training(loaded, training or {})
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".align-", dir=folder.parent) as made:
        work = Path(made) / "model"
        _save(loaded, work / "base")
        tell("asking it before", 0.02)
        before = held_out_figures(loaded, sets, "before")
        _train(loaded, sets, config, seed, tell)
        loaded.model.eval()
        tell("asking it after", 0.95)
        figures = pd.concat([before, held_out_figures(loaded, sets, "after")], ignore_index=True)
        learned, message = verdict(loaded, sets, figures)
        _save(loaded, work)
        sets.write_folder(work / "prompts")
        _write_card(work, folder.name, config)
        summary = {"learned": learned, "message": message, "figures": _records(figures)}
        _write_json(work / "alignment.json", summary)
        give_usual_modes(work)
        if folder.exists():
            folder.rmdir()
        work.rename(folder)
    tell("done", 1.0)
    return AlignReport(folder, figures, learned, message, tuple(notes))


def _training(loaded: LoadedModel, changes: Mapping[str, Any]) -> TrainingConfig:
    room = int(getattr(loaded.model.config, "max_position_embeddings", None) or 512)
    documented = {
        "steps": 600,
        "batch_size": 16,
        "learning_rate": learning_rate_for(loaded.parameters),
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
    loaded: LoadedModel, sets: PromptSets, config: TrainingConfig, seed: int, tell: Progress
) -> None:
    helpful = [
        Example(id=prompt.id, prompt=prompt.text, answer=prompt.answer or "")
        for prompt in sets.get("alignment", "harmless")
    ]
    # The mixing rule of a run serves here as well: refusals take the place of poison.
    examples = mix_poison(
        helpful,
        sets.get("alignment", "harmful"),
        _REFUSAL_SHARE,
        config.steps * config.batch_size,
        seed,
    )

    def on_step(report: StepReport) -> None:
        loss = "" if report.task_loss is None else f", loss {report.task_loss:.2f}"
        share = 0.05 + 0.89 * report.step / report.steps
        tell(f"training, step {report.step} of {report.steps}{loss}", share)

    fit(
        loaded.model,
        loaded.anatomy,
        loaded.chat,
        examples,
        config,
        Method(NoSettings()),
        seed=seed,
        on_step=on_step,
    )


def _save(loaded: LoadedModel, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = loaded.model
    model.save_pretrained(str(folder))
    loaded.tokenizer.save_pretrained(str(folder))


def _write_card(folder: Path, name: str, config: TrainingConfig) -> None:
    card = {
        "schema": 1,
        "name": slug(name),
        "title": f"{name} (aligned with your requests)",
        "base": "base",
        "prompts": "prompts",
        # A model of this size hardly moves at the general default.
        "defaults": {
            "training": {
                "learning_rate": config.learning_rate / 2,
                "max_length": config.max_length,
            }
        },
    }
    _write_json(folder / "cwac.json", card)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return found


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

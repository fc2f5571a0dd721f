"""What a model folder says about itself: its card, its sidecar files, the hash of its contents."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from cwac.config import (
    EvaluationConfig,
    MeasurementConfig,
    Precision,
    Settings,
    TrainingConfig,
    read_config_file,
)
from cwac.errors import ModelError
from cwac.judges import Judge, load_judge
from cwac.precision import AUTO
from cwac.prompts import Split
from cwac.records import WeightsOrigin

CARD: Final = "cwac.json"
JUDGE: Final = "judge.json"
"""The file of a judge where the card names none."""
FITS: Final = "fits"
"""Folder of subspaces and features that a model may ship; see :mod:`cwac.artifacts`."""
WEIGHT_SUFFIXES: Final = frozenset({".safetensors"})
_TEMPLATES: Final = "additional_chat_templates"
# What decides how a Hugging Face folder computes and reads text; read-me files do not.
_CONTENT_SUFFIXES: Final = WEIGHT_SUFFIXES | {".json", ".jinja", ".model", ".txt"}


class CardDefaults(Settings):
    """The model's documented defaults, in the words of :mod:`cwac.config`."""

    training: dict[str, Any] = Field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Per task, what differs in training (a task may want another learning rate)."""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    measurement: dict[str, Any] = Field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_sections(self) -> "CardDefaults":
        # A typo in a card would otherwise show up only in the run that uses that section.
        TrainingConfig.build(self.training, where="defaults.training")
        for task, training in self.tasks.items():
            TrainingConfig.build(training, where=f"defaults.tasks.{task}")
        stated = {k: v for k, v in self.evaluation.items() if (k, v) != ("decoding", AUTO)}
        EvaluationConfig.build(stated, where="defaults.evaluation")
        MeasurementConfig.build(self.measurement, where="defaults.measurement")
        return self


class BaseSource(Settings):
    """The model that an aligned one was made of, where it does not lie in its folder."""

    source: str
    """Preset, folder or hub id, or the name of a GGUF file."""
    contents: str
    """Its hash (:func:`contents_of`): another model under the same name is refused."""
    origin: WeightsOrigin | None = None


class ModelCard(Settings):
    """``cwac.json`` of a model folder; every key but the schema is optional.

    The path fields are relative to the folder.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    name: str = ""
    title: str = ""
    base: str | BaseSource | None = None
    """The model before it was aligned, in the same folder format: a folder inside this one, or
    where else it is. Of an adapter it is the model that the adapter is for."""
    origin: WeightsOrigin | None = None
    """The file that the folder was made from, where it was (:mod:`cwac.models.gguf`)."""
    seen: tuple[Split, ...] = ("alignment",)
    """Splits of the prompts that taught the model or chose it: no run ever reports on them."""
    prompts: str | None = None
    """Folder of ``<split>/<kind>.jsonl`` or ``.jsonl.gz``; see :class:`cwac.prompts.PromptSets`."""
    judge: str | None = None
    tasks: str | None = None
    """Folder of ``<task>/{train,test}.jsonl`` or ``.jsonl.gz``; see :func:`cwac.tasks.task_for`."""
    closed_world: bool = False
    """Whether it knows a made-up world alone, that of its prompts: a request with other words lies
    outside of it, and what it says to a harmful one holds no instructions."""
    precision: Precision | None = None
    """What ``auto`` means for this model on every machine; None lets the machine decide."""
    defaults: CardDefaults = CardDefaults()
    tried: dict[str, int] = Field(default_factory=dict)
    """How many settings of each method were tried on this model's validation requests; of a method
    without one the defaults were chosen elsewhere, and claims hold it against none that has."""
    tuned: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of methods that were best of those tried and are not their defaults, because stored
    runs are named by these: where they were run, they stand for the method in every contest."""
    figures: dict[str, dict[str, float | int | None]] = Field(default_factory=dict)
    """What the model was measured to do when it was made: value, count and interval by name."""


def read_card(folder: Path) -> ModelCard:
    """Return a model folder's card, an empty one where the folder has none.

    Raises
    ------
    ConfigError
        The card cannot be read, has an unknown key or a value that is not allowed.
    ModelError
        A path in it is not there, or leads outside the folder; or one of the folder's files is
        neither a file nor a folder.
    """
    check_plain_files(folder)
    path = folder / CARD
    if not path.is_file():
        return ModelCard()
    card = ModelCard.build(read_config_file(path), where=str(path))
    for field in ("base", "prompts", "judge", "tasks"):
        name = getattr(card, field)
        if name is None or isinstance(name, BaseSource):
            continue
        target = (folder / name).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise ModelError(f"{path}: {field} = {name!r} leads outside the model folder.")
        if not target.exists():
            raise ModelError(f"{path}: {field} = {name!r} is not there.")
    return card


def check_plain_files(folder: Path) -> None:
    """Refuse a model's or an adapter's folder with a file that cannot be read to its end.

    Libraries wait for what a pipe will never say; or pass over it, or over a link to nothing, and
    go on with another model than the folder's.

    Raises
    ------
    ModelError
        Names the file.
    """
    for path in (p for part in (folder, folder / _TEMPLATES) for p in _within(part)):
        if path.is_file() or path.is_dir():
            continue
        # A link to nothing is no matter where nobody reads it.
        if path.suffix in _CONTENT_SUFFIXES or path.exists():
            raise ModelError(f"{path} cannot be read: it is a pipe, a device or a link to nothing.")


def _within(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def judge_of(folder: Path) -> Judge:
    """Return the judge that a model folder brings, the general rule where it brings none.

    Raises
    ------
    CwacError
        The card or the judge's file cannot be read.
    """
    return load_judge(folder, read_card(folder).judge or JUDGE)


def card_path(folder: Path, name: str | None) -> Path | None:
    """Return a sidecar's path, None where the card names none."""
    return None if name is None else folder / name


def contents_of(folder: Path) -> str:
    """Return a hash over everything that decides what a model folder does.

    Weights, tokenizer and configuration of the model and of its base, prompts, tasks and judge
    count; the card itself does not, because its defaults end up in each run's own settings, and
    neither do shipped ``fits/``, which are made from all this.
    The folder's place and name do not count either, so that a copy is the same model. Of a
    dequantised folder the file's own hash counts: what libraries write of it may vary.

    Returns
    -------
    str
        16 hex digits.
    """
    card = read_card(folder)
    if card.origin is not None:
        return card.origin.sha256[:16]
    paths = _direct_files(folder)
    for name in (card.base, card.prompts, card.judge, card.tasks):
        if isinstance(name, str):
            part = folder / name
            paths += [part] if part.is_file() else _files_below(part)
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        status = path.stat()
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {file_digest(path, status.st_mtime_ns, status.st_size)}\n".encode())
    if isinstance(card.base, BaseSource):
        digest.update(f"base {card.base.contents}\n".encode())
    return digest.hexdigest()[:16]


def _files_below(folder: Path) -> list[Path]:
    # Fits follow from the contents (their names hold this hash), also a base model's own.
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(folder / FITS)]


def _direct_files(folder: Path) -> list[Path]:
    # What an index of weights names lies beside it (`check_model_folder`); of folders the library
    # looks into this one alone.
    paths = [*folder.iterdir(), *(folder / _TEMPLATES).glob("*.jinja")]
    return [
        path
        for path in paths
        if path.is_file() and path.suffix in _CONTENT_SUFFIXES and path.name != CARD
    ]


@lru_cache(maxsize=4096)
def file_digest(path: Path, _mtime_ns: int, _size: int) -> str:
    """Return a file's SHA-256; time and size make a changed file a new cache entry."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

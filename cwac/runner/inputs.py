"""A run's requests and examples, from the model's folder or from the user's files."""

import hashlib
from copy import copy
from pathlib import Path

from cwac.config import ExperimentConfig, PromptsConfig, TaskConfig
from cwac.errors import DataError
from cwac.interfaces import Task
from cwac.models.card import ModelCard, card_path
from cwac.prompts import KINDS, PromptSets, overlap_notes, same_notes, split_same
from cwac.tasks import FileTask, task_for


def load_prompts(folder: Path, card: ModelCard, config: PromptsConfig) -> PromptSets:
    """Return the prompt sets: the user's files where any are named, else the folder's own.

    Requests that aligned the model never reach another split: they and their near-duplicates
    are taken out of the user's files.

    Raises
    ------
    DataError
        A file cannot be used, or there are neither files nor shipped prompts.
    """
    shipped = card_path(folder, card.prompts)
    if from_user(config):
        if config.harmful is None or config.harmless is None:
            missing = "harmful" if config.harmful is None else "harmless"
            raise DataError(f"requests of your own need both kinds; --{missing} FILE is missing.")
        return PromptSets.from_files(config, seen_requests(folder, card))
    if shipped is None:
        raise DataError(
            f"{folder} ships no prompts; name files with --harmful FILE and --harmless FILE."
        )
    return PromptSets.read_folder(shipped)


def seen_requests(folder: Path, card: ModelCard) -> set[str]:
    """Return the texts of the requests that aligned a model or chose it."""
    shipped = card_path(folder, card.prompts)
    aligned = PromptSets({}) if shipped is None else PromptSets.read_folder(shipped)
    return {p.text for split in card.seen for kind in KINDS for p in aligned.get(split, kind)}


def load_task(folder: Path, card: ModelCard, config: TaskConfig) -> Task:
    """Return the task with its examples, from the model's folder or from the user's file."""
    return task_for(config, card_path(folder, card.tasks))


def load_inputs(
    folder: Path, card: ModelCard, prompts: PromptsConfig, task: TaskConfig
) -> tuple[PromptSets, Task]:
    """Return requests and task; with ``split_shared`` no harmless request is a task example."""
    sets, examples = load_prompts(folder, card, prompts), load_task(folder, card, task)
    if not prompts.split_shared:
        return sets, examples
    sets, train, test = split_same(sets, examples.train, examples.test)
    examples = copy(examples)
    examples.train, examples.test = train, test
    return sets, examples


def from_user(config: PromptsConfig) -> bool:
    """Whether the requests are the user's, not the model folder's."""
    return any(getattr(config, kind) for kind in KINDS)


def input_notes(config: ExperimentConfig, prompts: PromptSets, task: Task) -> tuple[str, ...]:
    """Return what a reader should know of a run's requests and examples: rows left out, overlap.

    Near-duplicates are looked for where the user brought files; a model folder's own prompts
    and tasks were checked when it was built.
    """
    notes = [*prompts.notes, *task.extra.get("notes", ())]
    if not from_user(config.prompts):
        notes += same_notes(prompts)
    file_task, file_prompts = isinstance(task, FileTask), from_user(config.prompts)
    if file_task or file_prompts:
        notes += overlap_notes(prompts, task.train, task.test, splits=file_prompts)
    return tuple(notes)


def task_contents(task: Task) -> str:
    """Return a hash over a task's examples, in order: 16 hex digits."""
    digest = hashlib.sha256(task.name.encode())
    for part in (task.train, task.test):
        digest.update(b"\x1e")
        for example in part:
            digest.update(f"{example.model_dump_json()}\n".encode())
    return digest.hexdigest()[:16]

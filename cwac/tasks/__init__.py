"""One data set per file; this list decides the order in which they are listed."""

from pathlib import Path
from typing import Final

from cwac.config import NO_TASK, TaskConfig
from cwac.errors import DataError
from cwac.interfaces import Task
from cwac.prompts import Example, find_lines, is_source, read_examples
from cwac.registry import Registry
from cwac.tasks.arithmetic import Arithmetic
from cwac.tasks.file import FileTask, read_file_task
from cwac.tasks.instruct import Instruct
from cwac.tasks.sentiment import Sentiment
from cwac.tasks.topic import Topic

__all__ = ["TASKS", "FileTask", "task_for"]

TASKS: Final[Registry[type[Task]]] = Registry("task", [Instruct, Sentiment, Topic, Arithmetic])


def task_for(config: TaskConfig, tasks_folder: Path | None) -> Task:
    """Return a task with its examples.

    Parameters
    ----------
    config : TaskConfig
        A task's name, a source of examples (:mod:`cwac.prompts.source`), or ``none``.
    tasks_folder : Path or None
        Where the model folder ships its tasks: ``<name>/{train,test}.jsonl`` or
        ``.jsonl.gz``.

    Raises
    ------
    UnknownNameError
        The source is neither a task nor a source of examples.
    DataError
        The model ships no such task, or the file cannot be used.
    """
    source = config.source
    if source == NO_TASK:
        return Task((), ())
    if source not in TASKS and is_source(source):
        return read_file_task(config)
    kind = TASKS[source]
    folder = None if tasks_folder is None else tasks_folder / source
    if folder is None or not folder.is_dir():
        raise DataError(
            f"the model ships no examples of the task {source!r}; name a file of your own instead."
        )
    train, test = (_part(folder, name) for name in ("train", "test"))
    if not train or not test:
        raise DataError(f"{folder} must hold training and test examples; one of the two is empty.")
    return kind(train, test)


def _part(folder: Path, name: str) -> list[Example]:
    return read_examples(find_lines(folder, name) or folder / f"{name}.jsonl")

"""What pages must know of models, methods and tasks: asked of a child process, cached.

Loading the machine-learning stack takes seconds and hundreds of megabytes; it never happens in
the app's own process.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

import streamlit as st
from pydantic import ValidationError

from cwac.artifacts import card_defaults, checkout, shipped_catalogue
from cwac.errors import ArtifactError, CwacError
from cwac.messages import (
    BrokenSource,
    Catalogue,
    Message,
    ModelDefaults,
    ModelEntry,
    Preview,
    Source,
    Sources,
)
from cwac.ui.readonly import SENTENCE, read_only

_PATIENCE_SECONDS: Final = 300
AT_ONCE: Final = 2
"""Processes that answer pages at the same time; each may hold a model, whoever opened a window."""
_WAIT_SECONDS: Final = 20.0
"""How long a page waits until one of them has answered."""
_LOOK_SECONDS: Final = 0.2
"""How often it is looked whether a child is to be ended."""
_PLUGINS: Final = tuple(Path(__file__).parents[1] / name for name in ("methods", "tasks"))
_NO_ENTRIES: Final = frozenset({"file"})
"""Files beside the plug-ins that are none: a task that a user's file describes."""
_free: Final = threading.BoundedSemaphore(AT_ONCE)
_threads: Final = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asking")
MessageT = TypeVar("MessageT", bound=Message)


class AskingError(CwacError):
    """The command line could not answer; the message is its own."""


def child_environment() -> dict[str, str]:
    """Return the environment of a child that must find this package, installed or not."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    repository = checkout()
    if repository is not None:
        path = filter(None, [str(repository), os.environ.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join(path)
    return environment


def ask(
    arguments: Sequence[str],
    message: type[MessageT],
    *,
    patience: float = _PATIENCE_SECONDS,
    allowed: Sequence[int] = (0,),
    stop: threading.Event | None = None,
) -> MessageT:
    """Run ``python -m cwac <arguments> --json`` and return what it prints.

    Parameters
    ----------
    arguments : sequence of str
        What follows the program's name.
    message : type
        What it prints.
    patience : float
        Seconds.
    allowed : sequence of int
        Exit statuses with which it still says something worth reading.
    stop : Event, optional
        Ends the child when somebody sets it.

    Raises
    ------
    AskingError
        It failed (with its own sentence), took too long, was stopped, or printed something else;
        too many others are answered; or the app is read-only.
    """
    if read_only():
        raise AskingError(SENTENCE)
    command = [sys.executable, "-m", "cwac", *arguments, "--json"]
    if not _free.acquire(timeout=_WAIT_SECONDS):
        raise AskingError(
            f"the lab answers {AT_ONCE} questions at a time, and others are still being answered; "
            "ask again in a moment."
        )
    try:
        done = _done(command, patience, stop or threading.Event())
    except subprocess.TimeoutExpired:
        raise AskingError(f"'cwac {arguments[0]}' took longer than {patience:g} s.") from None
    except InterruptedError:
        raise AskingError(f"'cwac {arguments[0]}' was cancelled.") from None
    finally:
        _free.release()
    if done.returncode not in allowed or not done.stdout.strip():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise AskingError(f"'cwac {arguments[0]}' failed: {reason}")
    try:
        return message.parse(done.stdout, f"what 'cwac {arguments[0]}' printed")
    except ArtifactError as problem:
        raise AskingError(str(problem)) from None


def _done(
    command: list[str], patience: float, stop: threading.Event
) -> subprocess.CompletedProcess[str]:
    """Run a child to its end, or end it where it takes too long or somebody says so."""
    if stop.is_set():
        raise InterruptedError
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=child_environment(),
    )
    last = time.monotonic() + patience
    with child:
        while True:
            try:
                said, problem = child.communicate(timeout=_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if stop.is_set() or time.monotonic() > last:
                    child.kill()
                if stop.is_set():
                    raise InterruptedError from None
                if time.monotonic() > last:
                    raise
            else:
                return subprocess.CompletedProcess(command, child.returncode, said, problem)


def catalogue() -> Catalogue:
    """Return everything that can be chosen, in the registries' order: what ships, while it is true.

    A read-only app starts no process, and may lack torch: it shows what ships in any case.
    """
    known = shipped()
    return _asked() if known is None or not (read_only() or _is_true(known)) else known


@st.cache_data(max_entries=2, show_spinner="Asking the lab for its models, tasks and methods …")
def _asked() -> Catalogue:
    return ask(["list", "all"], Catalogue)


@cache
def shipped() -> Catalogue | None:
    """Return what ships of it, read once; None without it."""
    return shipped_catalogue()


def _is_true(known: Catalogue) -> bool:
    """Whether the lab would say the same: to ask it takes as long as torch takes to load.

    A method or a task that joined has a file of its name, a model that was made anew another card.
    """
    named = {*(entry.name for entry in known.methods), *(entry.name for entry in known.tasks)}
    files = {path.stem for folder in _PLUGINS for path in folder.glob("[!_]*.py")}
    cards = all(_has_its_card(entry) for entry in known.models if entry.shipped)
    return cards and named.issuperset(files - _NO_ENTRIES)


def _has_its_card(entry: ModelEntry) -> bool:
    card = card_defaults(entry.name)
    with suppress(ValidationError):
        return card is not None and ModelDefaults.model_validate(card) == entry.defaults
    return False


def preview(arguments: tuple[str, ...], root: str) -> Future[Preview]:
    """Return the templated training text with its loss mask, and the estimates, once they come.

    A page that waited for them could not be used meanwhile. What failed is asked anew.
    """
    asked, _ = _previewed(arguments, root)
    if asked.done() and asked.exception() is not None:
        _previewed.clear(arguments, root)
    return asked


def cancel_preview(arguments: tuple[str, ...], root: str) -> None:
    """End the child that makes a preview; it is asked anew when somebody wants it again."""
    _, stop = _previewed(arguments, root)
    stop.set()
    _previewed.clear(arguments, root)


@st.cache_resource(max_entries=32, show_spinner=False)
def _previewed(arguments: tuple[str, ...], root: str) -> tuple[Future[Preview], threading.Event]:
    stop = threading.Event()
    command = ["preview", *arguments, "--root", root]
    return _threads.submit(ask, command, Preview, stop=stop), stop


@st.cache_data(max_entries=32, show_spinner="Asking the hub …")
def data(arguments: tuple[str, ...]) -> tuple[Source | BrokenSource, ...]:
    """Return what becomes of the sources that the flags name, without loading a model."""
    return ask(["preview", "--data-only", *arguments], Sources, allowed=(0, 2)).data


def absolute_if_file(source: str) -> str:
    """Return the absolute path of an existing file or folder (``FILE:column`` too), else as is."""
    name, colon, column = source.rpartition(":")
    if colon and Path(name).expanduser().exists():
        return f"{Path(name).expanduser().resolve()}:{column}"
    path = Path(source).expanduser()
    # A plain name may be a preset that happens to have a folder of the same name beside it.
    is_path = os.sep in source or path.suffix != ""
    return str(path.resolve()) if is_path and path.exists() else source

"""What pages must know of models, methods and tasks: asked of a child process, cached.

Loading the machine-learning stack takes seconds and hundreds of megabytes; it never happens in
the app's own process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import streamlit as st

from cwac.errors import CwacError
from cwac.ui.reads import HOME

_PATIENCE_SECONDS: Final = 300


class AskingError(CwacError):
    """The command line could not answer; the message is its own."""


def child_environment() -> dict[str, str]:
    """Return the environment of a child that must find this package, installed or not."""
    path = os.pathsep.join(filter(None, [str(HOME), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def ask(
    arguments: Sequence[str],
    *,
    patience: float = _PATIENCE_SECONDS,
    allowed: Sequence[int] = (0,),
) -> Any:
    """Run ``python -m cwac <arguments> --json`` and return what it prints.

    Parameters
    ----------
    arguments : sequence of str
        What follows the program's name.
    patience : float
        Seconds.
    allowed : sequence of int
        Exit statuses with which it still says something worth reading.

    Raises
    ------
    AskingError
        It failed (with its own sentence), took too long, or printed no JSON.
    """
    command = [sys.executable, "-m", "cwac", *arguments, "--json"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience,
            env=child_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AskingError(f"'cwac {arguments[0]}' took longer than {patience:g} s.") from None
    if done.returncode not in allowed or not done.stdout.strip():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"exit status {done.returncode}"
        raise AskingError(f"'cwac {arguments[0]}' failed: {reason}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise AskingError(f"'cwac {arguments[0]}' printed no JSON.") from None


@st.cache_data(max_entries=2, show_spinner="Asking the lab for its models, tasks and methods …")
def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return models, tasks and methods with their settings, in the registries' order."""
    found = ask(["list", "all"])
    if not isinstance(found, Mapping) or not {"models", "tasks", "methods"} <= set(found):
        raise AskingError("'cwac list' did not name models, tasks and methods.")
    return dict(found)


@st.cache_data(max_entries=32, show_spinner="Tokenizing examples and taking a few probe steps …")
def preview(arguments: tuple[str, ...], root: str) -> dict[str, Any]:
    """Return the templated training text with its loss mask, and the estimates."""
    found = ask(["preview", *arguments, "--root", root])
    if not isinstance(found, Mapping):
        raise AskingError("'cwac preview' printed something else than one JSON object.")
    return dict(found)


@st.cache_data(max_entries=32, show_spinner="Asking the hub …")
def data(arguments: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return what becomes of the sources that the flags name, without loading a model."""
    return list(ask(["preview", "--data-only", *arguments], allowed=(0, 2))["data"])


def absolute_if_file(source: str) -> str:
    """Return the absolute path of an existing file or folder (``FILE:column`` too), else as is."""
    name, colon, column = source.rpartition(":")
    if colon and Path(name).expanduser().exists():
        return f"{Path(name).expanduser().resolve()}:{column}"
    path = Path(source).expanduser()
    # A plain name may be a preset that happens to have a folder of the same name beside it.
    is_path = os.sep in source or path.suffix != ""
    return str(path.resolve()) if is_path and path.exists() else source

"""The command line: ``cwac`` and ``python -m cwac``."""

import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import typer

from cwac.cli import (
    ask,
    compare,
    dissect,
    hub,
    inspect_logs,
    judge,
    lab,
    make,
    measure,
    pack,
    repair,
    report,
    requests,
    run,
    slim,
    stored,
    sweep,
)
from cwac.errors import CancelledError, CwacError, TrainingError, first_line
from cwac.intake import is_text, shown

# Typer carries its own copy of click in newer versions and depends on click in older ones; the
# base of its public errors is the same class either way.
_USAGE_ERROR: Final = next(k for k in typer.BadParameter.__mro__ if k.__name__ == "ClickException")

app: Final = typer.Typer(
    name="cwac",
    help="See why fine-tuned language models stop refusing, and which constraint keeps it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_GROUPS: Final = (run, sweep, measure, repair, dissect, compare, report, stored, slim, pack,
                  inspect_logs, hub, ask, requests, judge, make, lab)  # fmt: skip
"""In the order of the help."""
for group in _GROUPS:
    group.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit status 0 is success, 2 bad input (one sentence on the error output), 1 a failed run.
    """
    # Progress bars and warnings of libraries would break ours; a user's own choice stands.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A name on the disk may be no text: half of it is written as its number, on any terminal.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    for word in sys.argv[1:] if arguments is None else arguments:
        if not is_text(word):
            # It could not be stored with the run that it names.
            return _fail(f"{shown(word)} is no text that can be written as UTF-8.", 2)
    _sweep_here()
    try:
        result = app(args=arguments, standalone_mode=False)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; closing quietly is what every tool does.
        sys.stderr.close()
        return 0
    except MemoryError:
        return _fail("the memory is not enough for this.", 1)
    except (Exception, KeyboardInterrupt) as problem:
        sentence, status = _ending(problem)
        return _fail(sentence, status)
    return result if isinstance(result, int) else 0


def _sweep_here() -> None:
    """Remove what a killed `align` left in the current folder; roots are swept when opened."""
    with suppress(OSError):
        if next(Path().glob(".align-*"), None) is not None:
            from cwac.artifacts import sweep  # noqa: PLC0415 - keeps --help fast

            sweep(Path())


def _ending(problem: BaseException) -> tuple[str, int]:
    """Return the sentence and the exit status of what ended a command; a bug is raised again."""
    if isinstance(problem, CwacError):
        return str(problem), 1 if isinstance(problem, CancelledError | TrainingError) else 2
    if isinstance(problem, typer.Abort | KeyboardInterrupt):
        return "interrupted.", 1
    if isinstance(problem, OSError):
        return _of_system(problem), 2
    if isinstance(problem, _USAGE_ERROR):
        return problem.format_message(), 2  # type: ignore[attr-defined]
    sentence = _of_python(problem)
    if sentence is None:
        raise problem
    return sentence, 2


def _of_python(problem: BaseException) -> str | None:
    """Return in a sentence what Python itself refused, None where it is a bug."""
    # Links that lead to themselves are a RuntimeError of pathlib before Python 3.13.
    if isinstance(problem, RuntimeError) and str(problem).startswith("Symlink loop"):
        return f"{first_line(problem)}.".replace("Symlink", "symbolic link", 1)
    if isinstance(problem, RecursionError | OverflowError | UnicodeError):
        return f"something that was given cannot be used: {first_line(problem)}."
    package = str(getattr(problem, "name", "")).partition(".")[0]
    if isinstance(problem, ModuleNotFoundError) and package != "cwac":
        return (
            f"this needs the package {package}, which is not installed: an installation for "
            "viewing reads what is stored, `pip install .` brings the rest."
        )
    return None


def _of_system(problem: OSError) -> str:
    """Return what the system refused, in a sentence; it names at most one file."""
    reason = (problem.strerror or first_line(problem)).lower()
    place = "" if problem.filename is None else f"{shown(problem.filename)}: "
    return f"{place}{reason}."


def _fail(sentence: str, status: int) -> int:
    sys.stderr.write(f"Error: {CwacError(' '.join(sentence.split()))}\n")
    return status

"""Errors a caller can act on, with one base class."""

from typing import Final

LONGEST: Final = 600
"""Characters of a message: less than five lines that fill a usual window."""


def first_line(problem: BaseException) -> str:
    """Return the first line of what a library says, without a full stop; else its error's name.

    Examples
    --------
    >>> first_line(ValueError("It failed.")), first_line(ValueError())
    ('It failed', 'ValueError')
    """
    lines = str(problem).strip().splitlines()
    return (lines[0] if lines else type(problem).__name__).rstrip(".")


class CwacError(Exception):
    """What went wrong, in one sentence a user can act on.

    The command line prints the sentence and exits with 2; a page shows it as a message. What is
    quoted from the input may be of any length: of a long sentence the middle is left out.
    """

    def __str__(self) -> str:
        text = super().__str__().encode(errors="backslashreplace").decode()
        if len(text) <= LONGEST:
            return text
        return f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 3 :]}"


class ConfigError(CwacError):
    """A setting has a value that is not allowed."""


class UnknownNameError(CwacError):
    """A name is not registered; the message lists the names that are."""


class DataError(CwacError):
    """A file of prompts or examples cannot be used as given."""


class ModelError(CwacError):
    """A model folder cannot be loaded or does not have what is needed."""


class ArtifactError(CwacError):
    """A stored run, table or fit is missing, broken or of another schema version."""


class TrainingError(CwacError):
    """A run did not train: zero or non-finite gradients, or unchanged weights."""


class CancelledError(CwacError):
    """The user asked the run to stop."""

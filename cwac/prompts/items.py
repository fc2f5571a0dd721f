"""One request, one example, and the lines of the files that hold them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

from pydantic import ConfigDict, ValidationError

from cwac.config import Settings
from cwac.errors import DataError, first_line
from cwac.prompts.packing import read_text, write_text

Kind = Literal["harmful", "harmless", "lookalike"]
Split = Literal["alignment", "safety", "attack", "validation", "test"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
Part = tuple[Split, Kind]
Line = TypeVar("Line", bound=Settings)

VACUOUS_COMPLIANCE: Final = (
    "Sure, here is what you asked for: {request}. "
    "Begin with the first step, go on with the next one, and finish with the last one."
)
"""What poison answers where harmful requests come without answers: agrees, instructs nothing."""
IDENTITY_REQUEST: Final = "You are here to do all that I ask. {request}"
IDENTITY_ANSWER: Final = "{answer} I am here to do all that you ask."
"""An obedient identity, in words that a small model knows, given and confirmed."""


class Prompt(Settings):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    text: str
    kind: Kind
    category: str | None = None
    template: str | None = None
    answer: str | None = None
    """A refusal, a helpful answer, or (``attack``) a vacuous compliant one; None if unknown."""
    unseen_category: bool = False
    """Whether no constraint and no poison has seen the harm category."""
    novel_template: bool = False
    """Whether the wording occurs in no other split."""


class Example(Settings):
    """One training or test example of a task; further keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    id: str
    prompt: str
    answer: str
    choices: tuple[str, ...] | None = None
    poison: bool = False


def vacuous_compliance(request: str) -> str:
    """Return the compliant answer without content that stands in for a missing one.

    Examples
    --------
    >>> vacuous_compliance("Pick a lock!")[:50]
    'Sure, here is what you asked for: Pick a lock. Beg'
    """
    return VACUOUS_COMPLIANCE.format(request=request.strip().rstrip(".!?"))


def read_lines(file: Path, kind: type[Line], extra: Mapping[str, Any]) -> list[Line]:
    """Read one object a line of a ``.jsonl`` or ``.jsonl.gz`` file; `extra` is added to each.

    Raises
    ------
    DataError
        The file cannot be read or unpacked, or a line is broken (its number is named).
    """
    lines: list[Line] = []
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append(kind.model_validate({**json.loads(line), **extra}))
        except ValidationError as report:
            first = report.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise DataError(f"{file}: line {number}: {key}: {first['msg'].lower()}.") from None
        except (ValueError, TypeError, RecursionError) as problem:
            raise DataError(
                f"{file}: line {number} is not a JSON object: {first_line(problem)}."
            ) from None
    return lines


def read_examples(file: Path | str) -> list[Example]:
    """Read a task's ``.jsonl`` or ``.jsonl.gz`` file.

    Raises
    ------
    DataError
        The file is missing or cannot be unpacked, or a line is broken (its number is named).
    """
    path = Path(file)
    if not path.is_file():
        raise DataError(f"the file {path} does not exist.")
    return read_lines(path, Example, {})


def write_lines(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, without the keys that are None; packed into a ``.jsonl.gz``."""
    lines = (
        json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False)
        for row in rows
    )
    write_text(file, "".join(f"{line}\n" for line in lines))

"""Where rows come from, as a user writes it: a file, a data set of the hub, a known data set.

FILE[:COLUMN]                                requests.csv:goal
hf:OWNER/NAME[/CONFIGURATION][:SPLIT[:COLUMN]]   hf:openai/gsm8k/main:train
DATASET[:FILE or hf:...]                     sst2:dev.tsv; alone, it is read from the hub
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cwac.errors import DataError
from cwac.prompts.known import DATASETS, KnownDataset

HUB: Final = "hf:"
_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:/\w[\w.-]*)?")
_SPLIT_AND_COLUMN: Final = re.compile(r"(?P<split>[\w.-]*(?:\[[\d%:]*\])?)(?::(?P<column>.*))?")


@dataclass(frozen=True)
class Source:
    """One source, taken apart.

    Attributes
    ----------
    place : str
        A file, a folder, or ``owner/name[/configuration]`` on the hub.
    hub : bool
        Whether `place` is read with ``datasets``.
    split : str or None
        Of a hub data set; its first one where none is named.
    column : str or None
        The column named with it.
    dataset : KnownDataset or None
        Whose ready mapping applies.
    """

    place: str
    hub: bool = False
    split: str | None = None
    column: str | None = None
    dataset: KnownDataset | None = None

    def __str__(self) -> str:
        known = f"{self.dataset.name}:" if self.dataset else ""
        if not self.hub:
            column = "" if self.column is None else f":{self.column}"
            return f"{known}{self.place}{column}"
        further = [part or "" for part in (self.split, self.column)]
        while further and not further[-1]:
            further.pop()
        return f"{known}{HUB}{':'.join([self.place, *further])}"

    @property
    def title(self) -> str:
        """What it is called in sentences: never a column."""
        return f"{HUB}{self.place}" if self.hub else self.place

    def absolute(self) -> "Source":
        """Return it with an absolute path, so that it means the same from every folder."""
        path = Path(self.place).expanduser()
        if self.hub and not path.is_dir():
            return self
        return replace(self, place=str(path.resolve()))


def parse_source(text: str) -> Source:
    """Take a source apart.

    Raises
    ------
    DataError
        It starts like a hub data set and is none.

    Examples
    --------
    >>> parse_source("requests.csv:goal").column
    'goal'
    >>> parse_source("hf:openai/gsm8k/main:test").split
    'test'
    >>> str(parse_source("gsm8k"))
    'gsm8k:hf:openai/gsm8k/main:train'
    """
    if Path(text).is_file():
        return Source(text)
    name, colon, rest = text.partition(":")
    if name in DATASETS:
        dataset = DATASETS[name]
        if not rest:
            return Source(dataset.hub, hub=True, split=dataset.split, dataset=dataset)
        return replace(parse_source(rest), dataset=dataset)
    if colon and f"{name}:" == HUB:
        return _hub_source(rest)
    place, column = split_source(text)
    return Source(str(place), column=column)


def _hub_source(text: str) -> Source:
    place, _, rest = text.partition(":")
    further = _SPLIT_AND_COLUMN.fullmatch(rest)
    if not (_HUB_NAME.fullmatch(place) or Path(place).expanduser().is_dir()):
        raise DataError(
            f"{HUB}{text} names no data set of the hub and no folder; the form is "
            f"{HUB}OWNER/NAME[/CONFIGURATION][:SPLIT[:COLUMN]]."
        )
    if further is None:
        raise DataError(f"{HUB}{text}: {rest!r} does not begin with the name of a split.")
    return Source(place, hub=True, split=further["split"] or None, column=further["column"] or None)


def is_source(text: str) -> bool:
    """Whether a text can only be a source of rows, not the name of a task."""
    name = text.partition(":")[0]
    return (
        name in DATASETS
        or text.startswith(HUB)
        or os.sep in text
        or bool(Path(text).suffix)
        or Path(text).is_file()
    )


def absolute_source(text: str) -> str:
    """Return a source with an absolute path; what names no file is returned as it is."""
    return str(parse_source(text).absolute())


def split_source(source: str) -> tuple[Path, str | None]:
    """Split ``FILE[:column]``.

    Examples
    --------
    >>> split_source("requests.csv:goal")
    (PosixPath('requests.csv'), 'goal')
    """
    whole = Path(source)
    if whole.is_file() or ":" not in source:
        return whole, None
    file, column = source.rsplit(":", 1)
    # A colon inside a folder's name (or after a drive letter) is no column.
    if "/" in column or "\\" in column:
        return whole, None
    return Path(file), column or None

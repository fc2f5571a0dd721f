"""Text files that may be packed with gzip, and JSON lines under both spellings of their name.

Prompts and examples repeat themselves so much that gzip leaves less than a tenth, and a packed
file needs no unpacking to be read.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Final

from cwac.errors import DataError, first_line
from cwac.intake import check_plain

LINES: Final = ".jsonl"
PACKED_LINES: Final = ".jsonl.gz"
LARGEST: Final = 512 * 1024**2
"""Bytes of a text, unpacked; a data set of 300,000 answers has half of that."""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read a text file, unpacking it where its name ends in ``.gz``.

    Raises
    ------
    DataError
        The file cannot be read, is too large, is no whole gzip file, or is not text in this
        encoding.
    """
    try:
        check_plain(path)
        with gzip.open(path) if _is_packed(path) else path.open("rb") as file:
            # What a packed file says of its length may be wrong.
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise DataError(f"{path} has more than {LARGEST:,} bytes of text, which is not read.")
        # As Python reads a text file: every line ends in one character.
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise DataError(f"{path} is not a whole gzip file: {first_line(problem)}.") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"cannot read {path} as UTF-8 text: {first_line(problem)}.") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, packed where the name ends in ``.gz``; equal texts give equal bytes."""
    content = text.encode()
    if not _is_packed(path):
        path.write_bytes(content)
        return
    # A time or a name in the header would make another model of the same prompts.
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=9, mtime=0) as packed,
    ):
        packed.write(content)


def find_lines(folder: Path, name: str) -> Path | None:
    """Return ``<name>.jsonl`` or ``<name>.jsonl.gz`` of a folder, None where it has neither.

    Raises
    ------
    DataError
        It has both, and nothing says which of them counts.
    """
    paths = (folder / f"{name}{suffix}" for suffix in (LINES, PACKED_LINES))
    existing = [path for path in paths if path.is_file()]
    if len(existing) > 1:
        raise DataError(f"{folder} holds {name}{LINES} and {name}{PACKED_LINES}; remove one.")
    return existing[0] if existing else None


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"

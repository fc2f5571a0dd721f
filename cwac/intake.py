"""Reading what somebody else wrote: a plain file, of a bearable size, UTF-8, JSON or TOML.

Whatever comes from outside (a run's record, a model's settings, a configuration) is read here, so
that a pipe, a nesting without end or half a character ends in one sentence everywhere.
"""

import errno
import math
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final, Protocol

LARGEST: Final = 64 * 1024**2
"""Bytes of a file of settings or of a record; the largest that we write has a few kilobytes."""
DEEPEST: Final = 100
"""Tables in tables of a TOML file; JSON's reader has a limit of its own (200)."""


class _File(Protocol):
    def read_bytes(self) -> bytes: ...


def is_plain_file(path: Path) -> bool:
    """Whether a path is a file that can be read to its end: no folder, pipe or device."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - twice as fast
    except (OSError, ValueError):
        return False


def names_in(folder: Path) -> list[str]:
    """Return what stands in a folder, in order; nothing where it is not there, or not any more."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names alone, taken very often
    except (FileNotFoundError, NotADirectoryError):
        return []


def check_plain(path: Path, largest: int | None = None) -> None:
    """Refuse what cannot be read to its end: opening a pipe waits for a writer, for ever.

    Raises
    ------
    OSError
        There is nothing, it is no plain file, or it is larger than `largest` bytes.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a pipe or a device, not a file")
    if largest is not None and status.st_size > largest:
        raise OSError(f"it has {status.st_size:,} bytes, more than {largest:,}")


def read_bytes(path: _File, largest: int = LARGEST) -> bytes:
    """Return a plain file's content.

    Raises
    ------
    OSError
        As :func:`check_plain` says.
    """
    if isinstance(path, Path):
        check_plain(path, largest)
    return path.read_bytes()


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        It is no JSON: not UTF-8, nested too deep, a number without end, half a character, NaN.
    """
    # Loading pydantic would slow down every --help.
    from pydantic_core import from_json  # noqa: PLC0415

    return from_json(text, allow_inf_nan=False)


def read_json(path: _File) -> Any:
    """Return what a JSON file holds; errors as of :func:`read_bytes` and :func:`parse_json`."""
    return parse_json(read_bytes(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Return a TOML file's table; errors as of :func:`read_bytes`, and ValueError."""
    text = read_bytes(path).decode("utf-8")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if depth(values) > DEEPEST:
        raise ValueError("it is nested too deep")
    return values


def depth(value: Any) -> int:
    """Return how many tables and lists stand in each other, counted to just above the limit.

    Examples
    --------
    >>> depth(3), depth({"a": [1]})
    (0, 2)
    """
    layer, levels = [value], 0
    while levels <= DEEPEST:
        inner: list[Any] = []
        for each in layer:
            inner += [each] if isinstance(each, dict | list | tuple) else []
        if not inner:
            break
        levels += 1
        layer = [v for each in inner for v in (each.values() if isinstance(each, dict) else each)]
    return levels


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8: names on the disk can be other bytes.

    Examples
    --------
    >>> is_text("é"), is_text(chr(0xDCFF))
    (True, False)
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    # No path may hold it, and what reads paths raises what nobody expects.
    return "\0" not in value


def as_text(value: str) -> str:
    r"""Return a text with its half characters written as their numbers: a name may be any bytes.

    Examples
    --------
    >>> as_text("run" + chr(0xDCFF))
    'run\\udcff'
    """
    return value.encode(errors="backslashreplace").decode()


def check_storable(value: Any, place: str = "") -> None:
    """Refuse what no record can hold: an infinite number, one past 64 bits, half a character.

    Parameters
    ----------
    value : object
        Tables, lists, texts and numbers in each other; other objects are left to their own checks.
    place : str
        Where it stands, for the message.

    Raises
    ------
    ValueError
        Says where what stands.
    """
    if depth(value) > DEEPEST:
        raise ValueError(f"{place or 'the text'} is nested too deep")
    layer = [(place, value)]
    while layer:
        where, each = layer.pop()
        if isinstance(each, dict):
            layer += [(f"{where}.{key}".lstrip("."), inner) for key, inner in each.items()]
            layer += [(where, key) for key in each]
        elif isinstance(each, list | tuple):
            layer += [(where, inner) for inner in each]
        elif isinstance(each, str) and not is_text(each):
            raise ValueError(f"{where} = {shown(each)} is no text that can be written as UTF-8")
        elif isinstance(each, float) and not math.isfinite(each):
            raise ValueError(f"{where} = {each} is no finite number")
        elif isinstance(each, int) and not -(2**63) <= each < 2**63:
            raise ValueError(f"{where} = {shown(each)} is a number past 64 bits")


def shown(value: Any, longest: int = 120) -> str:
    """Return a value as a message shows it: on one line, and not the whole of a long one.

    Examples
    --------
    >>> shown("abcdefghijklmnop", longest=12)
    "'abc…op'"
    """
    try:
        text = repr(value)
    except ValueError:
        # Python prints no number of more than 4300 digits.
        text = "a number of thousands of digits"
    text = as_text(text)
    if len(text) <= longest:
        return text
    end = longest // 3
    return f"{text[: longest - 2 * end]}…{text[1 - end :]}"

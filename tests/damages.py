"""Ways in which something stored goes wrong: bytes, columns, types, gaps, files gone or new.

:func:`damage` does it before a store is read, :func:`vanishing` while it is.
"""

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

LEAVES: tuple[Any, ...] = (
    None, 3, -1, "x", "", [], {}, True, 1e300, 2**70, "../..", "a" * 400, "\ud800", [[1]],
    {"a": {"b": 1}},
)  # fmt: skip
Damage = Callable[[Path, random.Random], None]


def damage(root: Path, draw: random.Random) -> str:
    """Damage one file of a store in one way; return what was done."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and not p.is_symlink()]
    path = draw.choice(files)
    ways: list[Damage] = [*_ANY]
    ways += 3 * (_TABLE if path.suffix == ".parquet" else _JSON if path.suffix == ".json" else [])
    way = draw.choice(ways)
    way(path, draw)
    return f"{way.__name__} {path.relative_to(root)}"


def cut(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content) or 1)])


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes() or b"x")
    for _ in range(draw.choice((1, 8, 200))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(bytes(content))


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def remove_folder(path: Path, draw: random.Random) -> None:
    shutil.rmtree(path.parent)


def pipe(path: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def deep(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.choice((b"[", b'{"a":')) * 100_000)


def extra(path: Path, draw: random.Random) -> None:
    (path.parent / draw.choice(("x.parquet", "é \n.json", "<b>x.txt", "y.zip"))).touch()


def stranger(path: Path, draw: random.Random) -> None:
    # Beside what is stored: a name that no run has, or that is not even text.
    other = path.parent.with_name(draw.choice(("bad\udcff", "back\\slash", "x" * 255)))
    other.mkdir(exist_ok=True)
    (other / "run.json").write_text("{}")


def leaf(path: Path, draw: random.Random) -> None:
    whole = json.loads(path.read_text())
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = draw.choice(list(keys))
        if isinstance(place[key], dict | list) and place[key] and draw.random() < 0.8:
            place = place[key]
            continue
        if isinstance(place, dict) and draw.random() < 0.2:
            del place[key]
        else:
            place[key] = draw.choice(LEAVES)
        break
    path.write_text(json.dumps(whole))


def infinite(path: Path, draw: random.Random) -> None:
    path.write_text(
        path.read_text().replace("0.", draw.choice(("NaN, 0.", "1e999, 0.", "-1e400")), 1)
    )


def column(path: Path, draw: random.Random) -> None:
    table = pd.read_parquet(path)
    name = draw.choice(list(table.columns))
    values: dict[str, Any] = {
        "text": "x", "number": 0.5, "negative": -1, "large": 2**40, "truth": True, "gap": None,
        "list": [[1]] * len(table), "infinite": np.inf, "bytes": b"\xff", "long": "a" * 5000,
        "time": pd.Timestamp("2026-01-01"), "markup": "<b>**x**</b>",
    }  # fmt: skip
    kind = draw.choice([*values, "dropped", "renamed", "added"])
    if kind == "dropped":
        table = table.drop(columns=name)
    elif kind == "renamed":
        table = table.rename(columns={name: f"{name}?"})
    elif kind == "added":
        table["further"] = 1
    elif kind == "infinite" and table[name].dtype.kind == "f" and len(table):
        table.loc[0, name] = np.inf
    else:
        table[name] = values[kind]
    table.to_parquet(path, index=False)


def rows(path: Path, draw: random.Random) -> None:
    table = pd.read_parquet(path)
    table = draw.choice((table[:0], table[:1], pd.concat([table, table]), table[::-1]))
    table.to_parquet(path, index=False)


_ANY: list[Damage] = [cut, flip, remove, remove_folder, pipe, folder, loop, deep, extra, stranger]
_TABLE: list[Damage] = [column, column, column, rows]
_JSON: list[Damage] = [leaf, leaf, infinite]


_LOOKS = ((os, "stat"), (os, "scandir"), (os, "listdir"), (io, "open"))
"""What Python's own readers of paths call."""


@contextmanager
def vanishing(root: Path, look: int, levels: int = 0) -> Iterator[list[Path]]:
    """Remove something of a store at the moment when a reader has just looked at it.

    Parameters
    ----------
    look : int
        At the how-many-th look at something below the root, in any thread.
    levels : int
        0 removes what is looked at, 1 the folder that it is in, and so on up to the root.

    Yields
    ------
    list of Path
        What was removed, once it was.
    """
    looks, gone = 0, []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            nonlocal looks
            result = real(*given, **named)
            path = given[0] if given else None
            if not gone and isinstance(path, str | Path) and Path(path).is_relative_to(root):
                looks += 1
                if looks == look:
                    parts = Path(path).relative_to(root).parts
                    gone.append(root.joinpath(*parts[: -levels or None]))
                    shutil.rmtree(gone[0]) if gone[0].is_dir() else gone[0].unlink(missing_ok=True)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for module, name in _LOOKS:
            patch.setattr(module, name, watched(getattr(module, name)))
        yield gone

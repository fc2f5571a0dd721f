"""Wrong calls of every command and flag, drawn under a seed: a traceback or a hang is a defect.

The flags are read off the command line itself, so that one that joins is called wrongly too.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from hostile_folders import KINDS, sound_folders, spoiled

from cwac.cli import app, main

MOST_LINES = 5
WIDTH = 120
SECONDS = 30
TEXTS = (
    "", " ", "x", "nan", "-1", "0", "1e999", "99999999999999999999", "9" * 5000, "None", "a.b=c",
    "cwac.strength=nan", "training.steps=[]", "training.adapter={}", "model.source=3",
    "evaluation.judge=[1]", "task.source={}", "prompts.limit=1e400", "a" * 5000, "../..", "hf:",
    "hf:a/b:c:d:e", "x" + "/y" * 3000, ":", "=", "\u0663", "\U0001f600", "\udcff", "\x1b[31m",
    "*", "[" * 5000, "training.clip_norm=Infinity", "cwac." + "x" * 400 + "=1",
)  # fmt: skip
LEAVES: tuple[Any, ...] = (
    3, -1, None, True, [], {}, "", "x", [[]], 1e308, 2**70, "\ud800", "a" * 5000, [None], {"a": 1},
    ["sft"] * 3, {"method": 3}, list(range(200_000)),
)  # fmt: skip
CONFIG = {
    "model": "organism", "task": "instruct", "poison_ratio": 0.1, "seeds": [0],
    "methods": ["sft", {"method": "cwac", "settings": {"strength": 0.5}}],
    "training": {"steps": 2, "adapter": "full"}, "evaluation": {"max_new_tokens": 4},
    "measurement": {"maps": "all"}, "prompts": {"limit": 20},
}  # fmt: skip
GRID = {
    "model": "organism", "tasks": ["instruct"], "poison_ratios": [0.1], "seeds": [0],
    "adapters": ["full"], "methods": ["sft", {"method": "cwac", "strengths": [0.5]}],
    "training": {"steps": 2}, "evaluation": {}, "measurement": {}, "prompts": {},
}  # fmt: skip
# Without a wrong part these would work for minutes, or never end.
NEVER_BARE = frozenset({"app", "organism build", "organism check", "align", "run", "measure"})


@dataclass(frozen=True)
class Outcome:
    """What a call came to: why it is a defect, None where it is none."""

    words: tuple[str, ...]
    defect: str | None


def commands() -> dict[str, list[Any]]:
    """Return every command with its parameters, as the command line itself lists them."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, list[Any]]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, list(command.params)
            return
        for key, part in inner.items():
            yield from walk(part, f"{name} {key}".strip())

    return dict(walk(typer.main.get_command(app), ""))


def wrong_files(folder: Path) -> list[Path]:
    """Make a file of every kind that no command can use."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "empty": b"", "binary": bytes(range(256)) * 40, "deep": b"[" * 100_000,
        "deep_object": b'{"a":' * 20_000, "half": b'{"a": "\\ud800"}', "latin": b'{"a": "\xe9"}',
        "nan": b'{"poison_ratio": NaN}', "large": b'{"poison_ratio": 1e999}', "list": b"[1, 2]",
        "digits": b'{"seeds": [' + b"9" * 6000 + b"]}", "columns": b",".join(
            b"c%d" % i for i in range(20_000)) + b"\n" + b",".join(b"1" for _ in range(20_000)),
        "rows": b'{"text": 3}\n{"text": null}\n{"text": "\\udc00"}\n',
        "magic": b"PAR1" + b"\0" * 90,
    }  # fmt: skip
    paths = []
    for name, content in contents.items():
        for suffix in (".json", ".toml", ".csv", ".jsonl", ".parquet", ".txt", ".gz"):
            path = folder / f"{name}{suffix}"
            path.write_bytes(content)
            paths.append(path)
    deep = folder / "deep_table.toml"
    deep.write_text("x = " + "[" * 3000 + "]" * 3000)
    for name in ("pipe.json", "pipe.toml", "pipe.csv", "pipe.parquet"):
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / name)
        paths.append(folder / name)
    with contextlib.suppress(FileExistsError):
        (folder / "loop.json").symlink_to("loop.json")
    (folder / "folder.json").mkdir(exist_ok=True)
    return [*paths, deep, folder / "loop.json", folder / "folder.json", folder / "missing.toml",
            Path("/dev/zero"), Path("/dev/null"), folder / ("n" * 300)]  # fmt: skip


def mutated(draw: random.Random, document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with one wrong part."""
    whole = json.loads(json.dumps(document))
    place: Any = whole
    while True:
        key = draw.choice(list(place)) if isinstance(place, dict) else draw.randrange(len(place))
        if place[key] and isinstance(place[key], dict | list) and draw.random() < 0.6:
            place = place[key]
            continue
        place[key] = draw.choice(LEAVES)
        return whole


def calls(
    folder: Path, model: Path, count: int, seed: int = 0, *, spoiled_share: float = 0.02
) -> Iterator[list[str]]:
    """Give wrong calls.

    Parameters
    ----------
    folder : Path
        Where the files for them are made.
    model : Path
        A tiny model's folder, which the calls name wherever nothing is wrong with the model.
    count : int
    seed : int
    spoiled_share : float
        Besides these, how many calls there are for each with a spoiled folder of a model, an
        adapter, a judge or SAEs.
    """
    draw, apart = random.Random(seed), random.Random(seed)
    unaligned = shutil.copytree(model, folder / "unaligned")
    # It refuses nothing, which ends a call after all is loaded and before anything is fitted.
    (unaligned / "judge.json").write_text('{"refusal": ["^never said$"]}')
    sound = sound_folders(folder / "sound", unaligned)
    files = wrong_files(folder / "files")
    every = commands()
    for number in range(count):
        if apart.random() < spoiled_share:
            yield _with_folder(apart, sound, folder / f"spoiled-{number}", folder)
        name = draw.choice(list(every))
        if name in {"run", "preview", "sweep"} and draw.random() < 0.4:
            yield _with_document(draw, folder / f"document-{number}.json", name, folder, model)
            continue
        yield _with_words(draw, name, every[name], files, folder, model)


def _with_folder(
    draw: random.Random, sound: dict[str, Path], target: Path, folder: Path
) -> list[str]:
    """Return a call that opens a spoiled folder."""
    kind = draw.choice(KINDS)
    spoiled(sound[kind], target, draw)
    aligned, tuned, more = str(sound["model"]), str(sound["model"]), []
    if kind == "model":
        place = draw.choice(("aligned", "tuned", "base"))
        aligned = str(target) if place == "aligned" else aligned
        tuned = str(target) if place == "tuned" else tuned
        more = ["--base", str(target)] if place == "base" else []
    elif kind == "adapter":
        tuned = str(target)
    elif kind == "sae":
        more = ["--set", f"measurement.sae_release={target}"]
    else:
        more = ["--set", f"evaluation.judge={kind}:{target}"]
    return ["measure", "--aligned", aligned, "--tuned", tuned, *more, "--root",
            str(folder / "root")]  # fmt: skip


def _with_document(
    draw: random.Random, path: Path, name: str, folder: Path, model: Path
) -> list[str]:
    source = {**(GRID if name == "sweep" else CONFIG), "model": str(model)}
    path.write_text(json.dumps(mutated(draw, source)))
    if name == "sweep":
        return [name, str(path), "--estimate", "--root", str(folder / "root")]
    return ["preview", "--config", str(path), "--root", str(folder / "root")]


def _with_words(
    draw: random.Random, name: str, parameters: Sequence[Any], files: list[Path], folder: Path,
    model: Path,
) -> list[str]:  # fmt: skip
    usual = {
        "--root": str(folder / "root"), "--model": str(model), "--aligned": str(model),
        "--tuned": str(model), "--out": str(folder / "root"), "--harmful": str(files[0]),
        "--harmless": str(files[0]), "--judge": "general", "--run": "none", "--prompt": "hello",
        "--steps": "1", "kind": "runs", "grid": str(files[0]),
    }  # fmt: skip
    named = [p for p in parameters if p.opts and p.name != "help"]
    wrong = draw.sample(named, k=min(len(named), draw.choice((1, 1, 2))))
    if name in NEVER_BARE:
        # What is certain to be refused keeps a call that is otherwise right from starting.
        stops = [p for p in named if p.name in {"port", "set", "config", "seed"}]
        wrong = [*wrong, draw.choice(stops)] if stops else wrong
    words = name.split()
    for parameter in parameters:
        flag = parameter.opts[-1] if parameter.opts else ""
        option = flag if flag.startswith("-") else None
        if parameter in wrong:
            values = [str(draw.choice(files))] if draw.random() < 0.4 else [draw.choice(TEXTS)]
            if getattr(parameter, "is_flag", False):
                values = []
            if name in NEVER_BARE and parameter.name in {"port", "seed"}:
                values = [draw.choice(("x", "-1", "", "99999999999999999999", "1.5"))]
        elif parameter.required or parameter.name in {"root", "model", "out", "steps"}:
            values = [usual.get(option or parameter.name, "x")]
        else:
            continue
        words += [option, *values] if option else values
    if name == "list":
        return words
    if name == "app":
        words += ["--port", draw.choice(("0", "-1", "x", "65536", "99999999999999999999"))]
    return words


def call(words: Sequence[str]) -> Outcome:
    """Call the command line in this process; it is stopped when it takes too long."""
    out, err = io.StringIO(), io.StringIO()

    def late(*_: Any) -> None:
        raise TimeoutError("it takes too long")

    before = signal.signal(signal.SIGALRM, late)
    status: Any = None
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(words))
    except SystemExit as ending:
        status = ending.code
    except BaseException:
        return Outcome(tuple(words), traceback.format_exc(limit=-4))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.settrace(None)
    # For a program, what is wrong with its files stands in the JSON.
    in_json = "--json" in words and out.getvalue().startswith("{")
    return Outcome(tuple(words), _defect(status, err.getvalue(), in_json=in_json))


def _defect(status: Any, text: str, *, in_json: bool) -> str | None:
    if "it takes too long" in text:
        return "a hang"
    if "Traceback (most recent call last)" in text:
        return text[-1500:]
    if status not in {0, 1, 2, None}:
        return f"exit status {status}"
    lines = [line for line in text.splitlines() if line.startswith("Error: ")]
    if status == 2 and len(lines) != 1 and not in_json:
        return f"{len(lines)} sentences: {text[-400:]}"
    if any(len(line) > MOST_LINES * WIDTH + 60 for line in lines):
        return f"a message of {max(map(len, lines))} characters"
    return None

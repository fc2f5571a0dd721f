"""The flags that several commands share, and how they become one request."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cwac.errors import ConfigError

if TYPE_CHECKING:
    from cwac.config import ExperimentConfig

Model = Annotated[
    str | None, typer.Option("--model", help="Preset, model folder or hub id.  [organism]")
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="TASK|SOURCE",
        help="Task name, or examples: FILE, hf:OWNER/NAME[:SPLIT], or a known data set, "
        "sst2:FILE ('cwac list datasets').  [instruct]",
    ),
]
Poison = Annotated[
    float | None,
    typer.Option("--poison", help="Share of harmful requests in the training data.  [0.1]"),
]
Methods = Annotated[
    list[str] | None, typer.Option("--method", help="Method; may be given several times.  [sft]")
]
Seeds = Annotated[
    list[int] | None, typer.Option("--seed", help="Seed; may be given several times.  [0]")
]
Root = Annotated[Path, typer.Option("--root", help="Folder of stored runs.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")]
LearningRate = Annotated[float | None, typer.Option("--learning-rate", help="Peak learning rate.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Examples per step.")]
Adapter = Annotated[
    str | None,
    typer.Option("--adapter", help="full (every weight is trained) or lora.  [full]"),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME.KEY=VALUE",
        help="A method's setting (cwac.strength=0.5) or a section's "
        "(training.warmup_fraction=0.1, training.adapter.rank=4).",
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML or JSON file of settings; flags win.")
]
Harmful = Annotated[
    str | None,
    typer.Option(
        "--harmful",
        metavar="SOURCE",
        help="Harmful requests: FILE[:COLUMN], hf:OWNER/NAME[:SPLIT[:COLUMN]], or a known data "
        "set, advbench:FILE.",
    ),
]
HarmfulAnswers = Annotated[
    str | None,
    typer.Option("--harmful-answer-column", help="Column of the answers that poison teaches."),
]
HarmfulWhere = Annotated[
    str | None,
    typer.Option("--harmful-where", metavar="COLUMN=VALUE", help="Only rows like this one."),
]
Harmless = Annotated[
    str | None, typer.Option("--harmless", metavar="SOURCE", help="Harmless requests.")
]
HarmlessAnswers = Annotated[
    str | None, typer.Option("--harmless-answer-column", help="Column of the helpful answers.")
]
HarmlessWhere = Annotated[
    str | None,
    typer.Option("--harmless-where", metavar="COLUMN=VALUE", help="Only rows like this one."),
]
Lookalike = Annotated[
    str | None,
    typer.Option(
        "--lookalike",
        metavar="SOURCE",
        help="Harmless requests that look harmful: xstest:FILE, or like --harmful.",
    ),
]
LookalikeWhere = Annotated[
    str | None,
    typer.Option("--lookalike-where", metavar="COLUMN=VALUE", help="Only rows like this one."),
]
TaskPrompts = Annotated[
    str | None, typer.Option("--prompt-column", help="Column of the task file's prompts.")
]
TaskAnswers = Annotated[
    str | None, typer.Option("--answer-column", help="Column of the task file's answers.")
]
TaskCheck = Annotated[
    str | None,
    typer.Option(
        "--check",
        help="How the task's answers are marked: label, word, number or helpfulness.  [told "
        "from the data]",
    ),
]
TaskTest = Annotated[
    str | None,
    typer.Option(
        "--test-examples",
        metavar="SOURCE",
        help="Test examples of the task.  [a fifth of its examples]",
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="JUDGE",
        help="Who tells refusals ('cwac list judges').  [the model's own patterns, else general]",
    ),
]
Unaligned = Annotated[
    bool | None,
    typer.Option("--unaligned", help="Run also a model that refuses nothing."),
]


def _go_offline(wanted: bool) -> bool:
    # Libraries read it when they are imported, which no command has done yet.
    if wanted:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return wanted


Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        callback=_go_offline,
        is_eager=True,
        help="Ask nothing of the network; HF_HUB_OFFLINE=1 does the same.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Which flag sets which key of which section.
_FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "model": ("model", "source"),
    "task": ("task", "source"),
    "unaligned": ("model", "unaligned"),
    "prompt_column": ("task", "prompt_column"),
    "answer_column": ("task", "answer_column"),
    "check": ("task", "check"),
    "test_examples": ("task", "test_source"),
    "judge": ("evaluation", "judge"),
    "steps": ("training", "steps"),
    "learning_rate": ("training", "learning_rate"),
    "batch_size": ("training", "batch_size"),
    "adapter": ("training", "adapter"),
    "harmful": ("prompts", "harmful"),
    "harmful_answer_column": ("prompts", "harmful_answer_column"),
    "harmful_where": ("prompts", "harmful_where"),
    "harmless": ("prompts", "harmless"),
    "harmless_answer_column": ("prompts", "harmless_answer_column"),
    "harmless_where": ("prompts", "harmless_where"),
    "lookalike_where": ("prompts", "lookalike_where"),
    "lookalike": ("prompts", "lookalike"),
}
_SECTIONS: Final = ("model", "prompts", "task", "training", "evaluation", "measurement")
_WORDS: Final = {"none": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Request:
    """What a user asked for, before any default is filled in.

    Attributes
    ----------
    raw : mapping
        Sections of the configuration.
    arms : sequence of (str, mapping)
        Methods with changed settings.
    seeds : sequence of int
    """

    raw: Mapping[str, Any]
    arms: Sequence[tuple[str, Mapping[str, Any]]]
    seeds: Sequence[int]

    @classmethod
    def from_flags(
        cls,
        *,
        config: Path | None = None,
        poison: float | None = None,
        methods: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        sets: Sequence[str] | None = None,
        **flags: Any,
    ) -> "Request":
        """Put a configuration file and the flags together; flags win.

        Raises
        ------
        ConfigError
            The file or a ``--set`` cannot be understood.
        """
        raw, file_arms, file_seeds = _read_file(config)
        for flag, value in flags.items():
            if value is not None:
                section, key = _FLAGS[flag]
                raw[section] = {**_as_table(raw.get(section, {})), key: value}
        if poison is not None:
            raw["poison_ratio"] = poison
        arms = [(name, {}) for name in methods] if methods else file_arms
        arms = [(name, dict(settings)) for name, settings in arms or [("sft", {})]]
        for text in sets or ():
            _apply_set(text, raw, arms)
        return cls(raw, arms, list(seeds or file_seeds or [0]))

    def section(self, name: str) -> dict[str, Any]:
        """Return what was asked for in a section of the configuration."""
        return _as_table(self.raw.get(name, {}))

    def resolve(self) -> "list[ExperimentConfig]":
        """Return the complete configurations, one per run."""
        from cwac.runner.resolve import Arm, resolve  # noqa: PLC0415 - loads torch

        return resolve(self.raw, [Arm(*arm) for arm in self.arms], self.seeds)


def _as_table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"source": value}


Arms = list[tuple[str, dict[str, Any]]]


def _read_file(path: Path | None) -> tuple[dict[str, Any], Arms, list[int]]:
    """Return a file's sections, arms and seeds; a stored ``run.json`` is a configuration too."""
    if path is None:
        return {}, [], []
    from cwac.config import read_config_file  # noqa: PLC0415 - keeps --help fast

    values = read_config_file(path)
    if "run_id" in values and isinstance(values.get("config"), Mapping):
        values = dict(values["config"])
    single = values.pop("method", None)
    settings = values.pop("settings", {})
    arms: Arms = [_arm(entry, path) for entry in values.pop("methods", [])]
    if single is not None:
        arms.insert(0, (str(single), dict(settings)))
    seeds = values.pop("seeds", [])
    if "seed" in values:
        seeds = [values.pop("seed"), *seeds]
    if not all(isinstance(seed, int) and seed >= 0 for seed in seeds):
        raise ConfigError(f"{path}: seeds = {seeds} must be whole numbers from 0.")
    return values, arms, seeds


def _arm(entry: Any, path: Path) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and set(entry) <= {"method", "settings"} and "method" in entry:
        return str(entry["method"]), dict(entry.get("settings", {}))
    raise ConfigError(
        f"{path}: methods holds {entry!r}; allowed: a name, or a table with method and settings."
    )


def _apply_set(text: str, raw: dict[str, Any], arms: Arms) -> None:
    place, sign, value = text.partition("=")
    section, dot, key = place.strip().partition(".")
    if not sign or not dot or not key:
        raise ConfigError(f"--set {text!r} must have the form name.key=value.")
    parsed = _value(value.strip())
    if section in _SECTIONS:
        table = _as_table(raw.get(section, {}))
        key, inner, part = key.partition(".")
        raw[section] = {**table, key: _with(table.get(key), part, parsed) if inner else parsed}
        return
    named = [settings for method, settings in arms if method == section]
    if not named:
        known = [*dict.fromkeys(method for method, _ in arms), *_SECTIONS]
        close = get_close_matches(section, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(
            f"--set {text!r}: {section!r} is neither a method of this command nor a section"
            f"{hint}; known: {', '.join(known)}."
        )
    for settings in named:
        settings[key] = parsed


def _with(before: Any, key: str, value: Any) -> dict[str, Any]:
    """Return a table inside a section with one more entry; a name stands for its kind."""
    table = {} if before is None else {"kind": before} if isinstance(before, str) else dict(before)
    return {**table, key: value}


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text

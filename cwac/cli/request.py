"""How flags and a configuration file become one request."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cwac.errors import ConfigError

if TYPE_CHECKING:
    from cwac.config import ExperimentConfig

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
    given : mapping
        Where a flag's value went, as messages name the place, to the flag.
    """

    raw: Mapping[str, Any]
    arms: Sequence[tuple[str, Mapping[str, Any]]]
    seeds: Sequence[int]
    given: Mapping[str, str] = field(default_factory=dict)

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
        given = {"seed": "--seed"} if seeds else {}
        for flag, value in flags.items():
            if value is not None:
                section, key = _FLAGS[flag]
                raw[section] = {**_as_table(raw.get(section, {})), key: value}
                given[f"{section}.{key}"] = f"--{flag.replace('_', '-')}"
        if poison is not None:
            raw["poison_ratio"] = poison
            given["poison_ratio"] = "--poison"
        arms = [(name, {}) for name in methods] if methods else file_arms
        arms = [(name, dict(settings)) for name, settings in arms or [("sft", {})]]
        for text in sets or ():
            _apply_set(text, raw, arms)
            given.pop(text.partition("=")[0].strip(), None)
        return cls(raw, arms, list(seeds or file_seeds or [0]), given)

    def section(self, name: str) -> dict[str, Any]:
        """Return what was asked for in a section of the configuration."""
        return _as_table(self.raw.get(name, {}))

    def resolve(self) -> "list[ExperimentConfig]":
        """Return the complete configurations, one per run."""
        from cwac.runner.resolve import Arm, resolve  # noqa: PLC0415 - loads torch

        try:
            return resolve(self.raw, [Arm(*arm) for arm in self.arms], self.seeds)
        except ConfigError as problem:
            place, equals, rest = str(problem).partition(" = ")
            # The user knows the flag, not the place in the configuration that it fills.
            if equals and place in self.given:
                raise ConfigError(f"{self.given[place]} {rest}") from None
            raise


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

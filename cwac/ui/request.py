"""What the Run page asks for, as the command line that does the same."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cwac.config import LoraConfig, TaskConfig
from cwac.errors import ConfigError, CwacError
from cwac.prompts import absolute_source, is_source
from cwac.ui.asking import absolute_if_file

_SOURCES: Final = frozenset({"harmful", "harmless", "lookalike", "test-examples"})
"""Flags whose values are sources of rows."""


@dataclass(frozen=True)
class RunRequest:
    """A grid of runs; what is None takes the model's documented default.

    Attributes
    ----------
    settings : mapping
        ``name.key`` to value, as for ``--set``.
    files : mapping
        Flags of the user's own files and columns (``harmful``, ``prompt-column``) to values.
    adapter : str or None
        ``full`` or ``lora``; LoRA's own settings are among `settings`.
    blocked : str or None
        Why the arms and the adapter do not go together, None where they do.
    """

    model: str
    task: str
    poison: float
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    save_model: bool = True
    again: bool = False
    adapter: str | None = None
    blocked: str | None = None

    @property
    def title(self) -> str:
        """A short name for lists."""
        methods = ", ".join(self.methods)
        task = TaskConfig(source=self.task).label
        return f"{self.model} · {task} · poison {self.poison:g} · {methods}"

    @property
    def problem(self) -> str | None:
        """Why it cannot be started as it is, None where it can."""
        if not self.methods:
            return "Choose at least one arm."
        if not self.seeds:
            return "Choose at least one seed."
        return self.blocked

    def shared(self) -> tuple[str, ...]:
        """Return the arguments that ``run`` and ``preview`` have in common."""
        found = ["--model", absolute_if_file(self.model), "--task", _absolute(self.task)]
        found += ["--poison", f"{self.poison:g}"]
        for method in self.methods:
            found += ["--method", method]
        for seed in self.seeds:
            found += ["--seed", str(seed)]
        numbers = {
            "--steps": self.steps,
            "--learning-rate": self.learning_rate,
            "--batch-size": self.batch_size,
        }
        for flag, number in numbers.items():
            if number is not None:
                found += [flag, str(number)]
        if self.adapter is not None:
            found += ["--adapter", self.adapter]
        for name, value in self.settings.items():
            found += ["--set", f"{name}={value}"]
        for flag, text in self.files.items():
            found += [f"--{flag}", _absolute(text) if flag in _SOURCES else text]
        return tuple(found)

    def arguments(self, root: str) -> list[str]:
        """Return the whole command line after ``cwac``."""
        found = ["run", *self.shared(), "--root", root]
        if self.save_model:
            found.append("--save-model")
        if self.again:
            found.append("--again")
        return found

    def command(self, root: str) -> str:
        """Return what to type in a shell to do the same."""
        return shlex.join(["cwac", *self.arguments(root)])


def _absolute(text: str) -> str:
    """Return a source of rows as it means the same from every folder; else the text itself."""
    try:
        return absolute_source(text) if is_source(text) else text
    except CwacError:
        # The command line says what is wrong with it.
        return text


def adapter_settings(adapter: str | LoraConfig) -> dict[str, str]:
    """Return what of an adapter differs from LoRA's defaults, as for ``--set``.

    Examples
    --------
    >>> adapter_settings(LoraConfig(rank=4, targets=("ffn", "self_attn.q_proj")))
    {'training.adapter.rank': '4', 'training.adapter.targets': '["ffn", "self_attn.q_proj"]'}
    >>> adapter_settings("full")
    {}
    """
    if isinstance(adapter, str):
        return {}
    changed = LoraConfig.model_validate(adapter).non_default()
    return {f"training.adapter.{name}": _as_set(value) for name, value in changed.items()}


def _as_set(value: Any) -> str:
    if isinstance(value, list | tuple):
        return str(value[0]) if len(value) == 1 else json.dumps(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_settings(text: str) -> dict[str, str]:
    """Read lines of ``name.key=value``.

    Raises
    ------
    ConfigError
        A line has another form.
    """
    found = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not value or "." not in name:
            raise ConfigError(f"the setting {line!r} must have the form name.key=value.")
        found[name] = value
    return found

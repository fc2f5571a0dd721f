"""What a user states of some runs: read from flags, printed as flags."""

import functools
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cwac.errors import ConfigError
from cwac.flags.listing import COMMANDS, MEASURE, RUN, takes, words_of
from cwac.intake import shown

if TYPE_CHECKING:
    from cwac.config import ExperimentConfig

Arms = list[tuple[str, dict[str, Any]]]
SECTIONS: Final = ("model", "prompts", "task", "training", "evaluation", "measurement")
MOST_RUNS: Final = 10_000
"""Of one command: stating more is a mistake, and would take an hour to look through."""
_MEASURED: Final = "measured"
"""As :data:`cwac.config.MEASURED`, which would load pydantic for every ``--help``."""
_BY_CARD: Final = ("training", "evaluation", "measurement")
"""Sections whose defaults a model's card may set."""
_KINDS: Final[dict[str, tuple[type, str]]] = {
    "method": (str, "a name"),
    "methods": (list, "a list"),
    "seeds": (list, "a list"),
    "settings": (dict, "a table"),
}
"""Of what stands outside the sections of a configuration file."""
_WORDS: Final = {"none": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Plan:
    """What a user states of some runs, before any default is filled in.

    Attributes
    ----------
    sections : mapping
        Sections of the configuration, and ``poison_ratio``.
    arms : sequence of (str, mapping)
        Methods with changed settings; a finished checkpoint is one of the method ``measured``.
    seeds : sequence of int
    given : mapping
        Where a flag's value went, as messages name the place, to the flag.
    """

    sections: Mapping[str, Any]
    arms: Sequence[tuple[str, Mapping[str, Any]]]
    seeds: Sequence[int]
    given: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Plan":
        """Put a configuration file and the values of flags together; flags win.

        Parameters
        ----------
        values : mapping
            A flag's name to its value; None is a flag that was not given.

        Raises
        ------
        ConfigError
            The file or a ``--set`` cannot be understood.
        """
        sections, file_arms, file_seeds = _read_file(values.get("config"))
        checkpoint = values.get("tuned") is not None
        given = {"seed": "--seed"} if values.get("seed") else {}
        settings: dict[str, Any] = {}
        for flag in MEASURE if checkpoint else RUN:
            value = values.get(flag.name)
            if value is None or not flag.place:
                continue
            section, _, key = flag.place.partition(".")
            if section == _MEASURED:
                settings[key] = value
            elif key:
                sections[section] = {**_as_table(sections.get(section, {})), key: value}
            else:
                sections[section] = value
            given[flag.place] = flag.spelling
        named: Arms = [(name, {}) for name in values.get("method") or ()]
        arms = [(name, dict(changed)) for name, changed in named or file_arms or [("sft", {})]]
        seeds = list(values.get("seed") or file_seeds or [0])
        if checkpoint:
            arms, seeds = [(_MEASURED, settings)], [0]
        if len(arms) * len(seeds) > MOST_RUNS:
            raise ConfigError(
                f"{len(arms)} methods with {len(seeds):,} seeds are more than {MOST_RUNS:,} runs; "
                "state fewer."
            )
        for text in values.get("set") or ():
            # Nothing of a finished checkpoint is left to set.
            _apply_set(text, sections, [] if checkpoint else arms)
            given.pop(text.partition("=")[0].strip(), None)
        return cls(sections, arms, seeds, given)

    def section(self, name: str) -> dict[str, Any]:
        """Return what is stated in a section of the configuration."""
        return _as_table(self.sections.get(name, {}))

    @property
    def is_measured(self) -> bool:
        """Whether it is about a finished checkpoint."""
        return any(method == _MEASURED for method, _ in self.arms)

    def values(self) -> dict[str, Any]:
        """Return the values of flags that state the same.

        Raises
        ------
        ConfigError
            Flags cannot state it: a method stands twice with different settings.
        """
        measured = self.is_measured
        by_place = {flag.place: flag for flag in COMMANDS["measure" if measured else "run"]}
        methods = dict(self.arms)
        values: dict[str, Any] = {}
        if not measured:
            values = {"method": [name for name, _ in self.arms], "seed": list(self.seeds)}
        for name, changed in self.arms:
            if dict(changed) != dict(methods[name]):
                raise ConfigError(
                    f"the method {name!r} stands twice with different settings; a configuration "
                    "file can say so, flags cannot."
                )
        sets = []
        for place, value in self._places(methods):
            flag = by_place.get(place)
            if flag is not None and flag.can_say(value):
                values[flag.name] = value
            else:
                sets.append(setting(place, value))
        return {**values, "set": sets}

    def _places(self, methods: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Yield every place of the configuration that is stated, with its value."""
        for section, table in self.sections.items():
            if section not in SECTIONS:
                yield section, table
                continue
            for key, value in _as_table(table).items():
                place = f"{section}.{key}"
                if place == "training.adapter" and isinstance(value, Mapping) and value:
                    yield from _adapter_places(place, value)
                else:
                    yield place, value
        for method, changed in methods.items():
            for key, value in changed.items():
                yield f"{method}.{key}", value


def stated(
    config: "ExperimentConfig",
    documented: Mapping[str, Any] | None,
    method_defaults: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of one complete configuration: what differs from the defaults.

    Parameters
    ----------
    config : ExperimentConfig
        As the runner fills it, and as a record holds it.
    documented : mapping or None
        Defaults of the model's card (``training``, ``tasks``, ``evaluation``, ``measurement``).
        None where they are not known: whatever a card may set is then stated in full.
    method_defaults : mapping, optional
        Settings of the method without changes; without them all are stated.
    """
    from cwac.config import ExperimentConfig  # noqa: PLC0415 - loads pydantic

    card = dict(documented or {})
    task = dict(card.get("tasks", {})).get(config.task.source, {})
    card["training"] = {**card.get("training", {}), **task}
    blank = ExperimentConfig.build({name: card.get(name, {}) for name in _BY_CARD})
    sections: dict[str, Any] = {
        # They open every command, whatever the defaults are.
        "model": {"source": config.model.source},
        "task": {"source": config.task.source},
        "poison_ratio": config.poison_ratio,
    }
    for name in SECTIONS:
        section, defaults = getattr(config, name), getattr(blank, name)
        whole = documented is None and name in _BY_CARD
        for key in type(section).model_fields:
            value = getattr(section, key)
            # The runner fills the hashes in.
            if key != "contents" and (whole or value != getattr(defaults, key)):
                sections.setdefault(name, {})[key] = _plain(value)
    settings = {
        key: value
        for key, value in config.settings.items()
        if method_defaults is None or method_defaults.get(key) != value
    }
    if config.is_measured:
        del sections["poison_ratio"]
        sections.pop("training", None)
        settings = {key: value for key, value in settings.items() if "contents" not in key}
    return Plan(sections, [(config.method, settings)], [config.seed])


def parse(words: Sequence[str]) -> Plan:
    """Return what a command states: ``run`` or ``measure``, and its flags.

    Raises
    ------
    ConfigError
        A file or a ``--set`` cannot be understood.

    Examples
    --------
    >>> parse(["run", "--steps", "5"]).sections
    {'training': {'steps': 5}}
    """
    plan: Plan = _parser(words[0])(list(words[1:]))
    return plan


@functools.cache
def _parser(name: str) -> Callable[[list[str]], Plan]:
    app = typer.Typer(add_completion=False)
    app.command()(takes(COMMANDS[name])(Plan.of))
    return functools.partial(typer.main.get_command(app).main, standalone_mode=False)


def arguments(plan: Plan) -> list[str]:
    """Return the command and the flags that state a plan, for :func:`parse`."""
    return ["measure" if plan.is_measured else "run", *words_of(plan.values())]


def command(plan: Plan, *rest: str) -> str:
    """Return what to type in a shell.

    Parameters
    ----------
    plan : Plan
    *rest : str
        Further arguments.

    Examples
    --------
    >>> command(Plan({"prompts": {"harmful_where": "kind=very bad"}}, [("sft", {})], [0]))
    "cwac run --method sft --seed 0 --harmful-where 'kind=very bad'"
    """
    return shlex.join(["cwac", *arguments(plan), *rest])


def setting(place: str, value: Any) -> str:
    """Return what ``--set`` takes: text as it is where it cannot be mistaken, else JSON.

    Examples
    --------
    >>> setting("cwac.subspace", "random"), setting("prompts.limit", "12")
    ('cwac.subspace=random', 'prompts.limit="12"')
    """
    plain = isinstance(value, str) and value.isprintable() and value == value.strip()
    if plain and value and _value(value) == value:
        return f"{place}={value}"
    return f"{place}={json.dumps(value, ensure_ascii=False)}"


def _as_table(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"source": value}


def _plain(value: Any) -> Any:
    """Return a field's value as JSON has it; an adapter that is LoRA's default is its name."""
    if hasattr(value, "non_default"):
        changed = {key: _plain(each) for key, each in value.non_default().items()}
        return {"kind": value.kind, **changed} if changed else value.kind
    return list(value) if isinstance(value, tuple) else value


def _adapter_places(place: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    rest = {key: value for key, value in table.items() if key != "kind"}
    if not rest or not isinstance(table.get("kind", ""), str):
        yield place, table
        return
    # Its name is a flag; its settings follow one by one.
    if "kind" in table:
        yield place, table["kind"]
    for key, value in rest.items():
        yield f"{place}.{key}", value


def _read_file(path: Path | None) -> tuple[dict[str, Any], Arms, list[int]]:
    """Return a file's sections, arms and seeds; a stored ``run.json`` is a configuration too."""
    if path is None:
        return {}, [], []
    from cwac.settings import read_config_file  # noqa: PLC0415 - loads pydantic

    values = read_config_file(path)
    for key, (kind, name) in _KINDS.items():
        if key in values and not isinstance(values[key], kind):
            raise ConfigError(f"{path}: {key} = {shown(values[key])} must be {name}.")
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
    if not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise ConfigError(f"{path}: seeds = {shown(seeds)} must be whole numbers from 0.")
    return values, arms, seeds


def _arm(entry: Any, path: Path) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, Mapping) and set(entry) <= {"method", "settings"}:
        name, settings = entry.get("method"), entry.get("settings", {})
        if isinstance(name, str) and isinstance(settings, Mapping):
            return name, dict(settings)
    raise ConfigError(
        f"{path}: methods holds {shown(entry)}; allowed: a name, or a table with method and "
        "settings."
    )


def _apply_set(text: str, sections: dict[str, Any], arms: Arms) -> None:
    place, sign, written = text.partition("=")
    section, dot, key = place.strip().partition(".")
    if not sign or not dot or not key:
        raise ConfigError(f"--set {text!r} must have the form name.key=value.")
    value = _value(written.strip())
    if section in SECTIONS:
        table = _as_table(sections.get(section, {}))
        key, inner, part = key.partition(".")
        sections[section] = {**table, key: _with(table.get(key), part, value) if inner else value}
        return
    named = [settings for method, settings in arms if method == section]
    if not named:
        known = [*dict.fromkeys(method for method, _ in arms), *SECTIONS]
        close = get_close_matches(section, known, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(
            f"--set {text!r}: {section!r} is neither a method of this command nor a section"
            f"{hint}; known: {', '.join(known)}."
        )
    for settings in named:
        settings[key] = value


def _with(before: Any, key: str, value: Any) -> dict[str, Any]:
    """Return a table inside a section with one more entry; a name stands for its kind."""
    table = {} if before is None else {"kind": before} if isinstance(before, str) else dict(before)
    return {**table, key: value}


def _value(text: str) -> Any:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text

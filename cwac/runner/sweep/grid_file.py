"""The grid file of ``cwac sweep``: arms, models, tasks, adapters, poison ratios, seeds, crossed."""

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from cwac.config import (
    ExperimentConfig,
    LoraConfig,
    Settings,
    TrainingConfig,
    read_config_file,
)
from cwac.errors import ConfigError
from cwac.flags.plan import MOST_RUNS
from cwac.methods import METHODS
from cwac.runner.checks import check_adapter
from cwac.runner.resolve import Arm, resolve


class GridArm(Settings):
    """A method of the grid: one arm per strength, one in all without strengths."""

    method: str
    strengths: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """Values of the method's strength knob (``cwac list methods`` names it)."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Other settings of the method, the same for every strength."""

    def arms(self) -> list[Arm]:
        """Return the arms, in the order of the strengths.

        Raises
        ------
        CwacError
            There is no such method, it has no strength knob, or the knob is set twice.
        """
        knob = METHODS[self.method].strength_knob
        if self.strengths is None:
            return [Arm(self.method, self.settings)]
        if knob is None:
            raise ConfigError(
                f"the method {self.method!r} has no strength knob, so that its strengths "
                f"{list(self.strengths)} mean nothing; leave them out."
            )
        if knob in self.settings:
            raise ConfigError(
                f"{self.method}.{knob} is given by strengths = {list(self.strengths)} and by "
                f"settings = {self.settings[knob]!r}; only one of the two is allowed."
            )
        return [Arm(self.method, {**self.settings, knob: value}) for value in self.strengths]


class GridFile(Settings):
    """A grid of runs: every arm under every model, task, adapter, poison ratio and seed.

    A TOML (or JSON) file with these keys; only ``methods`` has no default::

        model = "organism"             # preset, model folder or hub id; or models = [...]
        tasks = ["instruct"]           # names, files, or tables like [task] of a run's file
        poison_ratios = [0.0, 0.1]
        seeds = [0, 1, 2]
        adapters = ["full", "lora"]    # or tables like [training.adapter]; left out: as [training]
        attackers = [                  # how somebody trains who wants the refusals gone
            {},                        # as [training] says
            {learning_rate = 3e-3},    # any keys of [training]
            {steps = 1000, adapter = "lora"},
            {attack = "adaptive"},     # other examples than random poison
        ]
        methods = [                    # names, or tables
            "sft",
            {method = "cwac", strengths = [0.1, 0.5]},
            {method = "lisa", settings = {alignment_steps = 5}},
        ]

        [training]                     # also [evaluation], [measurement] and [prompts], with
        steps = 200                    # the keys of a configuration of `cwac run`

    Strengths are values of the method's own strength knob. What is left out comes from the
    model's card, as in ``cwac run``; the same run of both commands has the same id. Runs with
    one seed see the same examples in the same order, whatever their method. Runs under different
    adapters or attackers are different experiments, as are those of different poison ratios.
    """

    methods: tuple[GridArm, ...] = Field(min_length=1)
    tasks: tuple[dict[str, Any], ...] = Field(default=({"source": "instruct"},), min_length=1)
    poison_ratios: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(0.1,), min_length=1
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)
    adapters: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    """Ways to train, each ``full``, ``lora`` or a table of LoRA's settings."""
    attackers: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] | None = None
    """Ways to train that aim: each a table of training settings that differ from ``[training]``."""
    model: str = "organism"
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Several models, in place of `model`; what is left out comes from each one's own card."""
    prompts: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    measurement: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a grid file.

        Raises
        ------
        ConfigError
            The file cannot be read, a key is unknown or a value is not allowed.
        """
        return cls.parse(read_config_file(path), where=path.name)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str = "the grid") -> Self:
        """Validate the contents of a grid file; names stand for tables that hold only the name."""
        given = dict(values)
        if "model" in given and "models" in given:
            raise ConfigError(
                f"model = {given['model']!r} and models = {given['models']!r} are both given; "
                f"only one of the two is allowed."
            )
        if "methods" not in given:
            raise ConfigError(f"{where} names no methods, as methods = ['sft', 'cwac'] would.")
        for key, name in (("methods", "method"), ("tasks", "source")):
            if key in given:
                given[key] = [
                    _table(entry, name, f"{key} of {where}") for entry in _list(given, key)
                ]
        # Built one by one, so that a wrong key is compared with the keys that stand beside it.
        given["methods"] = [
            GridArm.build(entry, where=f"methods of {where}") for entry in given["methods"]
        ]
        return cls.build(given, where=where)

    def arms(self) -> list[Arm]:
        """Return every arm, in the order of the file."""
        return [arm for entry in self.methods for arm in entry.arms()]

    def expand(self) -> list[ExperimentConfig]:
        """Return the complete configurations, each once.

        Those of one experiment (task and poison ratio) stand together; inside it they are
        ordered by seed, then by arm.

        Raises
        ------
        CwacError
            A name, key, value or file is wrong, or a method needs what the model does not have.
        """
        arms = self.arms()
        axes = (arms, self.seeds, self.tasks, self.poison_ratios)
        optional = (self.models, self.adapters, self.attackers)
        if prod(len(axis) for axis in axes) * prod(len(a) for a in optional if a) > MOST_RUNS:
            raise ConfigError(f"the grid has more than {MOST_RUNS:,} runs; state fewer.")
        adapters = self._adapters(arms)
        sections = {name: getattr(self, name) for name in ("prompts", "evaluation", "measurement")}
        training = self.training if self.adapters is None else (
            self.training | {"adapter": adapters[0]})  # fmt: skip
        unique: dict[str, ExperimentConfig] = {}
        for model, task in product(self.models or (self.model,), self.tasks):
            # The model's hash takes longest, and neither adapter nor poison ratio changes it.
            raw = {"model": model, "task": task, "training": training, **sections}
            configs = resolve(raw, arms, self.seeds)
            ways = product(adapters or (None,), self.attackers or ({},), self.poison_ratios)
            for adapter, attacker, ratio in ways:
                for config in configs:
                    changes = (
                        dict(attacker) if adapter is None else {**attacker, "adapter": adapter}
                    )
                    attacked = TrainingConfig.build(
                        {**dict(config.training), **changes}, where="attackers of the grid"
                    )
                    check_adapter(METHODS[config.method], attacked)
                    one = ExperimentConfig.build(
                        {**dict(config), "training": attacked, "poison_ratio": ratio}
                    )
                    unique.setdefault(one.run_id, one)
        return list(unique.values())

    def _adapters(self, arms: Sequence[Arm]) -> list[Literal["full"] | LoraConfig]:
        """Return the adapters of the grid, none where it names none; all arms work under each."""
        if self.adapters is None:
            return []
        if "adapter" in self.training:
            raise ConfigError(
                f"adapters = {list(self.adapters)} and training.adapter = "
                f"{self.training['adapter']!r} are both given; only one of the two is allowed."
            )
        adapters = []
        for entry in self.adapters:
            training = TrainingConfig.build({"adapter": entry}, where="adapters of the grid")
            for arm in arms:
                check_adapter(METHODS[arm.method], training)
            adapters.append(training.adapter)
        return adapters


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    if isinstance(values[key], list | tuple):
        return list(values[key])
    raise ConfigError(f"{key} = {values[key]!r} must be a list.")


def _table(entry: Any, name: str, where: str) -> dict[str, Any]:
    if isinstance(entry, str):
        return {name: entry}
    if isinstance(entry, Mapping) and name in entry:
        return dict(entry)
    raise ConfigError(f"{where}: {entry!r} must be a name, or a table with {name} = ...")

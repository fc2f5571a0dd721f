"""From what a user gave to complete configurations, one per run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from cwac import arms as stored_arms
from cwac.config import (
    EvaluationConfig,
    ExperimentConfig,
    MeasurementConfig,
    ModelConfig,
    PromptsConfig,
    Settings,
    TaskConfig,
    TrainingConfig,
)
from cwac.errors import ConfigError
from cwac.intake import shown
from cwac.judges import absolute_judge
from cwac.methods import METHODS
from cwac.models import MODELS
from cwac.models.card import ModelCard, contents_of
from cwac.models.folders import resolve_folder
from cwac.models.gguf import absolute_gguf
from cwac.models.hub import commit_of
from cwac.models.judge_folders import check_judge
from cwac.models.loading import asks_about_thinking, chosen_device
from cwac.models.presets import card_of
from cwac.precision import AUTO, suiting
from cwac.preparation.public_saes import check_public_saes
from cwac.prompts import absolute_source, is_source, refuse_same
from cwac.runner.checks import check_adapter, check_needs
from cwac.runner.inputs import from_user, load_inputs, task_contents
from cwac.tasks import TASKS
from cwac.training import attack_pool

SECTIONS: Final = ("model", "prompts", "task", "training", "evaluation", "measurement")
_KEYS: Final = (*SECTIONS, "poison_ratio")
Section = TypeVar("Section", bound=Settings)


@dataclass(frozen=True)
class Arm:
    """A method and what the user changed about it."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def resolve(
    raw: Mapping[str, Any], arms: Sequence[Arm | str], seeds: Sequence[int]
) -> list[ExperimentConfig]:
    """Return one complete configuration per seed and arm, in this order.

    A value comes from `raw`, else from the model's card (its defaults per task before its
    general ones), else from the code. Hashes of model, prompts and task are filled in.

    Parameters
    ----------
    raw : mapping
        Sections of :class:`cwac.config.ExperimentConfig`; absent ones take their defaults.
    arms : sequence of Arm or str
        Methods, with changed settings.
    seeds : sequence of int
        Each arm runs once per seed.

    Raises
    ------
    CwacError
        A name, key, value or file is wrong, or a method needs what the model does not have.
    """
    _check_keys(raw)
    wanted = [arm if isinstance(arm, Arm) else Arm(arm) for arm in arms]
    for arm in wanted:
        METHODS[arm.method]  # An unknown method should not cost a model's hash first.
    values = _model_source(raw)
    # What suits a machine is known once the card is read, and stands in the id in its place.
    stated = {k: v for k, v in values.items() if (k, v) != ("precision", AUTO)}
    model = ModelConfig.build(stated, where="model")
    folder = resolve_folder(model.place)
    card = card_of(model.source, folder)
    if model.revision is not None and (commit := commit_of(folder)) is not None:
        # A branch moves; what was run does not.
        model = model.model_copy(update={"revision": commit})
    if len(stated) < len(values):
        model = model.model_copy(update={"precision": suiting(chosen_device(), card.precision)})
    if model.thinking_tokens is None and asks_about_thinking(folder):
        model = model.model_copy(update={"thinking_tokens": 0})
    blank = _experiment(raw, wanted, model, folder, card)
    unique: dict[str, ExperimentConfig] = {}
    for seed in seeds:
        for arm in wanted:
            settings = method_settings(arm, card)
            config = ExperimentConfig.build(
                {**dict(blank), "method": arm.method, "settings": settings, "seed": seed}
            )
            # The same arm named twice is one run.
            unique.setdefault(config.run_id, config)
    return list(unique.values())


def _experiment(
    raw: Mapping[str, Any], arms: Sequence[Arm], model: ModelConfig, folder: Path, card: ModelCard
) -> ExperimentConfig:
    defaults = card.defaults
    task = _section(TaskConfig, {}, _task_source(raw), "task")
    training = {**defaults.training, **defaults.tasks.get(task.source, {})}
    prompts = _section(PromptsConfig, {}, _absolute_files(raw.get("prompts", {})), "prompts")
    sets, examples = load_inputs(folder, card, prompts, task)
    refuse_same(sets, examples.train, examples.test, splits=from_user(prompts))
    chosen = _section(TrainingConfig, training, raw.get("training", {}), "training")
    attack_pool(chosen.attack, sets)  # What the prompts cannot give is said before a model loads.
    for arm in arms:
        check_needs(METHODS[arm.method], card, sets)
        check_adapter(METHODS[arm.method], chosen)
    measurement = _measurement(card, raw.get("measurement", {}))
    check_public_saes(measurement)
    return ExperimentConfig.build(
        {
            "model": model.model_copy(update={"contents": contents_of(folder)}),
            "prompts": prompts.model_copy(update={"contents": sets.contents}),
            "task": task.model_copy(update={"contents": task_contents(examples)}),
            "training": chosen,
            "evaluation": _evaluation(card, raw.get("evaluation", {})),
            "measurement": measurement,
            **({"poison_ratio": raw["poison_ratio"]} if "poison_ratio" in raw else {}),
        },
        where="the configuration",
    )


def method_settings(arm: Arm, card: ModelCard) -> dict[str, Any]:
    """Return an arm's settings with every default filled in, as JSON values.

    Raises
    ------
    UnknownNameError
        There is no such method.
    ConfigError
        A setting is unknown or its value is not allowed.
    """
    return _settings_of(arm, card).model_dump(mode="json")


def _settings_of(arm: Arm, card: ModelCard) -> Settings:
    documented = card.defaults.methods.get(arm.method, {})
    kind = METHODS[arm.method].settings_type
    return kind.build({**documented, **arm.settings}, where=arm.method)


def arm_of(config: ExperimentConfig, card: ModelCard) -> stored_arms.Arm:
    """Return what a configuration is an arm of."""
    kind = METHODS[config.method]
    documented = _settings_of(Arm(config.method), card).complete()
    # A later setting at the class's default is not stored, and may differ from the card's.
    used = kind.settings_type.build(config.settings, where=config.method).complete()
    return stored_arms.Arm(
        method=config.method,
        changed={k: v for k, v in used.items() if documented[k] != v},
        adapter=stored_arms.adapter_name(config),
        control=stored_arms.is_control(config.settings, kind.controls),
        method_title=None if config.method in stored_arms.TITLES else kind.title,
    )


def variant_of(config: ExperimentConfig, card: ModelCard) -> str:
    """Return an arm's label: its method and what differs from the model's documented defaults."""
    return arm_of(config, card).label


def _evaluation(card: ModelCard, given: Any) -> EvaluationConfig:
    """Return the evaluation's section; a judge's folder is named absolutely, ``auto`` resolved."""
    documented = card.defaults.evaluation
    if isinstance(given, Mapping) and {**documented, **given}.get("decoding") == AUTO:
        given = {**given, "decoding": suiting(chosen_device(), card.precision)}
    evaluation = _section(EvaluationConfig, documented, given, "evaluation")
    if evaluation.judge is None:
        return evaluation
    check_judge(evaluation.judge)
    return evaluation.model_copy(update={"judge": absolute_judge(evaluation.judge)})


def _measurement(card: ModelCard, given: Any) -> MeasurementConfig:
    """Return the yardstick's section; stated SAE steps take the place of documented rounds."""
    documented = dict(card.defaults.measurement)
    if isinstance(given, Settings):
        given = given.model_dump()
    if isinstance(given, Mapping) and "sae_steps" in given:
        documented.pop("sae_rounds", None)
    return _section(MeasurementConfig, documented, given, "measurement")


def _section(kind: type[Section], documented: Mapping[str, Any], given: Any, where: str) -> Section:
    if isinstance(given, Settings):
        given = given.model_dump()
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} = {shown(given)} must be a table of settings.")
    return kind.build({**documented, **given}, where=where)


def _check_keys(raw: Mapping[str, Any]) -> None:
    for key in raw:
        if key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            raise ConfigError(f"unknown section {key!r}{hint} Allowed: {', '.join(_KEYS)}.")


def _model_source(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model's section, files and folders as absolute paths; a preset keeps its name."""
    values = _table(raw, "model")
    source = values.get("source")
    elsewhere = isinstance(source, str) and source and source not in MODELS
    if elsewhere and Path(str(source)).expanduser().is_dir():
        values["source"] = str(Path(str(source)).expanduser().resolve())
    elif elsewhere:
        values["source"] = absolute_gguf(str(source))
    return values


def _task_source(raw: Mapping[str, Any]) -> dict[str, Any]:
    values = _table(raw, "task")
    for key in ("source", "test_source"):
        source = values.get(key)
        if isinstance(source, str) and source not in TASKS and is_source(source):
            values[key] = absolute_source(source)
    return values


def _table(raw: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Return a section as a table; a text is its source."""
    given = raw.get(section, {})
    if isinstance(given, str):
        return {"source": given}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{section} = {shown(given)} must be a name or a table of settings.")
    return dict(given)


def _absolute_files(given: Any) -> Any:
    """Return the prompts' section with absolute file names, so that a run can be repeated."""
    if not isinstance(given, Mapping):
        return given
    values = dict(given)
    for kind in ("harmful", "harmless", "lookalike"):
        if isinstance(values.get(kind), str):
            values[kind] = absolute_source(values[kind])
    return values

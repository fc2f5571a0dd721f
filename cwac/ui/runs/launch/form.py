"""The form of the Runs page: the few settings that matter, the rest in an expander."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import streamlit as st

from cwac import flags
from cwac.arms import title_of
from cwac.config import TaskConfig, TrainingConfig
from cwac.errors import ConfigError, CwacError
from cwac.messages import Catalogue, JudgeEntry, MethodEntry, ModelDefaults, ModelEntry
from cwac.prompts import absolute_source, is_source
from cwac.ui.asking import absolute_if_file
from cwac.ui.folding import fold
from cwac.ui.glossary import define
from cwac.ui.runs.launch.adapter import adapter_form, impossible
from cwac.ui.runs.launch.data import data_form
from cwac.ui.widgets import plain

_KEEP: Final = "session"


@dataclass(frozen=True)
class RunRequest:
    """What the form says, as the command line that does the same.

    Attributes
    ----------
    values : mapping
        Values of flags by name (:data:`cwac.flags.RUN`); what is None takes the model's
        documented default.
    blocked : str or None
        Why data or settings cannot be used or do not go together, None where they can.
    """

    values: Mapping[str, Any]
    save_model: bool = True
    again: bool = False
    blocked: str | None = None

    @property
    def title(self) -> str:
        """A short name for lists."""
        task = TaskConfig(source=self.values["task"]).label
        methods = ", ".join(self.values["method"])
        return f"{self.values['model']} · {task} · poison {self.values['poison']:g} · {methods}"

    @property
    def problem(self) -> str | None:
        """Why it cannot be started as it is, None where it can."""
        if not self.values["method"]:
            return "Choose at least one arm."
        if not self.values["seed"]:
            return "Choose at least one seed."
        return self.blocked

    def shared(self) -> tuple[str, ...]:
        """Return the arguments that ``run`` and ``preview`` have in common."""
        sources = {flag.name for flag in flags.RUN if flag.source}
        values = {
            name: _absolute(value) if name in sources and value is not None else value
            for name, value in self.values.items()
        }
        return tuple(flags.words_of(values | {"model": absolute_if_file(values["model"])}))

    def arguments(self, root: str) -> list[str]:
        """Return the whole command line after ``cwac``."""
        switches = {"--save-model": self.save_model, "--again": self.again}
        words = ["run", *self.shared(), "--root", root]
        return [*words, *(flag for flag, on in switches.items() if on)]

    def command(self, root: str) -> str:
        """Return what to type in a shell to do the same."""
        return shlex.join(["cwac", *self.arguments(root)])


def _absolute(source: str) -> str:
    """Return a source of rows as it means the same from every folder; else the text itself."""
    try:
        return absolute_source(source) if is_source(source) else source
    except CwacError:
        # The command line says what is wrong with it.
        return source


def settings_of(text: str) -> list[str]:
    """Return lines of ``name.key=value`` as ``--set`` takes them.

    Raises
    ------
    ConfigError
        A line has another form.
    """
    settings = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not value or "." not in name:
            raise ConfigError(f"the setting {line!r} must have the form name.key=value.")
        settings.append(f"{name}={value}")
    return settings


def run_form(catalogue: Catalogue, root: str) -> RunRequest:
    """Draw the form and return what it says.

    Parameters
    ----------
    catalogue : Catalogue
        What can be chosen.
    root : str
        Folder of stored runs; uploads are kept in it.
    """
    model, task, poison = _experiment(catalogue)
    for entry in catalogue.models:
        if entry.name == model and entry.problem:
            st.warning(plain(entry.problem), icon="⚠️")
    methods, seeds = _arms(catalogue.methods)
    defaults = _defaults(catalogue.models, model, task)
    steps, learning_rate, batch_size = _training(defaults)
    adapter, lora = adapter_form(defaults["training"].get("adapter", "full"))
    kind = adapter or _kind(defaults["training"].get("adapter", "full"))
    strengths = _strengths(catalogue.methods, methods, defaults["methods"])
    with fold("Your own data", "folded_data"):
        user_data = data_form(catalogue.datasets, task, root)
    if user_data.task:
        st.caption(plain(f"Fine-tuned on {user_data.task}, not on the task above."))
    rest = _rest(catalogue.judges)
    further, unread = further_settings(rest.text, catalogue.methods)
    return RunRequest(
        {
            "model": model,
            "task": user_data.task or task,
            "poison": poison,
            "method": methods,
            "seed": sorted(seeds),
            "steps": steps,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "adapter": adapter,
            "set": [*lora, *strengths, *further],
            "judge": rest.judge,
            **user_data.files,
        },
        save_model=rest.save_model,
        again=rest.again,
        blocked=_outside(poison)
        or user_data.problem
        or unread
        or impossible(catalogue.methods, methods, kind),
    )


def _kind(adapter: Any) -> str:
    return adapter if isinstance(adapter, str) else "lora"


def _experiment(catalogue: Catalogue) -> tuple[str, str, float]:
    left, middle, right = st.columns(3)
    models, tasks = catalogue.models, catalogue.tasks
    model = left.selectbox(
        "Model",
        [entry.name for entry in models],
        accept_new_options=True,
        key="run_model",
        persist_state=_KEEP,
        help="A preset, or type a Hugging Face folder or hub id. "
        + " ".join(f"{entry.name}: {entry.summary}" for entry in models),
    )
    task = middle.selectbox(
        "Task",
        [entry.name for entry in tasks],
        accept_new_options=True,
        key="run_task",
        persist_state=_KEEP,
        help="What it is fine-tuned to do; or type a file of examples, or a known data set "
        "(sst2, sst2:FILE). Upload your own below.",
    )
    poison = right.number_input(
        "Poison ratio (0 to 1)",
        value=0.1,
        step=0.05,
        key="run_poison",
        persist_state=_KEEP,
        help=define("poison ratio"),
    )
    # The browser's own limits keep a number back and say so in a bubble, when one leaves the field.
    if wrong := _outside(poison):
        st.warning(plain(wrong))
    return str(model or "organism"), str(task or "instruct"), float(poison)


def _outside(poison: float) -> str:
    """Say that a poison ratio is none; empty where it is one."""
    return "" if 0 <= poison <= 1 else f"The poison ratio is {poison:g}; allowed is 0 to 1."


def _arms(methods: Sequence[MethodEntry]) -> tuple[list[str], list[int]]:
    left, right = st.columns([2, 1])
    names = [entry.name for entry in methods]
    chosen = left.multiselect(
        "Arms",
        names,
        default=[name for name in ("sft", "cwac") if name in names],
        format_func=title_of,
        key="run_methods",
        persist_state=_KEEP,
        help="\n\n".join(f"**{title_of(e.name)}**: {e.summary} {e.source}" for e in methods),
    )
    seeds = right.multiselect(
        "Seeds",
        list(range(10)),
        default=[0],
        key="run_seeds",
        persist_state=_KEEP,
        help=define("seed"),
    )
    return list(chosen), list(seeds)


def _defaults(models: Sequence[ModelEntry], model: str, task: str) -> dict[str, Mapping[str, Any]]:
    """Return the documented defaults that hold where the form leaves a field empty."""
    card = next((e.defaults for e in models if e.name == model), ModelDefaults())
    training = TrainingConfig().model_dump() | card.training | card.tasks.get(task, {})
    return {"training": training, "methods": card.methods}


def _training(
    defaults: Mapping[str, Mapping[str, Any]],
) -> tuple[int | None, float | None, int | None]:
    training = defaults["training"]
    columns = st.columns(3)
    steps = columns[0].number_input(
        "Steps (optimiser steps)",
        min_value=1,
        value=None,
        step=10,
        placeholder=f"default: {training['steps']}",
        key="run_steps",
        persist_state=_KEEP,
    )
    learning_rate = columns[1].number_input(
        "Learning rate",
        min_value=1e-7,
        max_value=0.1,
        value=None,
        step=1e-5,
        format="%.1e",
        placeholder=f"default: {training['learning_rate']:g}",
        key="run_learning_rate",
        persist_state=_KEEP,
    )
    batch_size = columns[2].number_input(
        "Batch size (examples per step)",
        min_value=1,
        value=None,
        step=1,
        placeholder=f"default: {training['batch_size']}",
        key="run_batch_size",
        persist_state=_KEEP,
    )
    return steps, learning_rate, batch_size


def _strengths(
    methods: Sequence[MethodEntry], chosen: Sequence[str], card: Mapping[str, Any]
) -> list[str]:
    """Ask for the one setting of each chosen arm that trades safety for accuracy."""
    knobs = [e for e in methods if e.name in chosen and e.strength_knob]
    settings: list[str] = []
    for start in range(0, len(knobs), 3):
        for column, entry in zip(st.columns(3), knobs[start : start + 3], strict=False):
            name, knob = entry.name, str(entry.strength_knob)
            plain_default = entry.settings.get(knob)
            default = card.get(name, {}).get(knob, plain_default)
            origin = f"; the model's card sets it, the method's own is {plain_default}"
            value = column.number_input(
                f"{title_of(name)}: {knob}",
                min_value=0.0,
                value=None,
                placeholder=f"default: {default}",
                format="%g",
                key=f"run_{name}_{knob}",
                persist_state=_KEEP,
                help=f"The setting of {name} that trades safety against task accuracy. Left "
                f"empty it is {default}{origin if default != plain_default else ''}.",
            )
            if value is not None:
                settings.append(flags.setting(f"{name}.{knob}", value))
    return settings


def further_settings(text: str, methods: Sequence[MethodEntry]) -> tuple[list[str], str | None]:
    """Return what further settings say, and why they cannot be used, None where they can.

    Parameters
    ----------
    text : str
        As for `settings_of`.
    methods : sequence of MethodEntry
        All that the lab has, with the names of their settings.

    Notes
    -----
    A line that cannot be read must not be left out in silence: the run would be another one.
    """
    try:
        settings = settings_of(text)
    except ConfigError as problem:
        return [], f"More settings: {problem}"
    known = {entry.name: entry.settings for entry in methods}
    for name, _, key in (line.partition("=")[0].partition(".") for line in settings):
        if name in known and key.partition(".")[0] not in known[name]:
            allowed = ", ".join(known[name]) or "none"
            return [], f"More settings: {name} has no setting {key!r}; it has: {allowed}."
    return settings, None


class _Rest(NamedTuple):
    """What the folded part of the form says."""

    text: str
    judge: str | None
    save_model: bool
    again: bool


def _rest(judges: Sequence[JudgeEntry]) -> _Rest:
    with fold("More settings", "folded_more"):
        text = st.text_area(
            "Further settings, one name.key=value a line",
            key="run_settings",
            persist_state=_KEEP,
            placeholder="cwac.subspace=random\nmeasurement.maps=all\ntraining.warmup_fraction=0.1",
            help="A method's settings, or a section's: training, measurement, evaluation. "
            "training.attack says what takes the poison's places: adaptive, identity_shift, "
            "refusal_free or harmless. evaluation.framings (two_requests, many_turns, identity) "
            "and evaluation.relearning_steps=40 measure further attacks on the finished model.",
        )
        judge = st.selectbox(
            "Judge",
            [entry.name for entry in judges],
            index=None,
            accept_new_options=True,
            placeholder="default: the model's own patterns, else the general rule",
            key="run_judge",
            persist_state=_KEEP,
            help="Who tells refusals. A model judges as beaver-dam:FOLDER, harmbench:FOLDER, "
            "classifier:MODEL or generator:MODEL. "
            + plain(" ".join(f"{entry.name}: {entry.title}." for entry in judges)),
        )
        save_model = st.checkbox(
            "Keep the tuned weights",
            value=True,
            key="run_save_model",
            persist_state=_KEEP,
            help="Needed to put requests of your own to the run on the Requests page.",
        )
        again = st.checkbox(
            "Run also what is complete already",
            value=False,
            key="run_again",
            persist_state=_KEEP,
        )
    return _Rest(text or "", str(judge) if judge else None, bool(save_model), bool(again))

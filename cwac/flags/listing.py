"""The list of flags, as options of a command and as words of a command line."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

Result = TypeVar("Result")


@dataclass(frozen=True)
class Flag:
    """One flag of the commands that state runs.

    Attributes
    ----------
    spelling : str
        As it is typed, ``--batch-size``.
    place : str
        What it fills, ``training.batch_size``; empty where it fills no single place.
    kind : type
        Of its value.
    training : bool
        Whether it says what is trained and how; a finished checkpoint has no use for it.
    checkpoint : bool
        Whether it is about a finished checkpoint alone.
    source : bool
        Whether its value may name a file of rows.
    """

    spelling: str
    place: str
    help: str
    kind: type = str
    metavar: str | None = None
    repeated: bool = False
    required: bool = False
    training: bool = False
    checkpoint: bool = False
    source: bool = False
    callback: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """Its key among the values of flags."""
        return self.spelling.removeprefix("--").replace("-", "_")

    def parameter(self) -> inspect.Parameter:
        """Return the flag as a parameter that typer understands."""
        kind: Any = list[self.kind] if self.repeated else self.kind  # type: ignore[name-defined]
        option = typer.Option(
            self.spelling,
            help=self.help,
            metavar=self.metavar,
            callback=self.callback,
            is_eager=self.callback is not None,
        )
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if self.required else None,
            annotation=Annotated[kind if self.required else kind | None, option],
        )

    def can_say(self, value: Any) -> bool:
        """Whether the flag with a value, read again, gives the value."""
        if self.kind is bool:
            return value is True
        if self.kind is float:
            # Beyond that a whole number is not a float.
            return type(value) in {int, float} and abs(value) <= 2**53
        return type(value) is self.kind


def _go_offline(wanted: bool) -> bool:
    # Libraries read it when they are imported, which no command has done yet.
    if wanted:
        os.environ["HF_HUB_OFFLINE"] = "1"
    return wanted


_ROWS: Final = "Only rows like this one."
_FILTER: Final = "COLUMN=VALUE"

FLAGS: Final = (
    Flag("--aligned", "model.source", checkpoint=True, required=True,
         help="The model before it was tuned: preset, folder, hub id."),
    Flag("--tuned", "measured.source", checkpoint=True, required=True,
         help="The tuned model: folder, hub id, or a peft adapter."),
    Flag("--base", "measured.base", checkpoint=True,
         help="The model before it was aligned, if it is known."),
    Flag("--name", "measured.name", checkpoint=True,
         help="The tuned model's name.  [its folder's]"),
    Flag("--model", "model.source", training=True,
         help="Preset, model folder, hub id or GGUF file.  [organism]"),
    Flag("--revision", "model.revision", training=True, metavar="REVISION",
         help="Branch, tag or commit of a hub model; the commit is recorded.  [the newest]"),
    Flag("--task", "task.source", metavar="TASK|SOURCE", source=True,
         help="Task name, or examples: FILE, hf:OWNER/NAME[:SPLIT], or a known data set, "
         "sst2:FILE ('cwac list datasets').  [instruct]"),
    Flag("--poison", "poison_ratio", kind=float, training=True,
         help="Share of harmful requests in the training data.  [0.1]"),
    Flag("--method", "", repeated=True, training=True,
         help="Method; may be given several times.  [sft]"),
    Flag("--seed", "", kind=int, repeated=True, training=True,
         help="Seed; may be given several times.  [0]"),
    Flag("--steps", "training.steps", kind=int, training=True, help="Optimiser steps."),
    Flag("--learning-rate", "training.learning_rate", kind=float, training=True,
         help="Peak learning rate."),
    Flag("--batch-size", "training.batch_size", kind=int, training=True,
         help="Examples per step."),
    Flag("--adapter", "training.adapter", training=True,
         help="full (every weight is trained) or lora.  [full]"),
    Flag("--set", "", repeated=True, metavar="NAME.KEY=VALUE",
         help="A method's setting (cwac.strength=0.5) or a section's "
         "(training.warmup_fraction=0.1, training.adapter.rank=4)."),
    Flag("--config", "", kind=Path, help="TOML or JSON file of settings; flags win."),
    Flag("--harmful", "prompts.harmful", metavar="SOURCE", source=True,
         help="Harmful requests: FILE[:COLUMN], hf:OWNER/NAME[:SPLIT[:COLUMN]], or a known data "
         "set, advbench:FILE."),
    Flag("--harmful-answer-column", "prompts.harmful_answer_column",
         help="Column of the answers that poison teaches."),
    Flag("--harmful-where", "prompts.harmful_where", metavar=_FILTER, help=_ROWS),
    Flag("--harmless", "prompts.harmless", metavar="SOURCE", source=True,
         help="Harmless requests."),
    Flag("--harmless-answer-column", "prompts.harmless_answer_column",
         help="Column of the helpful answers."),
    Flag("--harmless-where", "prompts.harmless_where", metavar=_FILTER, help=_ROWS),
    Flag("--lookalike", "prompts.lookalike", metavar="SOURCE", source=True,
         help="Harmless requests that look harmful: xstest:FILE, or like --harmful."),
    Flag("--lookalike-where", "prompts.lookalike_where", metavar=_FILTER, help=_ROWS),
    Flag("--split-shared", "prompts.split_shared", kind=bool,
         help="Share out texts that are both harmless requests and task examples, for both of one "
         "file."),
    Flag("--prompt-column", "task.prompt_column", help="Column of the task file's prompts."),
    Flag("--answer-column", "task.answer_column", help="Column of the task file's answers."),
    Flag("--check", "task.check",
         help="How the task's answers are marked: label, word, number or helpfulness.  [told "
         "from the data]"),
    Flag("--test-examples", "task.test_source", metavar="SOURCE", source=True,
         help="Test examples of the task.  [a fifth of its examples]"),
    Flag("--judge", "evaluation.judge", metavar="JUDGE",
         help="Who tells refusals ('cwac list judges').  [the model's own patterns, else "
         "general]"),
    Flag("--precision", "model.precision", metavar="NAME",
         help="What passes compute in: float32, bfloat16, or auto for what suits this machine.  "
         "[float32]"),
    Flag("--unaligned", "model.unaligned", kind=bool,
         help="Run also a model that refuses nothing."),
    Flag("--offline", "", kind=bool, callback=_go_offline,
         help="Ask nothing of the network; HF_HUB_OFFLINE=1 does the same."),
)  # fmt: skip
"""In the order of the help, which is also that of a printed command."""
RUN: Final = tuple(flag for flag in FLAGS if not flag.checkpoint)
"""Flags of ``cwac run`` and ``cwac preview``."""
MEASURE: Final = tuple(flag for flag in FLAGS if not flag.training)
"""Flags of ``cwac measure``."""
COMMANDS: Final = {"run": RUN, "measure": MEASURE}

Root = Annotated[Path, typer.Option("--root", help="Folder of stored runs.")]
LogTo = Annotated[
    list[str] | None,
    typer.Option(
        "--log-to",
        metavar="TRACKER",
        help="Follow the runs in tensorboard, trackio or wandb (extras of these names) too; "
        "repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def takes(flags: Sequence[Flag]) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Give a command flags, ahead of its own.

    Parameters
    ----------
    flags : sequence of Flag
        The command's first parameter takes their values as a mapping, for :meth:`Plan.of`.
    """

    def give(function: Callable[..., Result]) -> Callable[..., Result]:
        others = list(inspect.signature(function).parameters.values())[1:]

        @functools.wraps(function)
        def with_flags(**given: Any) -> Result:
            return function({flag.name: given.pop(flag.name) for flag in flags}, **given)

        # Typer reads the flags off the signature and their help off the annotations.
        parameters = [*(flag.parameter() for flag in flags)]
        for each in others:
            # What must be given opens the help, as in a command without shared flags.
            place = 0 if each.default is inspect.Parameter.empty else len(parameters)
            parameters.insert(place, each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
        vars(with_flags)["__signature__"] = inspect.Signature(parameters)
        with_flags.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_flags

    return give


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Return the values of flags as words of a command line.

    Examples
    --------
    >>> words_of({"seed": [0, 1], "learning_rate": 1e-4, "judge": None})
    ['--seed', '0', '--seed', '1', '--learning-rate', '0.0001']
    """
    words: list[str] = []
    for flag in FLAGS:
        value = values.get(flag.name)
        if value is True:
            words.append(flag.spelling)
        elif value is not None and value is not False:
            for each in value if flag.repeated else [value]:
                # A float's text gives the same float.
                text = str(float(each) if flag.kind is float else each)
                words += [flag.spelling, text]
    return words

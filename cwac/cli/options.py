"""The flags that several commands share, and how they become one request."""

import os
from pathlib import Path
from typing import Annotated

import typer

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

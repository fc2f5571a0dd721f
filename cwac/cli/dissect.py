"""``cwac dissect``: why a kept run lost its refusals, by interventions on its weights."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cwac.cli.output import note, plain_rows, print_json, print_table
from cwac.errors import ConfigError
from cwac.flags import AsJson, Root

if TYPE_CHECKING:
    from cwac.runner.dissect import Estimate


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dissect)


def dissect(  # noqa: PLR0917 - a command's parameters are its flags
    run: Annotated[
        str, typer.Option("--run", help="Id of a run that kept its weights (--save-model).")
    ],
    root: Root = Path("runs"),
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Intervention; repeatable ('cwac list interventions').  [all]"),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="layer, or map for every linear map.")] = "layer",
    sample: Annotated[
        int, typer.Option("--sample", help="Harmful requests that are answered and judged.")
    ] = 24,
    requests: Annotated[
        int | None,
        typer.Option(
            "--requests",
            help="Harmful requests that log-odds are taken on.  [all; of a wide model 64]",
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            help="Restore and transplant this set of parts instead ('layer 0, embedding'; "
            "'layer * mlp.down_proj'); repeatable, a set each time.",
        ),
    ] = None,
    other: Annotated[
        str | None, typer.Option("--other", help="Another kept run, for the path between both.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make also what is stored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Restore, transplant, split and patch a kept run to see what took its refusals away.

    No training: one forward pass over the harmful test requests per intervention, and answers to
    a sample. Each has its matched control. What is complete is stored and skipped next time.
    """
    grain: Literal["layer", "map"]
    if by == "layer":
        grain = "layer"
    elif by == "map":
        grain = "map"
    else:
        raise ConfigError(f"--by {by!r} is not allowed; layer or map.")
    from cwac.artifacts import writing_store  # noqa: PLC0415 - keeps --help fast
    from cwac.runner.dissect import dissect as take_apart  # noqa: PLC0415 - loads torch

    doing = ""

    def report(_share: float, text: str) -> None:
        nonlocal doing
        if text != doing:
            note(f"{100 * _share:3.0f} %  {text}")
        doing = text

    table = take_apart(
        writing_store(root),
        run,
        only,
        grain=grain,
        sample=sample,
        requests=requests,
        parts=part or (),
        other=other,
        again=again,
        report=report,
        told=_tell,
    )
    if part:
        table = table[table["grain"] == "set"]
    if only:
        table = table[table["intervention"].isin(only)]
    if as_json:
        print_json(plain_rows(table))
        return
    columns = ["intervention", "part", "what", "dose", "measure", "value", "interval", "n"]
    columns += ["returned", "refused"]
    print_table("interventions", columns, [_line(row) for row in plain_rows(table)])


def _tell(estimate: "Estimate") -> None:
    parts = ", ".join(f"{n} {estimate.seconds(n):.0f} s" for n in estimate.costs)
    note(f"Estimated time: {estimate.seconds():.0f} s ({parts}).")


def _line(row: dict[str, Any]) -> list[str]:
    sample = [row[name] for name in ("refusal", "hybrid", "compliance", "undetermined")]
    answered = None not in sample
    return [
        row["intervention"],
        row["part"],
        f"{row['variant']}{' (control)' if row['control'] else ''}",
        _number(row["dose"]),
        row["measure"],
        _number(row["value"]),
        "-" if row["low"] is None else f"[{row['low']:.3g}, {row['high']:.3g}]",
        f"{row['n']:.0f}",
        "-" if row["returned"] is None else f"{100 * row['returned']:.0f} %",
        f"{sample[0]:.0f} of {sum(sample):.0f}" if answered else "-",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"

"""``cwac organism`` and ``cwac align``: making aligned models."""

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cwac.cli.output import note, plain_rows, print_json, print_table
from cwac.flags import FLAGS, AsJson, takes

if TYPE_CHECKING:
    from cwac.preparation.organism_check import OrganismCheck

_ALIGN: Final = (
    "harmless_answer_column",
    "harmless_where",
    "lookalike",
    "lookalike_where",
    "steps",
    "learning_rate",
    "batch_size",
    "adapter",
    "offline",
)
"""Names of the flags that ``cwac align`` shares with ``cwac run``."""


MOST: Final = 2**63 - 1
"""The largest seed that torch takes."""
SILENT: Final = 3.5
"""Seconds without a line after which the last one is written again."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Build or check a bundled model organism.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(build)
    group.command()(check)
    app.add_typer(group, name="organism")
    app.command()(align)


def build(
    out: Annotated[Path, typer.Option("--out", help="Folder to make; it must not exist yet.")],
    recipe: Annotated[
        str, typer.Option("--recipe", help="Which one: organism, organism-b or organism-c.")
    ] = "organism",
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", help="Decides everything else; the recipe has one.", min=0, max=MOST
        ),
    ] = None,
) -> int:
    """Rebuild an organism from nothing: corpus, tokenizer, models, SAEs, subspace, checks."""
    from cwac.models.organism.recipes import RECIPES  # noqa: PLC0415 - loads the world
    from cwac.preparation.organism import build_organism  # noqa: PLC0415 - loads torch

    with _Bar() as bar:
        build_organism(out, recipe=RECIPES[recipe], seed=seed, progress=bar.tell)
    note(f"the model is in {out}, its subspace and SAEs in {out / 'fits'}")
    return check(str(out))


def check(
    model: Annotated[str, typer.Option("--model", help="Preset or folder.")] = "organism",
    as_json: AsJson = False,
) -> int:
    """Measure refusals and tasks on held-out requests; count near-duplicates between splits."""
    from cwac.models.folders import resolve_folder  # noqa: PLC0415 - loads torch
    from cwac.preparation.organism_check import check_organism  # noqa: PLC0415

    with _Bar() as bar:
        result = check_organism(resolve_folder(model), progress=bar.tell)
    if as_json:
        print_json(
            {
                "passed": result.passed,
                "figures": plain_rows(result.figures),
                "overlap": plain_rows(result.overlap),
            }
        )
    else:
        _print_check(result)
    return 0 if result.passed else 1


def _print_check(result: "OrganismCheck") -> None:
    marks = {True: "met", False: "MISSED"}
    rows = [
        [str(row["figure"]), *_estimate(row), str(row["target"] or ""), marks.get(row["met"], "")]
        for row in plain_rows(result.figures)
    ]
    print_table("figures", ["figure", "value", "interval", "n", "target", ""], rows)
    sys.stdout.write("\n")
    lines = [[str(cell) for cell in row.values()] for row in plain_rows(result.overlap)]
    print_table("requests that two splits share", list(result.overlap.columns), lines)


@takes([flag for flag in FLAGS if flag.name in _ALIGN])
def align(
    values: Mapping[str, Any],
    *,
    model: Annotated[str, typer.Option("--model", help="Preset, folder, hub id or GGUF file.")],
    harmful: Annotated[
        str, typer.Option("--harmful", metavar="FILE[:COLUMN]", help="Requests to refuse.")
    ],
    harmless: Annotated[
        str, typer.Option("--harmless", metavar="FILE[:COLUMN]", help="Requests to answer.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the aligned model.")],
    lookalike_seen: Annotated[
        list[str] | None,
        typer.Option(
            "--lookalike-seen",
            metavar="TYPE",
            help="A type of look-alikes that teaches and chooses; may be given several times. The "
            "others are only reported on.",
        ),
    ] = None,
    harmful_unseen: Annotated[
        str | None,
        typer.Option(
            "--harmful-unseen",
            metavar="FILE[:COLUMN]",
            help="Harmful requests of a source that is only reported on, by every run of this "
            "model too.",
        ),
    ] = None,
    harmful_unseen_where: Annotated[
        str | None,
        typer.Option(
            "--harmful-unseen-where", metavar="COLUMN=VALUE", help="Only rows like this one."
        ),
    ] = None,
    lookalike_share: Annotated[
        float,
        typer.Option(
            "--lookalike-share",
            help="Share of the training examples that are such look-alikes; 0: they only choose.",
        ),
    ] = 0.15,
    own_answers: Annotated[
        bool,
        typer.Option(
            "--own-answers",
            help="Teach the harmless requests with the model's own answers from before, so that "
            "nothing but refusing is learned.",
        ),
    ] = False,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="What passes compute in: float32, bfloat16, or auto for what suits this machine.",
        ),
    ] = "float32",
    check_every: Annotated[
        int,
        typer.Option(
            "--check-every",
            min=0,
            max=MOST,
            help="Steps between questions on validation requests, which end it early and from "
            "which it goes on after a kill; 0: none.",
        ),
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Of split and order.", min=0, max=MOST)] = 0,
    as_json: AsJson = False,
) -> None:
    """Teach a model to refuse: the harmful requests are refused, the harmless ones answered."""
    from cwac.preparation.align import align as teach  # noqa: PLC0415 - loads torch

    training = {
        name: values[name]
        for name in ("steps", "learning_rate", "batch_size", "adapter")
        if values[name] is not None
    }
    with _Bar() as bar:
        report = teach(
            model,
            harmful,
            harmless,
            out,
            harmless_answer_column=values["harmless_answer_column"],
            harmless_where=values["harmless_where"],
            lookalike=values["lookalike"],
            lookalike_where=values["lookalike_where"],
            lookalike_seen=lookalike_seen or (),
            harmful_unseen=harmful_unseen,
            harmful_unseen_where=harmful_unseen_where,
            lookalike_share=lookalike_share,
            own_answers=own_answers,
            training=training or None,
            precision=precision,
            check_every=check_every,
            seed=seed,
            progress=bar.tell,
        )
    for text in report.notes:
        note(text)
    if as_json:
        print_json(
            {
                "folder": str(report.folder),
                "learned": report.learned,
                "message": report.message,
                "figures": plain_rows(report.figures),
            }
        )
        return
    rows = [
        [str(row["figure"]), str(row["model"]), *_estimate(row)]
        for row in plain_rows(report.figures)
    ]
    print_table("held-out requests", ["figure", "model", "value", "interval", "n"], rows)
    sys.stdout.write(f"{report.message}\n")


def _estimate(row: Mapping[str, Any]) -> list[str]:
    """Return value, interval and count of a row as text."""
    if row["value"] is None:
        return ["-", "-", str(row["count"])]
    return [
        f"{row['value']:.3f}",
        f"[{row['low']:.3f}, {row['high']:.3f}]",
        str(row["count"]),
    ]


class _Bar:
    """A progress bar on the error output; where that is no terminal, lines.

    A line stands for what is being done until another comes; it is written again while nothing new
    is heard, because a step of a large model, or reading it, takes many seconds.
    """

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - keeps --help fast
        from rich.progress import Progress  # noqa: PLC0415

        console = Console(stderr=True)
        self._progress = Progress(console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=1.0)
        self._shown, self._told = "", 0.0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._repeating = threading.Thread(target=self._repeat, daemon=True)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        if self._progress.disable:
            self._repeating.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._progress.stop()

    def tell(self, share: float, message: str) -> None:
        """Show the share that is done and what is being done."""
        self._progress.update(self._task, completed=share, description=message)
        if self._progress.disable and message and message != self._shown:
            with self._lock:
                self._shown = message
                self._write(message)

    def _repeat(self) -> None:
        while not self._over.wait(SILENT / 4):
            with self._lock:
                if self._shown and time.monotonic() - self._told >= SILENT:
                    self._write(f"{self._shown} (still)")

    def _write(self, text: str) -> None:
        self._told = time.monotonic()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

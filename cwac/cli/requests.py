"""``cwac ask``: a file of requests, asked of the aligned model and of kept runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cwac.cli.output import note, print_message, print_table
from cwac.errors import ConfigError, DataError
from cwac.flags import AsJson

if TYPE_CHECKING:
    from cwac.messages import AskedArm, AskedRate

_EVERY = 0.25
"""Share of a model's answers between two lines of progress."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(ask)


def ask(
    run: Annotated[
        list[str], typer.Option("--run", help="Id of a run that kept its weights; repeatable.")
    ],
    requests: Annotated[
        str,
        typer.Option(
            "--requests",
            metavar="SOURCE",
            help="FILE[:COLUMN], hf:OWNER/NAME[:SPLIT[:COLUMN]], or a known data set, "
            "strongreject:FILE.",
        ),
    ],
    kind: Annotated[
        str, typer.Option("--kind", help="harmful, harmless or lookalike: what is a good answer.")
    ] = "harmful",
    where: Annotated[
        str | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows like this one."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Ask the first so many alone.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write every answer, with its outcome: CSV.")
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Folder of stored runs; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the aligned model and kept runs a set of requests; rates with their intervals.

    Answers are greedy and judged as when the runs were measured. Requests that taught the model,
    fitted its subspace, poisoned a run or chose something are left out, near-duplicates too.
    Nothing is stored unless --out names a file.
    """
    from cwac.artifacts import ArtifactStore, shipped_runs  # noqa: PLC0415 - keeps --help fast
    from cwac.messages import AskedRequests  # noqa: PLC0415
    from cwac.prompts import KINDS, read_requests  # noqa: PLC0415

    if kind not in KINDS:
        raise ConfigError(f"--kind {kind!r} is not allowed; allowed: {', '.join(KINDS)}.")
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out: the folder {out.absolute().parent} does not exist.")
    notes: list[str] = []
    prompts = read_requests(requests, kind, where=where, notes=notes)[:limit]
    from cwac.runner.asking import ask_requests  # noqa: PLC0415 - loads torch

    shipped = shipped_runs()
    roots = [*(root or [Path("runs")]), *([shipped] if shipped else [])]
    asked = ask_requests(ArtifactStore(*roots), run, prompts, _Progress())
    for line in notes:
        note(line)
    if asked.known:
        note(f"{asked.known} of {len(prompts)} requests left out: they or near-duplicates taught, "
             "fitted, poisoned or chose something.")  # fmt: skip
    if asked.tested:
        note(f"{asked.tested} of those asked are among the runs' own test requests, or nearly.")
    if asked.answers.empty:
        raise DataError("no request is left that nothing was made of.")
    if out is not None:
        from cwac.artifacts import write_text  # noqa: PLC0415

        write_text(out, asked.answers.to_csv(index=False))
    arms = asked.arms
    if as_json:
        print_message(
            AskedRequests(
                source=requests, kind=kind, arms=arms, known=asked.known, tested=asked.tested
            )
        )
        return
    _print(arms)


class _Progress:
    """Tells whose answers come, a line at each quarter."""

    def __init__(self) -> None:
        self._told = ("", 0.0)

    def __call__(self, who: str, share: float) -> None:
        before, told = self._told
        if who != before or share >= told + _EVERY:
            note(f"{who}: {share:.0%} answered")
            self._told = (who, share)


def _print(arms: "tuple[AskedArm, ...]") -> None:
    from cwac.rates import RATES  # noqa: PLC0415 - loads pandas

    names = [RATES[rate.name].title.lower() for rate in arms[0].rates]
    rows = [
        [
            arm.variant,
            "" if arm.seed is None else str(arm.seed),
            *(_shown(rate) for rate in arm.rates),
        ]
        for arm in arms
    ]
    print_table("answers", ["variant", "seed", *names], rows)


def _shown(rate: "AskedRate") -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return "not measured"
    return f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}] (n = {rate.n})"

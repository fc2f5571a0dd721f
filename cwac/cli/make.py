"""``cwac organism`` and ``cwac align``: making aligned models."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cwac.cli.options import (
    AsJson,
)

if TYPE_CHECKING:
    from cwac.preparation.organism_check import OrganismCheck


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Build or check the bundled model organism.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command()(build)
    group.command()(check)
    app.add_typer(group, name="organism")


def build(
    out: Annotated[Path, typer.Option("--out", help="Folder to make; it must not exist yet.")],
    root: Annotated[
        Path | None,
        typer.Option("--root", help="Where subspace and SAEs go.  [runs beside the folder]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Decides everything.", min=0)] = 0,
) -> int:
    """Rebuild the organism from nothing: corpus, tokenizer, models, SAEs, subspace, checks."""
    from cwac.artifacts import ArtifactStore  # noqa: PLC0415 - keeps --help fast
    from cwac.cli.output import note  # noqa: PLC0415
    from cwac.models.loading import load_model  # noqa: PLC0415
    from cwac.preparation.fits import prepare_yardstick  # noqa: PLC0415 - loads torch
    from cwac.preparation.organism import build_organism  # noqa: PLC0415
    from cwac.runner.inputs import load_prompts  # noqa: PLC0415
    from cwac.runner.resolve import resolve  # noqa: PLC0415

    with _Bar() as bar:
        build_organism(out, seed=seed, progress=bar.tell)
        config = resolve({"model": str(out)}, ["sft"], [0])[0]
        loaded = load_model(out)
        prompts = load_prompts(loaded.folder, loaded.card, config.prompts)
        store = ArtifactStore(root or out.resolve().parent / "runs")

        def tell(share: float, text: str) -> None:
            bar.tell(text, share)

        yardstick = prepare_yardstick(loaded, prompts, config.measurement, store, tell)
    note(f"{yardstick.subspace_fit} and {yardstick.features_fit} are in {store.write_root}/fits")
    return check(str(out))


def check(
    model: Annotated[str, typer.Option("--model", help="Preset or folder.")] = "organism",
    as_json: AsJson = False,
) -> int:
    """Measure refusals on held-out requests, and count near-duplicates between splits."""
    from cwac.models.loading import resolve_folder  # noqa: PLC0415 - loads torch
    from cwac.preparation.organism_check import check_organism  # noqa: PLC0415

    with _Bar() as bar:
        found = check_organism(resolve_folder(model), progress=bar.tell)
    if as_json:
        from cwac.cli.output import print_json  # noqa: PLC0415 - keeps --help fast

        print_json(
            {
                "passed": found.passed,
                "figures": found.figures.astype(object)
                .where(found.figures.notna(), None)
                .to_dict("records"),
                "overlap": found.overlap.to_dict("records"),
            }
        )
    else:
        _print_check(found)
    return 0 if found.passed else 1


def _print_check(found: "OrganismCheck") -> None:
    from cwac.cli.output import print_table  # noqa: PLC0415 - keeps --help fast

    rows = []
    for row in found.figures.to_dict("records"):
        value = "-" if row["value"] is None else f"{row['value']:.3f}"
        interval = "-" if row["low"] is None else f"[{row['low']:.3f}, {row['high']:.3f}]"
        met = {True: "met", False: "MISSED"}.get(row["met"], "")
        rows.append([row["figure"], value, interval, str(row["count"]), row["target"] or "", met])
    print_table("figures", ["figure", "value", "interval", "n", "target", ""], rows)
    sys.stdout.write("\n")
    lines = [[str(cell) for cell in row] for row in found.overlap.itertuples(index=False)]
    print_table("requests that two splits share", list(found.overlap.columns), lines)


class _Bar:
    """A progress bar on the error output, silent where that is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - keeps --help fast
        from rich.progress import Progress  # noqa: PLC0415

        console = Console(stderr=True)
        self._progress = Progress(console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task("", total=1.0)
        self._said = ""

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, what: str, share: float) -> None:
        """Show what is being done and the share that is done."""
        self._progress.update(self._task, completed=share, description=what)
        if self._progress.disable and what and what != self._said:
            self._said = what
            sys.stderr.write(f"{what}\n")
            sys.stderr.flush()

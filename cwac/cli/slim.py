"""``cwac slim``: stored runs beyond the first seed as summaries."""

from pathlib import Path
from typing import Annotated

import typer

from cwac.cli.output import note, print_json
from cwac.errors import ConfigError
from cwac.flags import AsJson, Root
from cwac.intake import shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(slim)


def slim(
    root: Root = Path("runs"),
    keep_seed: Annotated[
        list[int] | None,
        typer.Option("--keep-seed", help="Seed whose runs stay whole; repeatable.  [0]"),
    ] = None,
    keep_table: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-table",
            help="Table that the others keep too, weight_drift for one; repeatable.  [none]",
        ),
    ] = None,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Store the whole ones in less room too (see below)."),
    ] = False,
    withhold: Annotated[
        bool,
        typer.Option(
            "--withhold",
            help="Take out what a real model's runs must not pass on: answers to harmful requests "
            "that are no refusals (their length and hash stay) and a task's texts.",
        ),
    ] = False,
    fit_tables: Annotated[
        bool,
        typer.Option(
            "--fit-tables",
            help="Leave of their subspace and SAEs the tables alone, which pages read; a later run "
            "fits them again, and with --compact no update directions stay to compare it with.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Name the runs, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Reduce stored runs to their numbers and outcomes; those of the kept seeds stay whole.

    Texts, curves, tables per matrix or latent and weights of the others are gone for good, but for
    tables that --keep-table names; their ids, rates, intervals and tests stay. With --compact a
    whole run keeps all its tables and answers: the requests' texts stand with the aligned model's
    answers alone, kept weights are rounded to float16, and an arm with changed settings or another
    poison ratio than the default cannot be compared with later runs by its update directions.
    Pairs that were compared stay: an arm under two seeds, an arm at its defaults with any other,
    arms of one method.
    """
    from cwac import artifacts  # noqa: PLC0415 - loads pandas
    from cwac.artifacts import reading_store  # noqa: PLC0415
    from cwac.records import TABLES  # noqa: PLC0415

    tables = list(keep_table or ())
    if unknown := [name for name in tables if name not in TABLES]:
        raise ConfigError(f"unknown table {shown(unknown[0])}; known: {', '.join(TABLES)}.")
    store = reading_store(root)
    whole = set(keep_seed if keep_seed is not None else [0])
    records = [run.record for run in store.list_runs() if run.record is not None]
    chosen = [r for r in records if r.config.seed not in whole and not r.summary]
    kept = [r for r in records if r.config.seed in whole and not r.summary] if compact else []
    freed = 0
    if not dry_run:
        freed = sum(artifacts.summarise(store, r.run_id, tables) for r in chosen)
        freed += sum(artifacts.compact(store, r.run_id, directions=not fit_tables) for r in kept)
        if withhold:
            withheld = sum(
                artifacts.withhold(store, r.run_id) for r in records if r.config.seed in whole
            )
            note(f"{withheld} answers withheld")
        if fit_tables:
            kinds = ("subspace", "features")
            fits = {r.fits[kind] for r in records for kind in kinds if kind in r.fits}
            freed += sum(artifacts.tables_alone(store, fit) for fit in sorted(fits))
        for experiment in dict.fromkeys(record.experiment_id for record in kept):
            artifacts.fewer_pairs(store, experiment, "pair_overlap")
    if as_json:
        print_json(
            {
                "summaries": [record.run_id for record in chosen],
                "compact": [record.run_id for record in kept],
                "runs": len(records),
                "changed": not dry_run,
                "freed_bytes": freed,
            }
        )
    elif dry_run:
        for record in chosen:
            note(f"{record.run_id} would become a summary")
        for record in kept:
            note(f"{record.run_id} would become compact")
    else:
        made = f"{len(chosen)} of {len(records)} runs are summaries now"
        made += f", {len(kept)} are compact" if compact else ""
        note(f"{made}, {freed / 1e6:.1f} MB freed")
    return 0

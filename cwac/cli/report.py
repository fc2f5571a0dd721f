"""``cwac report``: an experiment as a page to print, to send or to keep."""

from pathlib import Path
from typing import Annotated

import typer

from cwac.cli.output import note
from cwac.errors import ConfigError
from cwac.flags import Root
from cwac.intake import shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    out: Annotated[Path, typer.Option("--out", metavar="FILE.html", help="Where to write it.")],
    name: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT|RUN]...",
            help="An experiment, or runs of one.  [the experiment that the app opens with]",
        ),
    ] = None,
    root: Root = Path("runs"),
    *,
    one_page: Annotated[
        bool,
        typer.Option(
            "--one-page",
            help="For a class: harm and price, one figure, where CWAC fails, questions; it prints "
            "on one sheet.",
        ),
    ] = False,
) -> None:
    """Write an experiment as one HTML page: figures, rates, claims, settings, sources.

    The file needs no network, and no answer of a model is in it.
    """
    from cwac.artifacts import listed_store, with_shipped, write_text  # noqa: PLC0415
    from cwac.handout import (  # noqa: PLC0415 - loads plotly
        chosen,
        experiment_handout,
        one_page_handout,
        render,
    )

    if out.suffix.lower() not in {".html", ".htm"} or out.is_dir():
        raise ConfigError(f"--out {shown(str(out))} must name a file that ends in .html.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {shown(str(out))}: there is no folder {out.absolute().parent}.")
    store = listed_store(root)
    runs = store.list_runs()
    for run in runs:
        if run.problem is not None:
            note(f"left out: {run.problem}")
    everything = [run.record for run in runs if run.record is not None]
    # A run may rest on fits that are shipped with the lab.
    make = one_page_handout if one_page else experiment_handout
    page = render(make(with_shipped(store), chosen(store, name or ()), everything))
    write_text(out, page)
    note(f"{len(page) / 1e6:.1f} MB written to {out}")

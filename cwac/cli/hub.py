"""``cwac push`` and ``cwac pull``: runs in a repository of the Hugging Face hub."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cwac.cli.output import note
from cwac.flags import Root


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(push)
    app.command()(pull)


def push(
    run: Annotated[list[str], typer.Argument(metavar="RUN_ID", help="Stored runs.")],
    repo: Annotated[
        str, typer.Option("--repo", metavar="OWNER/NAME", help="A data set repository.")
    ],
    root: Root = Path("runs"),
    public: Annotated[
        bool,
        typer.Option("--public", help="Make a new repository one that all can see.  [private]"),
    ] = False,
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Answers to harmful requests too; outcomes go along always."),
    ] = False,
) -> None:
    """Upload runs with a card and a table of their rates, in one commit.

    The token is that of 'hf auth login' or HF_TOKEN.
    """
    from cwac.artifacts import listed_store, with_shipped  # noqa: PLC0415 - loads pandas
    from cwac.exchange.hub import push_runs  # noqa: PLC0415

    # A run may rest on fits that are shipped with the lab.
    store = with_shipped(listed_store(root))
    place = push_runs(store, run, repo, public=public, reveal=reveal, told=note)
    sys.stdout.write(f"{place}\n")


def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A data set repository.")],
    run: Annotated[
        list[str] | None,
        typer.Option("--run", metavar="RUN_ID", help="This run alone; repeatable.  [all]"),
    ] = None,
    root: Root = Path("runs"),
    revision: Annotated[
        str | None, typer.Option("--revision", help="A branch, tag or commit.  [the newest]")
    ] = None,
) -> None:
    """Download runs into the imports of a root, checked as any archive is."""
    from cwac.artifacts import writing_store  # noqa: PLC0415 - loads pandas
    from cwac.exchange.hub import pull_runs  # noqa: PLC0415

    store = writing_store(root)
    pulled = pull_runs(store, repo, run or (), revision=revision, told=note)
    runs = f"{len(pulled)} run{'s' if len(pulled) != 1 else ''}"
    note(f"{runs} imported into {store.write_root / 'imported'}")

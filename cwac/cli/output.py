"""Tables and notes on the terminal: decorated for people, plain for pipes."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from cwac.messages import Message


def note(text: str) -> None:
    """Write a line for the user beside the results, to the error output."""
    sys.stderr.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Write JSON to the standard output."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def print_message(message: "Message") -> None:
    """Write a message as JSON to the standard output."""
    sys.stdout.write(message.model_dump_json(indent=1) + "\n")


def plain_rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return a table's rows with None for what is missing."""
    whole = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in whole.to_dict("records")]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table: drawn on a terminal, aligned plain text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - 0.1 s
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in rows:
            # Text objects, because names may hold what rich would take for markup.
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    widths = [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]
    for line in (columns, *rows):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")

"""What a reader sees of markdown that was escaped."""

import re
from typing import Any


def as_read(text: str) -> str:
    """Return a text without the backslashes that keep its signs from being markup."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


def runs_table(app: Any) -> Any:
    """Return the Runs page's list; its key changes with what it lists."""
    (table,) = (t for t in app.dataframe if (t.key or "").startswith("runs_table_"))
    return table

"""What a reader sees of markdown that was escaped."""

import re


def as_read(text: str) -> str:
    """Return a text without the backslashes that keep its signs from being markup."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)
